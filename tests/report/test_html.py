"""The report says what broke first, shows the evidence, and is safe to open."""

from __future__ import annotations

import time
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.errors import Suspect, UsageError, Verdict
from harness.report import bundle, html, results
from harness.report.model import Case, Run
from harness.report.privacy import Redactor
from harness.report.view import headline, matrix, reasons
from tests.report.report_samples import FAILED, LOST, PASSED, evidence_of, run_of, thousand

ALICE = Redactor(("/home/alice",), "alice")
STRANGE_STEP = '{"differences": [], "rerun": "", "sides": [], "steps": [{"at": "x", "side": "", "kind": "", "text": ""}]}'
VOID = {"meta", "br", "link", "img"}


class Page(HTMLParser):
    """Checks that tags nest, and collects text, ids and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.stack

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.attributes if key == name]


def report(out: Path, *cases: Case) -> str:
    results.write(out, run_of(*cases), ALICE)
    return html.make_report(out).read_text()


def with_bundle(out: Path, case: Case) -> Case:
    out.mkdir(exist_ok=True)
    return replace(case, bundle=bundle.write(out, evidence_of(case, out), ALICE))


def test_a_failure_is_shown_with_its_evidence(tmp_path: Path) -> None:
    page = Page(report(tmp_path, PASSED, with_bundle(tmp_path, FAILED)))
    assert LOST in page.text
    for words in ("CNTHP_CTL_EL2", "must be set once CNT passes CVAL", "@1 timer cpu=0 n=0", "destination: console"):
        assert words in page.text
    assert f"pytest '{FAILED.id}' --platform tcg" in page.text
    assert f"{bundle.path_of(FAILED.id)}/README.txt" in page.values("href")
    assert "#case-1" in page.values("href")
    assert "case-1" in page.values("id")
    assert len(set(page.values("id"))) == len(page.values("id"))
    assert "v0-1-gabc" in page.text
    assert page.tags.count("h1") == 1


def test_it_needs_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = report(tmp_path, with_bundle(tmp_path, FAILED))
    page = Page(text)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not page.values("src")
    assert "http" not in text
    assert "url(" not in text


def test_everything_is_escaped(tmp_path: Path) -> None:
    evil = "</pre><script>alert(1)</script>\"'&"
    case = replace(FAILED, id=evil, message=evil, params={evil: evil, "timer": evil}, subject=evil, lifecycle=evil)
    evidence = evidence_of(case, tmp_path)
    sides = tuple(replace(side, console=evil, stderr=evil, qemu_version=evil) for side in evidence.sides)
    steps = tuple(replace(step, text=evil) for step in evidence.steps)
    differences = tuple(replace(row, name=evil, field=evil, before=evil, rule=evil) for row in evidence.differences)
    evidence = replace(evidence, sides=sides, steps=steps, differences=differences)
    case = replace(case, bundle=bundle.write(tmp_path, evidence, ALICE))
    skipped = replace(PASSED, verdict=Verdict.SKIP, message=evil)
    known = replace(PASSED, verdict=Verdict.KNOWN, message=evil, known_issue=evil)
    text = report(tmp_path, case, skipped, known)
    assert "<script" not in text
    page = Page(text)
    assert page.text.count(evil) >= 12
    assert not any(name.startswith("on") for name, _ in page.attributes)


@pytest.mark.parametrize(
    "spoil",
    [
        "missing",
        "not json",
        "{}",
        "[]",
        STRANGE_STEP,
        '{"differences": [{}], "rerun": "", "steps": [], "sides": []}',
        "no console",
    ],
)
def test_a_damaged_bundle_is_said_to_be_so(tmp_path: Path, spoil: str) -> None:
    case = with_bundle(tmp_path, FAILED)
    record = tmp_path / str(case.bundle) / "case.json"
    if spoil == "missing":
        record.unlink()
    elif spoil == "no console":
        (record.parent / "sides/source/console.log").unlink()
    else:
        record.write_text(spoil)
    text = report(tmp_path, case)
    assert "The bundle cannot be shown" in text
    assert "ISTATUS is missing" in text


def test_a_case_without_a_bundle_is_still_shown(tmp_path: Path) -> None:
    assert "No bundle was written for this case." in report(tmp_path, FAILED)


def test_without_results_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"results\.json"):
        html.make_report(tmp_path)


def test_long_logs_show_their_end(tmp_path: Path) -> None:
    evidence = evidence_of(FAILED, tmp_path)
    console = "".join(f"line {number}\n" for number in range(9999)) + "last words"
    evidence = replace(evidence, sides=(replace(evidence.sides[0], console=console),))
    text = report(tmp_path, replace(FAILED, bundle=bundle.write(tmp_path, evidence, ALICE)))
    assert "last words" in text
    assert "line 9998" in text
    assert "line 17\n" not in text
    assert "bytes before]" in text


KNOWN = replace(FAILED, verdict=Verdict.KNOWN, known_issue="timers-lost")
FIXED = replace(FAILED, verdict=Verdict.FIXED, known_issue="timers-lost", message="known issue x did not fail")
SKIPPED = replace(PASSED, verdict=Verdict.SKIP, message="no SVE")


@pytest.mark.parametrize(
    ("cases", "sentence"),
    [
        ([], "Nothing was run, so nothing is proven."),
        ([SKIPPED], "Nothing is proven: none of 1 case could be tried."),
        ([PASSED], "Nothing broke: 1 case passed."),
        ([PASSED, SKIPPED], "Nothing broke: 1 case passed; 1 case could not be tried."),
        ([PASSED, KNOWN], "Nothing new broke: 1 case passed, 1 failed as known (timers-lost)."),
        ([PASSED, FAILED], f"Of 2 cases, 1 failed: {LOST}."),
        ([FIXED], "Of 1 case, 1 did not fail as known, suspect QEMU: known issue x did not fail."),
        (
            [
                replace(FAILED, verdict=Verdict.ERROR, suspect=Suspect.HARNESS, message="a\nb"),
                replace(FAILED, message="fired twice\nb"),
            ],
            "Of 2 cases, 1 failed and 1 ended in an error, suspect QEMU and harness: fired twice.",
        ),
    ],
)
def test_the_headline_is_the_verdict(cases: list[Case], sentence: str) -> None:
    assert headline(run_of(*cases)) == sentence


def test_the_matrix_has_a_cell_for_each_scenario_and_lifecycle() -> None:
    straight = replace(FAILED, lifecycle="straight", verdict=Verdict.PASS)
    twin = replace(FAILED, id="twin", verdict=Verdict.PASS, params={**FAILED.params, "vcpus": 2})
    table = matrix(run_of(twin, FAILED, PASSED, straight))
    assert table.lifecycles == ("straight", "file")
    assert [(row.subject, row.name) for row in table.rows] == [("timers", "cnthp armed E2H=0"), ("timers", "cntv armed E2H=0")]
    cell = table.rows[0].cells[1]
    assert cell.counts == ((Verdict.FAIL, 1), (Verdict.PASS, 1))
    assert cell.first == FAILED.id
    assert table.rows[1].cells[0].counts == ()


def test_reasons_are_counted() -> None:
    assert reasons([SKIPPED, SKIPPED, replace(SKIPPED, message="")]) == [("no SVE", 2), ("no reason was given", 1)]


def test_a_thousand_cases_stay_small_and_fast(tmp_path: Path) -> None:
    run = big_run(tmp_path)
    results.write(tmp_path, run, ALICE)
    began = time.process_time()
    path = html.make_report(tmp_path)
    assert time.process_time() - began < 5
    assert path.stat().st_size < 5_000_000
    page = Page(path.read_text())
    anchors = {value for value in page.values("href") if value.startswith("#")}
    assert {value[1:] for value in anchors} <= set(page.values("id"))
    assert sum(map(page.text.count, ("Shown in short", "No bundle was", "Try it again:"))) == page.tags.count("article")
    assert 10 < page.text.count("Try it again") < page.tags.count("article")


def big_run(out: Path) -> Run:
    """Return 1,000 cases; those that the report may show in full have bundles with long logs and many differences."""
    run = thousand()
    evidence = evidence_of(FAILED, out)
    sides = tuple(replace(side, console="<&>" * 5000, stderr="<&>" * 5000) for side in evidence.sides)
    rows = evidence.differences * 300
    cases: list[Case] = []
    for case in run.cases:
        if case.verdict is Verdict.FAIL and len(cases) < 300:
            full = replace(evidence, case=case, sides=sides, differences=rows, streams=())
            cases.append(replace(case, bundle=bundle.write(out, full, ALICE)))
        else:
            cases.append(case)
    return replace(run, cases=tuple(cases))
