"""`harness report`, `history`, `compare`, `known`: what they print, and how they end."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from harness.errors import Verdict
from harness.report import bundle, journal, results
from harness.report.history import History
from harness.report.model import Case, lost
from harness.report.versions import Versions
from tests.report.report_samples import FAILED, LOST, PASSED, evidence_of, run_of

WELL = replace(FAILED, verdict=Verdict.PASS, message="", suspect=None)


def harness(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def remembered(path: Path, *runs: tuple[str, tuple[Case, ...], Versions]) -> Path:
    with History(path) as store:
        for started, cases, versions in runs:
            number = store.begin(started, {"harness": "v1"})
            store.add(number, [(case, versions) for case in cases])
            store.finish(number, 1.0)
    return path


@pytest.fixture
def store(own_cache: Path) -> Path:
    good, bad = Versions("11.1.3", "7.3.3"), Versions("11.1.3", "7.3.4")
    own_cache.mkdir()
    return remembered(
        own_cache / "history.sqlite",
        ("2026-11-18T00:00:00Z", (PASSED, WELL), good),
        ("2026-11-19T00:00:00Z", (PASSED, FAILED), bad),
        ("2026-11-20T00:00:00Z", (replace(PASSED, verdict=Verdict.FAIL), PASSED, FAILED), bad),
    )


def test_report_writes_every_format(tmp_path: Path) -> None:
    results.write(tmp_path, run_of(PASSED))
    done = harness("report", tmp_path)
    assert done.exit_code == 0
    assert done.stderr == "Nothing broke: 1 case passed.\n"
    assert [Path(line).name for line in done.stdout.splitlines()] == [
        "results.json",
        "junit.xml",
        "results.ktap",
        "kcidb.json",
        "report.html",
    ]
    assert all(Path(line).is_file() for line in done.stdout.splitlines())


def test_report_says_by_its_status_that_something_broke(tmp_path: Path) -> None:
    results.write(tmp_path, run_of(PASSED, FAILED))
    done = harness("report", tmp_path, "--format", "ktap")
    assert (done.exit_code, done.stdout) == (1, f"{tmp_path / 'results.ktap'}\n")
    assert done.stderr.startswith("Of 2 cases, 1 failed: cnthp armed: ")
    assert not (tmp_path / "junit.xml").exists()


def test_report_of_a_run_that_was_killed(tmp_path: Path) -> None:
    journal.plan(tmp_path, [lost(PASSED, journal.KILLED), lost(WELL, journal.KILLED)])
    journal.Journal(tmp_path, "2026-11-20T01:02:03Z", {}).add(PASSED, 1.0)
    assert harness("report", tmp_path).exit_code == 1
    assert [case.missing for case in results.read(tmp_path).cases] == [False, True]
    assert [test["status"] for test in json.loads((tmp_path / "kcidb.json").read_text())["tests"]] == ["PASS", "MISS"]


def test_report_merges_shards_and_misses_what_none_has(tmp_path: Path) -> None:
    for name, case in (("a", PASSED), ("b", WELL)):
        results.write(tmp_path / name, run_of(case))
    whole = tmp_path / "all.txt"
    whole.write_text(f"{PASSED.id}\n{WELL.id}\n\n2 tests collected in 0.01s\n")
    words = ("report", "--merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "m", "--expect", whole)
    assert harness(*words).exit_code == 0
    whole.write_text(f"{PASSED.id}\n{WELL.id}\nx/test_y.py::test_z[1]\n")
    assert harness(*words).exit_code == 1
    assert results.read(tmp_path / "m").totals[Verdict.ERROR] == 1
    tests = json.loads((tmp_path / "m" / "kcidb.json").read_text())["tests"]
    assert [test["status"] for test in tests] == ["PASS", "PASS", "MISS"]


def test_report_passes_on_what_the_ci_is_called(tmp_path: Path) -> None:
    results.write(tmp_path, run_of(PASSED))
    assert harness("report", tmp_path, "--format", "kcidb", "--origin", "myci", "--build", "myci:1").exit_code == 0
    (test,) = json.loads((tmp_path / "kcidb.json").read_text())["tests"]
    assert (test["origin"], test["build_id"]) == ("myci", "myci:1")


@pytest.mark.usefixtures("store")
def test_history_says_since_when_and_how_often() -> None:
    done = harness("history")
    assert done.exit_code == 0
    assert "3 runs, the last of 2026-11-20T00:00:00Z: 2 cases broken, 1 flaky" in done.output
    assert f"broken: {FAILED.key}" in done.output
    assert "good until run 1 (2026-11-18T00:00:00Z): kernel 7.3.3 -> 7.3.4; first bad kernel 7.3.4" in done.output
    assert "kernel 7.3.4 2 of 2 tries (95 % interval of the share 0.34 to 1.00) failed; suspect QEMU" in done.output
    assert f"flaky: {PASSED.key}\n  1 of 3 tries" in done.output
    assert LOST in done.output


@pytest.mark.usefixtures("store")
def test_history_of_some_cases_shows_each_end() -> None:
    done = harness("history", "CNTHP")
    assert [line.split()[:4] for line in done.output.splitlines() if line.startswith("  run")] == [
        ["run", "1", "2026-11-18T00:00:00Z", "pass"],
        ["run", "2", "2026-11-19T00:00:00Z", "fail"],
        ["run", "3", "2026-11-20T00:00:00Z", "fail"],
    ]
    assert "cntv" not in done.output


@pytest.mark.usefixtures("store")
def test_history_lists_runs() -> None:
    assert [line.split()[:4] for line in harness("history", "--runs").output.splitlines()] == [
        ["1", "2026-11-18T00:00:00Z", "1", "s"],
        ["2", "2026-11-19T00:00:00Z", "1", "s"],
        ["3", "2026-11-20T00:00:00Z", "1", "s"],
    ]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    "words",
    [("history", "--json"), ("history", "cnthp", "--json"), ("history", "--runs", "--json"), ("compare", "--json", "1", "2")],
)
def test_all_of_it_is_there_as_data(words: tuple[str, ...]) -> None:
    assert json.loads(harness(*words).output)


@pytest.mark.usefixtures("store")
def test_compare_two_runs_of_the_history() -> None:
    done = harness("compare", "--", "-3", "-2")
    assert done.exit_code == 1
    assert done.output.splitlines()[:2] == [
        "2 cases in both: 1 regressions, 0 fixed",
        f"regression: {FAILED.key}: pass -> fail: {LOST}",
    ]
    back = harness("compare", "2", "1")
    assert back.exit_code == 0 and f"fixed: {FAILED.key}: fail -> pass" in back.output


def test_compare_two_directories(tmp_path: Path) -> None:
    for name, case in (("a", WELL), ("b", FAILED)):
        results.write(tmp_path / name, run_of(PASSED, case))
    assert harness("compare", tmp_path / "a", tmp_path / "b").exit_code == 1
    assert harness("compare", tmp_path / "a", tmp_path / "a").exit_code == 0


@pytest.mark.usefixtures("store")
def test_known_add_and_list(tmp_path: Path) -> None:
    case = replace(FAILED, bundle="x")
    place = tmp_path / bundle.write(tmp_path, evidence_of(case, tmp_path))
    listed = tmp_path / "known.toml"
    listed.write_text("")
    words = ("known", "add", place, "--file", listed, "--id", "lost", "--reason", "why")
    shown = harness(*words, "--show")
    assert listed.read_text() == "" and shown.output.startswith("[[issue]]\n")
    assert harness(*words).exit_code == 0
    assert shown.output in listed.read_text()
    done = harness("known", "list", "--file", listed)
    assert (done.exit_code, done.output) == (1, "lost: 0 of 3 tries excused; never seen, though its cases were tried\n")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("report", "nowhere"), "nowhere: neither results.json nor what a run that was killed leaves; name a directory"),
        (("report", "a", "b"), "several directories, or --expect, go with --merge"),
        (("report", "--merge", "a", "b"), "--merge needs --out"),
        (("report", "--merge", "a", "--out", "m"), "a: none of them holds results"),
        (("history",), "there is no history; runs write it"),
        (("history", "--history", "nowhere.sqlite"), "nowhere.sqlite: there is no history"),
        (("compare", "1", "2"), "there is no history"),
        (("compare", "a", "b"), "a: neither results.json"),
        (("known", "list", "--file", "nowhere.toml"), "nowhere.toml: cannot be read"),
        (("known", "add", "nowhere", "--id", "x", "--reason", "y"), "case.json: cannot be read"),
    ],
)  # fmt: skip
def test_a_users_mistake_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = harness(*words)
    assert done.exit_code == 2
    assert line in done.output and "Traceback" not in done.output


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("words", "line"),
    [(("history", "("), "not a regular expression"), (("history", "nothing-like-it"), "no case of the history matches"), (("compare", "1", "9"), "no such run"), (("compare", "--", "--1", "-2"), "--1: neither results.json"), (("compare", "²", "1"), "²: neither")],
)  # fmt: skip
def test_a_mistake_about_a_history_is_one_line(words: tuple[str, ...], line: str) -> None:
    done = harness(*words)
    assert done.exit_code == 2 and line in done.output


@pytest.mark.parametrize("words", [["history"], ["compare", "--", "-2", "-1"], ["known", "list"]])
def test_a_damaged_history_is_one_line_and_exit_2(store: Path, words: list[str]) -> None:
    with store.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(4096)  # the first page, which says what the file is, stays
        file.write(b"x" * (size - 4096))
    run = harness(*words)
    assert (run.exit_code, run.stdout) == (2, "")
    assert run.stderr.startswith(f"harness: {store}: cannot be read or written (database disk image is malformed)")
    assert run.stderr.count("\n") == 1
