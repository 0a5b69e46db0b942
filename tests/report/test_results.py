"""results.json keeps everything, and takes nothing that it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import Suspect, UsageError, Verdict
from harness.report import results
from harness.report.model import Case, Compared, flatten
from harness.report.privacy import Redactor
from tests.report.report_samples import FAILED, PASSED, run_of

NOBODY = Redactor((), "")

texts = st.text('aB é"\\<\n\x00☃😀', max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts


@st.composite
def cases(draw: st.DrawFn) -> Case:
    verdict = draw(st.sampled_from(Verdict))
    return Case(
        id=draw(texts),
        subject=draw(texts),
        platform=draw(texts),
        lifecycle=draw(texts),
        params=draw(st.dictionaries(texts, scalars, max_size=4)),
        verdict=verdict,
        suspect=draw(st.none() | st.sampled_from(Suspect)),
        seconds=draw(st.floats(0, 1e6)),
        known_issue=draw(texts) if verdict in (Verdict.KNOWN, Verdict.FIXED) else None,
        message=draw(texts),
        bundle=draw(st.sampled_from([None, "bundles/a-0.b"])),
        compared=Compared(draw(st.integers(0, 999)), draw(st.integers(0, 9))),
    )


@given(st.lists(cases(), max_size=4))
def test_what_is_written_is_read(given_cases: list[Case]) -> None:
    run = run_of(*given_cases)
    text = json.dumps(results.run_to_data(run))
    data = json.loads(text)
    data["provenance"]["qemu"]["machines"] = ["virt", "virt-9.0"]
    assert results.run_from_data(data, "here") == run


def test_the_file_is_the_contract(tmp_path: Path) -> None:
    results.write(tmp_path / "out", run_of(PASSED, FAILED), NOBODY)
    data = json.loads((tmp_path / "out/results.json").read_text())
    assert list(data) == ["schema", "started", "seconds", "provenance", "cases", "totals"]
    assert data["totals"] == {"pass": 1, "fail": 1, "error": 0, "skip": 0, "known": 0, "fixed": 0, "blocked": 0}
    assert data["cases"][0] == {
        "id": PASSED.id,
        "subject": "timers",
        "platform": "tcg",
        "lifecycle": "file",
        "params": {"timer": "cntv", "instant": "armed", "e2h": 0},
        "verdict": "pass",
        "suspect": None,
        "seconds": 0.21,
        "known_issue": None,
        "message": "",
        "bundle": None,
        "compared": {"registers": 274, "interrupts": 1},
        "arrangements": 1,
    }
    assert data["cases"][1]["suspect"] == "QEMU"
    assert results.read(tmp_path / "out") == run_of(PASSED, FAILED)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["results.json"]


def changed(**changes: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(results.run_to_data(run_of(PASSED))))
    case = data["cases"][0]
    for key, value in changes.items():
        target = data if key in data else case
        if value is ...:
            del target[key]
        else:
            target[key] = value
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "expected an object"),
        (changed(schema=2), "schema 2"),
        (changed(started="yesterday"), "not a time"),
        (changed(totals={}), "the totals are not those of the cases"),
        (changed(seconds="1"), "'seconds' must be float"),
        (changed(colour="red"), "unknown key 'colour'"),
        (changed(verdict=...), "key 'verdict' is missing"),
        (changed(verdict="good"), "unknown verdict 'good'; the verdicts are pass"),
        (changed(suspect="me"), "unknown suspect 'me'"),
        (changed(params={"timer": []}), "parameter 'timer' must be one plain value"),
        (changed(compared={"registers": True, "interrupts": 1}), "'registers' must be int"),
        (changed(compared={"registers": 1}), "key 'interrupts' is missing"),
        (changed(known_issue="x"), "'known_issue' goes with"),
        (changed(verdict="known"), "'known_issue' goes with"),
        (changed(bundle="javascript:alert(1)"), "is not the path of a bundle"),
        (changed(bundle="bundles/../../etc"), "is not the path of a bundle"),
    ],
)
def test_what_is_not_the_contract_is_one_clear_line(data: object, words: str) -> None:
    with pytest.raises(UsageError, match=r"^results\.json") as caught:
        results.run_from_data(data, "results.json")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_and_a_garbled_file_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        results.read(tmp_path)
    (tmp_path / "results.json").write_text('{"schema": 1')
    with pytest.raises(UsageError, match="is not JSON"):
        results.read(tmp_path)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    results.write(tmp_path, run_of(PASSED), NOBODY)
    with pytest.raises(TypeError):
        results.write(tmp_path, replace(run_of(FAILED), provenance={"qemu": object()}), NOBODY)
    assert results.read(tmp_path) == run_of(PASSED)
    assert len(list(tmp_path.iterdir())) == 1


def test_results_name_nobody(tmp_path: Path) -> None:
    run = replace(run_of(), provenance={"qemu": {"path": "/home/alice/q"}})
    assert "alice" not in results.write(tmp_path, run, Redactor(("/home/alice",), "alice")).read_text()


def test_flatten_gives_every_leaf() -> None:
    assert list(flatten({"a": {"b": 1, "c": [1, 2]}, "d": "e"})) == [("a.b", "1"), ("a.c", "1, 2"), ("d", "e")]
