"""Nights on the fake QEMU: what is new, what is old, what is missing, and the exit status of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.assets.progress import NoProgress
from harness.errors import UsageError, Verdict
from harness.fleet.nightly import Night, Status, judge, spend
from harness.report import history, results
from harness.report.compare import tries_of
from harness.report.history import History
from harness.report.kcidb import Sender
from harness.report.model import Case, Run, lost
from harness.report.past import Past, of_run
from harness.report.versions import Versions
from tests.plugin.conftest import BODY, Project

# Breaks where the test says so; one word hangs.
BREAKS = f"""import os, pathlib, time
    here = pathlib.Path(os.environ["IN"])
    assert case.word == "sound" or not (here / "broken").exists(), "it broke"
    if (here / "hangs").exists() and case.word == "b":
        time.sleep(100)
    {BODY}"""


class Told(NoProgress):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def step(self, text: str) -> None:
        self.lines.append(text)


class Nights:
    """A project whose nights are spent one after the other."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.out = project.path / "out"
        self.told = Told()

    def spend(self, *more: str, seconds: float = 600, **said: Any) -> int:
        self.told.lines.clear()
        arguments = [word for word in self.project.arguments("-n", "0", *more) if word != "scenarios"]
        return spend(
            Night(
                Path("out"),
                seconds,
                platform="tcg",
                history=self.project.path / "night.sqlite",
                arguments=tuple(arguments),
                **said,
            ),
            self.told,
        )

    def touch(self, name: str) -> None:
        (self.project.path / name).touch()


@pytest.fixture
def nights(project: Project, monkeypatch: pytest.MonkeyPatch) -> Nights:
    # What a night needs is there; that set-up gets it is for the tests of set-up to show.
    monkeypatch.setattr("harness.fleet.nightly.setup.run", lambda *_, **__: None)
    monkeypatch.chdir(project.path)
    project.scenario("a", "b", "sound", body=BREAKS)
    return Nights(project)


def test_nights(nights: Nights) -> None:
    assert nights.spend() == Status.GOOD
    assert nights.told.lines[0] == "Nothing broke: 3 cases passed."
    assert nights.told.lines[-1] == "exit status 0: all that was planned was run, and nothing broke"
    assert {"results.json", "junit.xml", "results.ktap", "kcidb.json", "report.html"} <= {
        path.name for path in nights.out.iterdir()
    }

    nights.touch("broken")
    assert nights.spend() == Status.REGRESSION
    headline, first, suspect, again, verdicts, status = nights.told.lines
    assert headline.startswith("2 regressions since ") and "it broke" in headline
    assert first.startswith("first seen: broken since this run, good until run 1 (")
    assert suspect == "suspect: QEMU"
    assert again.startswith("again: harness repro out/bundles/") and (nights.project.path / again.split()[-1]).is_dir()
    assert verdicts == "verdicts: 1 pass, 2 fail; report: out/report.html"
    assert status == "exit status 1: something fails that did not fail last time"

    assert nights.spend() == Status.BROKEN
    assert nights.told.lines[1].startswith("first seen: broken since run 2 (")

    (nights.project.path / "broken").unlink()
    assert nights.spend() == Status.GOOD


def test_a_night_without_time_proves_nothing(nights: Nights) -> None:
    assert nights.spend(seconds=0, sender=Sender("myci")) == Status.UNPROVEN
    assert "verdicts: 3 error (3 of them missing); report: out/report.html" in nights.told.lines
    report = json.loads((nights.out / "kcidb.json").read_text())
    assert [test["status"] for test in report["tests"]] == ["MISS"] * 3
    assert {test["origin"] for test in report["tests"]} == {"myci"}


def test_a_night_that_cannot_begin_does_not_show_the_last(nights: Nights) -> None:
    assert nights.spend() == Status.GOOD
    with pytest.raises(UsageError, match="pytest ended with status 4 before the first case"):
        nights.spend("--lifecycle=teleport")
    assert not (nights.out / "results.json").exists() and not (nights.out / "report.html").exists()


def test_a_run_that_does_not_end_is_killed_and_told(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.fleet.nightly.GRACE_SECONDS", 1.0)
    monkeypatch.setattr("harness.fleet.nightly.END_SECONDS", 1.0)
    nights.touch("hangs")
    assert nights.spend(seconds=15) == Status.UNPROVEN
    cases = {case.params["word"]: case for case in results.read(nights.out).cases}
    assert cases["a"].verdict is Verdict.PASS
    assert cases["b"].message == "missing: it ran when the run was ended"
    assert cases["sound"].message == "missing: the run was ended before it was begun"
    assert nights.project.machines() == []


def test_a_run_that_does_not_end_is_not_good_though_each_case_was(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.fleet.nightly.GRACE_SECONDS", 1.0)
    monkeypatch.setattr("harness.fleet.nightly.END_SECONDS", 1.0)
    (nights.project.path / "conftest.py").write_text(
        "import pytest, time\n@pytest.hookimpl(tryfirst=True)\ndef pytest_sessionfinish():\n    time.sleep(100)\n"
    )
    assert nights.spend(seconds=15) == Status.UNPROVEN
    assert "verdicts: 3 pass; report: out/report.html" in nights.told.lines


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("test_other.py", "import nothing_like_it\n", "verdicts: 3 pass, 1 error; report: out/report.html"),
        ("test_other.py", "def test_it(): assert 0\n", "pytest ended with status 1, and no case says why"),
    ],
    ids=["not-collected", "no-case"],
)
def test_a_night_that_pytest_says_failed_is_not_good_though_each_case_was(
    nights: Nights, name: str, text: str, words: str
) -> None:
    (nights.project.path / "scenarios" / "timers" / name).write_text(text)
    assert nights.spend("-n", "2") == Status.UNPROVEN
    assert words in nights.told.lines
    assert nights.told.lines[-1].startswith("exit status 4: nothing fails, but ")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"kernel": "trixie", "platform": "tcg"}, "--kernel trixie: is for --platform lab"),
        ({"sha256": "00"}, "--sha256: goes with --kernel"),
        ({"sender": Sender("My CI")}, "an origin is of small letters"),
    ],
)
def test_what_cannot_be_meant(nights: Nights, said: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Night(**{"out": nights.out, "seconds": 60.0, "platform": "lab", **said}).check()


def test_not_in_the_harness_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="there are no scenarios here; change to the harness's own folder"):
        Night(tmp_path, 60.0).check()


# -- the exit status, of what is known of tonight and of before

SOUND = Case("scenarios/t/test_a.py::test_a[tcg-file-a]", "t", "tcg", "file", {"word": "a"}, Verdict.PASS)
OTHER = replace(SOUND, id="scenarios/t/test_a.py::test_a[tcg-file-b]", params={"word": "b"})
FAILED = replace(OTHER, verdict=Verdict.FAIL, message="it broke")
SLOW = replace(OTHER, verdict=Verdict.ERROR, message="the computer is overloaded")


def _on(kernel: str, verdict: Verdict) -> Case:
    return replace(SOUND, id=f"{SOUND.id[:-1]}-{kernel}]", platform="lab", params={"lab_kernel": kernel}, verdict=verdict)


def _past(path: Path, *nights: tuple[Case, ...], tonight: Run) -> Past:
    with History(path / history.NAME) as store:
        for number, cases in enumerate(nights, 1):
            run = store.begin(f"2026-11-0{number}T00:00:00Z", {})
            store.add(run, [(case, Versions()) for case in cases])
            store.finish(run, 1.0)
        return of_run(store, tonight)


@pytest.mark.parametrize(
    ("nights", "tonight", "expected"),
    [
        ((), (SOUND, OTHER), Status.GOOD),
        ((), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND, OTHER),), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND,),), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND, FAILED),), (SOUND, FAILED), Status.BROKEN),
        # Last night did not get to it, the night before saw it broken.
        (((SOUND, FAILED), (SOUND,)), (SOUND, FAILED), Status.BROKEN),
        (((SOUND, FAILED), (SOUND, OTHER)), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND, OTHER),), (SOUND, replace(OTHER, verdict=Verdict.FIXED, known_issue="x")), Status.REGRESSION),
        # An error is neither a failure that was told of nor the end of one.
        (((SOUND, OTHER), (SOUND, SLOW)), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND, OTHER), (SOUND, lost(OTHER, "gone"))), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND, SLOW),), (SOUND, FAILED), Status.REGRESSION),
        (((SOUND, FAILED), (SOUND, SLOW)), (SOUND, FAILED), Status.BROKEN),
        (((SOUND, SLOW),), (SOUND, SLOW), Status.UNPROVEN),
        (((SOUND, OTHER),), (SOUND, lost(OTHER, "gone")), Status.UNPROVEN),
        (((SOUND, OTHER),), (SOUND, SLOW), Status.UNPROVEN),
        (((SOUND, FAILED),), (lost(SOUND, "gone"), FAILED), Status.BROKEN),
        # Two kernels a night, and one with another name each night.
        (
            ((_on("6.12", Verdict.FAIL), _on("7.3", Verdict.PASS)),),
            (_on("6.12", Verdict.FAIL), _on("7.3", Verdict.FAIL)),
            Status.REGRESSION,
        ),
        (
            ((_on("6.12", Verdict.PASS), _on("7.3", Verdict.FAIL)),),
            (_on("6.12", Verdict.PASS), _on("7.3", Verdict.FAIL)),
            Status.BROKEN,
        ),
        (((_on("7.2", Verdict.FAIL),),), (_on("7.3", Verdict.FAIL),), Status.BROKEN),
        (((_on("7.2", Verdict.PASS),),), (_on("7.3", Verdict.FAIL),), Status.REGRESSION),
        ((), (), Status.UNPROVEN),
        ((), (replace(SOUND, verdict=Verdict.SKIP),), Status.UNPROVEN),
        ((), (replace(SOUND, verdict=Verdict.KNOWN, known_issue="x"),), Status.GOOD),
    ],
)
def test_the_exit_status(
    tmp_path: Path, nights: tuple[tuple[Case, ...], ...], tonight: tuple[Case, ...], expected: Status
) -> None:
    run = Run("2026-11-09T00:00:00Z", 1.0, {}, tonight)
    assert tries_of(run) is not None
    assert judge(run, _past(tmp_path, *nights, tonight=run)) is expected
