"""What was planned and has no end is missing: of a run that was killed, and of shards that come together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import Suspect, UsageError, Verdict
from harness.report import bundle, journal, junit, measured, results
from harness.report.journal import Journal
from harness.report.merge import merge
from harness.report.model import Case, lost
from harness.report.privacy import Redactor
from tests.report.report_samples import FAILED, PASSED, evidence_of, run_of

OTHER = replace(
    PASSED, id="scenarios/timers/test_fire.py::test_fires_once[tcg-live-cntp]", lifecycle="live", params={"timer": "cntp"}
)
ALICE = Redactor(("/home/alice",), "alice")


def killed(out: Path, planned: list[Case], ended: list[Case]) -> Path:
    """Leave what a run leaves that was killed."""
    journal.plan(out, [lost(case, journal.KILLED) for case in planned])
    running = Journal(out, "2026-11-20T01:02:03Z", {"harness": "v1"})
    for number, case in enumerate(ended, 1):
        running.add(case, float(number))
    return out


def test_a_killed_run_has_results_and_the_rest_is_missing(tmp_path: Path) -> None:
    run = journal.read(killed(tmp_path, [PASSED, FAILED, OTHER], [PASSED]))
    assert run.cases[0] == PASSED
    assert (run.started, run.seconds, run.provenance) == ("2026-11-20T01:02:03Z", 1.0, {"harness": "v1"})
    assert [(case.verdict, case.missing, case.compared.registers, case.seconds) for case in run.cases[1:]] == [
        (Verdict.ERROR, True, 0, 0.0)
    ] * 2
    assert [case.params for case in run.cases[1:]] == [FAILED.params, OTHER.params]
    assert 'message="missing: the run was ended' in junit.to_xml(run)


def test_a_line_that_was_cut_is_no_end(tmp_path: Path) -> None:
    path = killed(tmp_path, [PASSED, FAILED], [PASSED, FAILED]) / journal.NAME
    for cut in range(1, 200):
        text = path.read_text()
        path.write_text(text[:-cut] if cut == 1 else text[:-1])
    (first, second) = journal.read(tmp_path).cases
    assert first == PASSED and second.missing


def test_killed_before_the_first_end(tmp_path: Path) -> None:
    journal.plan(tmp_path, [lost(PASSED, journal.KILLED)])
    (case,) = journal.read(tmp_path).cases
    assert case.missing


def test_an_earlier_runs_results_are_not_taken_for_this_ones(tmp_path: Path) -> None:
    results.write(tmp_path, run_of(PASSED))
    killed(tmp_path, [PASSED, OTHER], [OTHER])
    assert [case.missing for case in journal.read(tmp_path).cases] == [False, True]


def test_tries_that_are_missing_count_as_not_well() -> None:
    tries = [replace(PASSED, id=f"{PASSED.id[:-1]}~{number}]") for number in (1, 2, 3)]
    (case,) = journal.completed({each.id: lost(each, "x") for each in tries}, tries[:2])
    assert case.id == PASSED.id and case.missing and "2 of 3 tries went well" in case.message


@pytest.mark.parametrize("text", ["{}\n", '{"case": {}}\n', "[]\n", "\x00\n", '{"started": 1, "provenance": 2, "more": 3}\n'])
def test_a_damaged_journal_is_one_line(tmp_path: Path, text: str) -> None:
    killed(tmp_path, [PASSED], [])
    (tmp_path / journal.NAME).write_text(text)
    with pytest.raises(UsageError, match=journal.NAME):
        journal.read(tmp_path)


def test_a_directory_of_nothing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name a directory that"):
        journal.read(tmp_path)


# -- shards


def shard(folder: Path, *cases: Case, started: str = "2026-11-20T01:02:03Z", harness: str = "v1") -> Path:
    results.write(
        folder, replace(run_of(*cases), started=started, provenance={"harness": harness, "qemu": {"version": "11.1.3"}})
    )
    return folder


def test_shards_come_together(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    two.mkdir()
    failed = replace(FAILED, bundle=bundle.write(two, evidence_of(FAILED, two), ALICE))
    shard(one, PASSED)
    shard(two, failed, started="2026-11-20T00:00:00Z", harness="v2")
    measured.write(one, {PASSED.id: [1.0]})
    measured.write(two, {FAILED.id: [2.0]})
    out = tmp_path / "out"
    run = merge([one, two], out)
    assert run.cases == (PASSED, failed)
    assert run.started == "2026-11-20T00:00:00Z"
    assert run.provenance == {"harness": "v1; v2", "qemu": {"version": "11.1.3"}}
    assert (out / str(failed.bundle) / "README.txt").is_file()
    assert measured.read(out) == {PASSED.id: [1.0], FAILED.id: [2.0]}


def test_what_no_shard_has_is_missing(tmp_path: Path) -> None:
    one, two = shard(tmp_path / "one", PASSED), killed(tmp_path / "two", [FAILED, OTHER], [OTHER])
    third = "scenarios/gic/test_spi.py::test_spi[tcg-file]"
    run = merge([one, two], tmp_path / "out", [PASSED.id, FAILED.id, OTHER.id, third])
    assert [(case.id, case.missing) for case in run.cases] == [
        (PASSED.id, False),
        (OTHER.id, False),
        (FAILED.id, True),
        (third, True),
    ]
    assert (run.cases[3].subject, run.cases[3].platform) == ("gic", "tcg")


def test_a_shard_that_left_nothing_breaks_the_run(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    run = merge([shard(tmp_path / "one", PASSED), tmp_path / "two", tmp_path / "three"], tmp_path / "out")
    assert [case.id for case in run.cases if case.missing] == ["shard::two", "shard::three"]
    assert run.cases[1].suspect is Suspect.HARNESS and "which cases were its is not known" in run.cases[1].message


def test_of_a_case_that_two_have_the_worse_end_counts_but_any_end_beats_none(tmp_path: Path) -> None:
    well = replace(FAILED, verdict=Verdict.PASS, message="", suspect=None)
    one, two = shard(tmp_path / "one", well, OTHER), shard(tmp_path / "two", FAILED, lost(OTHER, "it died"))
    for order in ([one, two], [two, one]):
        found = {case.id: case for case in merge(order, tmp_path / "out").cases}
        assert found == {FAILED.id: replace(FAILED, bundle=None), OTHER.id: OTHER}


def test_a_shard_is_not_overwritten(tmp_path: Path) -> None:
    one = shard(tmp_path / "one", PASSED)
    with pytest.raises(UsageError, match="name another --out"):
        merge([one], tmp_path / "x" / ".." / "one")


def test_a_damaged_shard_is_not_passed_over(tmp_path: Path) -> None:
    one = shard(tmp_path / "one", PASSED)
    (one / results.NAME).write_text("{")
    with pytest.raises(UsageError, match=results.NAME):
        merge([one, shard(tmp_path / "two", OTHER)], tmp_path / "out")
