"""Parts of the cases: shards, and what a time limit leaves."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.fleet.limit import seconds_of
from harness.report import results, shards
from harness.report.merge import merge
from harness.report.model import Run
from tests.plugin.conftest import BODY, Project

OK, FAILED, USAGE, NOTHING = 0, 1, 4, 5
WORDS = ("a", "b", "c", "d", "e")


def _shards(project: Project, of: int, *more: str, only: tuple[int, ...] = ()) -> list[Path]:
    """Run the shards and return where each has left its results."""
    outs = []
    for number in only or range(1, of + 1):
        out = project.path / f"shard{number}"
        assert project.run("-q", f"--shard={number}/{of}", f"--out={out}", *more).ret == OK
        outs.append(out)
    return outs


def _words(run: Run) -> list[object]:
    return [case.params["word"] for case in run.cases]


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
def test_every_case_is_in_one_shard(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario(*WORDS)
    outs = _shards(project, 2, *workers)
    assert [sorted(map(str, _words(results.read(out)))) for out in outs] == [["a", "c", "e"], ["b", "d"]]
    whole = merge(outs, project.path / "all")
    assert sorted(map(str, _words(whole))) == list(WORDS) and all(case.verdict == "pass" for case in whole.cases)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
def test_shards_are_dealt_by_measured_time(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario(*WORDS)
    assert project.run("-q").ret == OK
    data = project.results()
    for case in data["cases"]:
        case["seconds"] = 90.0 if case["params"]["word"] == "d" else 10.0
    earlier = project.path / "earlier"
    earlier.mkdir()
    (earlier / results.NAME).write_text(json.dumps(data))
    outs = _shards(project, 2, f"--times={earlier}", *workers)
    assert [sorted(map(str, _words(results.read(out)))) for out in outs] == [["d"], ["a", "b", "c", "e"]]


def test_a_shard_that_never_ran_is_missing(project: Project) -> None:
    project.scenario(*WORDS)
    whole = merge(_shards(project, 3, only=(1, 3)), project.path / "all")
    assert [case.params["word"] for case in whole.cases if case.missing] == ["b", "e"]
    assert [case.params["word"] for case in whole.cases if case.verdict == "pass"] == ["a", "d", "c"]


# Has its own cases and no matrix, as the walks do.
OWN_CASES = """
import pytest
from harness.plugin.matrix import Params

@pytest.mark.parametrize("case", [Params({"lifecycle": "walk", "word": word}) for word in "xyz"], ids=lambda case: case.id)
def test_walks(trial):
    trial.count(registers=1)
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
def test_cases_of_no_matrix_are_planned_and_dealt_like_all_others(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario("a", "b").with_name("test_walks.py").write_text(OWN_CASES)
    assert project.run("--time-limit=0", *workers).ret == FAILED
    assert sorted(case["params"]["word"] for case in project.results()["cases"]) == ["a", "b", "x", "y", "z"]
    assert {case["message"] for case in project.results()["cases"]} == {"missing: the time limit of 0 came before it was begun"}
    outs = _shards(project, 3, *workers, only=(1, 3))
    dealt = shards.read(outs[0])
    assert dealt is not None and sorted(str(case.params["word"]) for case in dealt.cases) == ["a", "b", "x", "y", "z"]
    whole = merge(outs, project.path / "all")
    ends = {case.params["word"]: "missing" if case.missing else str(case.verdict) for case in whole.cases}
    assert ends == {"a": "pass", "b": "missing", "x": "pass", "y": "pass", "z": "missing"}


@pytest.mark.parametrize("require", [(), ("--require=1",)], ids=["all", "one"])
def test_what_was_not_begun_is_not_excused_by_what_may_fail(project: Project, require: tuple[str, ...]) -> None:
    project.scenario("a")
    assert project.run("--time-limit=0", "--repeat=2", *require).ret == FAILED
    (case,) = project.results()["cases"]
    assert case["message"].startswith("missing: ")


def test_the_tries_of_a_case_stay_together(project: Project) -> None:
    project.scenario("a", "b", "c")
    outs = _shards(project, 2, "--repeat=2")
    assert [sorted(map(str, _words(results.read(out)))) for out in outs] == [["a", "c"], ["b"]]
    dealt = shards.read(outs[0])
    assert dealt is not None and dealt.hands == (1, 1, 2, 2, 1, 1)
    whole = merge(outs[:1], project.path / "all")
    assert [case.id.partition("[")[2] for case in whole.cases if case.missing] == ["tcg-file-b]"]


def test_a_run_that_is_no_shard_leaves_no_word_of_one(project: Project) -> None:
    project.scenario("a", "b")
    project.run("-q", "--shard=1/2")
    assert shards.read(project.path / "out") is not None
    project.run("-q")
    assert shards.read(project.path / "out") is None


def test_more_shards_than_cases(project: Project) -> None:
    project.scenario("a", "b")
    run = project.run("--shard=3/3")
    assert run.ret == NOTHING
    assert "--shard 3/3: there are 2 cases only; use fewer shards" in "\n".join(run.outlines + run.errlines)
    assert project.run("--shard=3/3", "-n", "2").ret == NOTHING


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--shard=3/2",), "--shard: '3/2' is no shard; say which of how many, for example 2/4"),
        (("--times=out",), "--times: goes with --shard"),
        (("--shard=1/2", "--times=nowhere"), "nowhere: there is nothing; name an output directory of a run, or a history"),
        (("--time-limit=soon",), "--time-limit: 'soon' is no time; say hours, minutes or seconds: 2h, 1h30m, 90m, 45s"),
    ],
)
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
def test_a_mistake_is_one_line(project: Project, options: tuple[str, ...], words: str, workers: tuple[str, ...]) -> None:
    project.scenario("a", "b")
    run = project.run(*options, *workers)
    assert run.ret == USAGE
    assert run.errlines[0] == f"ERROR: {words}"


# -- the time limit


@pytest.mark.parametrize(
    ("text", "seconds"), [("2h", 7200), ("1h30m", 5400), ("90m", 5400), ("45s", 45), ("7", 7), ("0", 0), ("1h5s", 3605)]
)
def test_a_time(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "1.5h", "-1", "2 h", "1m1h", "\u0661h"])
def test_no_time(text: str) -> None:
    with pytest.raises(UsageError, match="is no time"):
        seconds_of(text)


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
def test_no_time_at_all_is_no_pass(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario("a", "b", "c")
    run = project.run("--time-limit=0", *workers)
    assert run.ret == FAILED
    run.stdout.fnmatch_lines(["*verdicts: 3 error (3 of them missing*"])
    cases = project.results()["cases"]
    assert {case["message"] for case in cases} == {"missing: the time limit of 0 came before it was begun"}
    assert {case["suspect"] for case in cases} == {"configuration"}
    assert len(cases) == 3 and project.machines() == []
    assert not (project.path / "out" / "planned.json").exists()


# Runs until a moment after the limit.
ACROSS = f"""import time
    from harness.plugin import limit
    {BODY}
    keeps = limit.of_run(request.config)
    while not keeps.reached:
        time.sleep(0.1)
    time.sleep(0.5)"""
SLOW = f"""import time
    {BODY}
    time.sleep(60)"""


@pytest.mark.parametrize(("time_limit", "workers"), [("4s", ()), ("20s", ("-n", "2"))], ids=["one-process", "workers"])
def test_what_runs_at_the_limit_ends_and_nothing_begins(project: Project, time_limit: str, workers: tuple[str, ...]) -> None:
    words = [f"word{number}" for number in range(9)]
    project.scenario(*words, body=ACROSS)
    run = project.run(f"--time-limit={time_limit}", *workers)
    assert run.ret == FAILED
    cases = {case["params"]["word"]: case for case in project.results()["cases"]}
    assert sorted(cases) == words
    assert [case["verdict"] for case in cases.values()].count("pass") == (2 if workers else 1)
    missing = [case["message"] for case in cases.values() if case["verdict"] != "pass"]
    assert missing == [f"missing: the time limit of {time_limit} came before it was begun"] * (7 if workers else 8)
    assert project.machines() == []


def test_a_case_that_runs_on_after_the_grace_is_ended_and_missing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.plugin.limit.GRACE_SECONDS", 1.0)
    project.scenario("a", "b", body=SLOW)
    run = project.run("--time-limit=2s")
    assert run.ret == FAILED
    first, second = project.results()["cases"]
    assert re.fullmatch("missing: it still ran 1 s after the time limit of 2s, and was ended", first["message"])
    assert first["verdict"] == "error" and first["bundle"], "what it did until then is kept"
    assert second["message"] == "missing: the time limit of 2s came before it was begun"
    assert first["seconds"] < 10
    assert project.machines() == []


def test_a_case_has_its_own_time_where_that_ends_before_the_grace(project: Project) -> None:
    (project.path / "pytest.ini").write_text("[pytest]\ntimeout = 2\n")
    project.scenario("a", body=SLOW)
    assert project.run("--time-limit=1h").ret == FAILED
    case = project.only_case()
    assert "Timeout" in case["message"] and "missing" not in case["message"]
