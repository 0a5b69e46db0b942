"""Cases dealt to shards, and shards put together again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import UsageError, Verdict
from harness.report import history, journal, results, shards
from harness.report.merge import merge
from harness.report.model import Case, Run, lost
from harness.report.shards import Dealt, Shard, deal
from harness.report.versions import Versions

COSTS = st.lists(st.none() | st.floats(0, 1000), max_size=60)


def test_without_times_cases_are_dealt_in_turn() -> None:
    assert deal([None] * 7, 3) == [0, 1, 2, 0, 1, 2, 0]


def test_the_longest_goes_first() -> None:
    assert deal([1.0, 5.0, 1.0, 3.0, 1.0], 2) == [1, 0, 1, 1, 0]


def test_a_case_that_nobody_measured_is_taken_for_a_usual_one() -> None:
    assert deal([10.0, None, None, 10.0, 1000.0], 2) == [1, 1, 1, 1, 0]


@given(COSTS, st.integers(1, 9))
def test_every_case_has_one_hand_and_no_hand_is_over_full(costs: list[float | None], hands: int) -> None:
    hand_of = deal(costs, hands)
    assert len(hand_of) == len(costs) and all(0 <= hand < hands for hand in hand_of)
    assert hand_of == deal(list(costs), hands)
    known = [cost for cost in costs if cost is not None]
    if len(known) == len(costs):
        loads = [sum(cost for cost, one in zip(known, hand_of, strict=True) if one == hand) for hand in range(hands)]
        # Graham's bound for any list: the mean, and one more case.
        assert max(loads) <= sum(known) / hands + max(known, default=0) + 1e-6


@pytest.mark.parametrize("text", ["", "0/2", "3/2", "1/0", "1", "a/b", "1/2/3", "-1/2", "1/999999"])
def test_no_shard(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard: '.*' is no shard; say which of how many, for example 2/4"):
        Shard.parse(text)


def test_a_shard_reads_as_it_was_said() -> None:
    assert str(Shard.parse("2/4")) == "2/4"


# -- put together


def _case(name: str, **more: object) -> Case:
    case = Case(f"scenarios/timers/test_it.py::test_it[tcg-file-{name}]", "timers", "tcg", "file", {"word": name}, Verdict.PASS)
    return replace(case, **more)  # type: ignore[arg-type]


CASES = tuple(_case(name, seconds=float(number)) for number, name in enumerate("abcdef", 1))
HANDS = (1, 2, 3, 1, 2, 3)


def _shard(folder: Path, number: int, *, hands: tuple[int, ...] = HANDS) -> Path:
    """Write what a shard leaves that ended well."""
    out = folder / str(number)
    shards.write(out, Dealt(Shard(number, 3), tuple(lost(case, "planned") for case in CASES), hands))
    own = tuple(case for case, hand in zip(CASES, hands, strict=True) if hand == number)
    results.write(out, Run("2026-11-01T00:00:00Z", 1.0, {}, own))
    return out


def test_all_shards_are_the_whole(tmp_path: Path) -> None:
    run = merge([_shard(tmp_path, number) for number in (1, 2, 3)], tmp_path / "all")
    assert sorted(case.id for case in run.cases) == [case.id for case in CASES]
    assert run.totals[Verdict.PASS] == 6


@pytest.mark.parametrize("named", [True, False], ids=["named", "not-named"])
def test_a_shard_that_vanishes_is_no_pass(tmp_path: Path, *, named: bool) -> None:
    outs = [_shard(tmp_path, number) for number in (1, 3)]
    if named:
        outs.insert(1, tmp_path / "2")
    run = merge(outs, tmp_path / "all")
    assert run.totals[Verdict.PASS] == 4
    missing = [case for case in run.cases if case.missing]
    assert [case.params["word"] for case in missing] == ["b", "e"]
    assert {case.message for case in missing} == {"missing: shard 2/3 never came"}
    assert {case.verdict for case in missing} == {Verdict.ERROR}


def test_of_a_shard_that_was_killed_only_what_ended_counts(tmp_path: Path) -> None:
    outs = [_shard(tmp_path, number) for number in (1, 2, 3)]
    (outs[1] / results.NAME).unlink()
    journal.plan(outs[1], [lost(CASES[1], "planned"), lost(CASES[4], "planned")])
    told = journal.Journal(outs[1], "2026-11-01T00:00:00Z", {})
    told.begun(CASES[1].id, 0.1)
    told.add(CASES[1], 0.2)
    told.begun(CASES[4].id, 0.2)
    run = merge(outs, tmp_path / "all")
    assert run.totals[Verdict.PASS] == 5
    (missing,) = [case for case in run.cases if case.missing]
    assert (missing.id, missing.message) == (CASES[4].id, "missing: it ran when the run was ended")


def test_shards_that_were_dealt_in_two_ways_are_refused(tmp_path: Path) -> None:
    outs = [_shard(tmp_path, 1), _shard(tmp_path, 2, hands=(2, 1, 3, 1, 2, 3))]
    with pytest.raises(UsageError, match="were not dealt in the same way; run all shards with the same options and"):
        merge(outs, tmp_path / "all")


def test_a_record_of_the_deal_that_is_damaged(tmp_path: Path) -> None:
    out = _shard(tmp_path, 1)
    data = json.loads((out / shards.NAME).read_text())
    data["hands"].pop()
    (out / shards.NAME).write_text(json.dumps(data))
    with pytest.raises(UsageError, match=r"shard\.json: is damaged: not every case has a shard"):
        shards.read(out)


# -- times


def test_times_of_a_run_leave_out_what_is_missing(tmp_path: Path) -> None:
    results.write(tmp_path, Run("2026-11-01T00:00:00Z", 1.0, {}, (CASES[0], lost(CASES[1], "gone"))))
    expected = {CASES[0].key: 1.0}
    assert shards.times(tmp_path) == expected
    assert shards.times(tmp_path / results.NAME) == expected


def test_times_of_a_history(tmp_path: Path) -> None:
    with history.History(tmp_path / history.NAME) as store:
        number = store.begin("2026-11-01T00:00:00Z", {})
        store.add(number, [(CASES[2], Versions())])
    assert shards.times(tmp_path / history.NAME) == {CASES[2].key: 3.0}


def test_times_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is nothing; name an output directory of a run, or a history"):
        shards.times(tmp_path / "nowhere")
