"""The matrix of mismatches with real machines: a row that is wrong fails, harm is a failure, and one guest is left."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from harness.errors import Failure, GuestFailure, Unsupported
from harness.lifecycle import LIFECYCLES
from harness.plugin.mismatch import Came, Outcome, Pair, Witness, meet
from harness.plugin.trial import Bench
from harness.qemu.migration import TransferFailed
from harness.state.causes import Cause
from scenarios.migration.mismatches import PAIRS
from tests.sabotage.parts import SabotagedTrial

ROWS = ("rng-gone", "its-on", "sve-shorter", "memory-more")


@pytest.fixture
def new(bench: Bench) -> Iterator[SabotagedTrial]:
    new = SabotagedTrial(bench, {"lifecycle": "live-unix"}, way=LIFECYCLES["live-unix"])
    yield new
    new.close()


def wrong(pair: Pair) -> list[Pair]:
    """Return the row with one expectation changed, each in turn."""
    others = [outcome for outcome in Outcome if outcome is not pair.outcome]
    changes: list[dict[str, Any]] = [*({"outcome": outcome} for outcome in others), {"silent": not pair.silent}]
    changes.append({"cause": Cause.VERSION if pair.cause else Cause.UNKNOWN})
    if pair.culprit:
        changes.append({"culprit": "somebody-else"})
    return [replace(pair, **change) for change in changes]


@pytest.mark.parametrize("name", ROWS, ids="mismatch: {}, a wrong row".format)
def test_a_wrong_row_fails(name: str, new: SabotagedTrial) -> None:
    pair = PAIRS[name]
    came = meet(new, pair)
    assert pair.disagreement(came) == ""
    for other in wrong(pair):
        assert other.disagreement(came), other


def led(new: SabotagedTrial, name: str) -> Came:
    came = meet(new, PAIRS[name])
    assert PAIRS[name].disagreement(came) == ""
    assert [machine.side for machine in new.machines if machine.process.poll() is None] == []
    return came


@pytest.mark.parametrize("name", ["rng-gone"], ids=["mismatch: refused, the guest goes on at the source"])
def test_a_refused_guest_goes_on_where_it_came_from(name: str, new: SabotagedTrial) -> None:
    came = led(new, name)
    assert came.failure is None and new.tally.registers > 100
    assert new.guests[0].machine.side == "source" and new.guests[0].machine.process.poll() == 0
    new.conclude()


@pytest.mark.parametrize("name", ["its-on"], ids=["mismatch: accepted, the guest goes on at the destination"])
def test_an_accepted_guest_goes_on_at_the_destination(name: str, new: SabotagedTrial) -> None:
    assert led(new, name).failure is None
    assert new.guests[0].machine.side == "destination"
    new.conclude()


@pytest.mark.parametrize(
    ("name", "error"),
    [("sve-shorter", GuestFailure), ("nvme-gone", TransferFailed)],
    ids=["mismatch: harmed", "mismatch: the source is lost"],
)
def test_harm_is_a_failure(name: str, error: type[Failure], new: SabotagedTrial) -> None:
    came = meet(new, PAIRS[name])
    assert isinstance(came.failure, error) and came.outcome is Outcome.HARMED


@pytest.mark.parametrize("sabotage", ["gpr"], ids=["mismatch: what would be accepted, and a guest that is harmed"])
def test_a_guest_that_finds_itself_harmed_is_heard(sabotage: str, new: SabotagedTrial) -> None:
    pair = PAIRS["its-on"]
    came = meet(new, replace(pair, witness=Witness("registers", {"say": "none", "sets": "gpr", "sabotage": sabotage})))
    assert came.outcome is Outcome.HARMED and isinstance(came.failure, GuestFailure)
    assert "outcome harmed, expected accepted" in pair.disagreement(came)


@pytest.mark.parametrize("same", ["cortex-a57"], ids=["mismatch: nothing differs"])
def test_passes_where_nothing_differs(same: str, new: SabotagedTrial) -> None:
    came = meet(new, Pair("same", {"cpu": same}, {"cpu": same}, Outcome.ACCEPTED, silent=True))
    assert came == Came(Outcome.ACCEPTED, silent=True)
    new.conclude()


@pytest.mark.parametrize("since", [(99, 0)], ids=["mismatch: a QEMU that the row does not speak of"])
def test_a_row_of_a_later_qemu_is_not_tried(since: tuple[int, int], new: SabotagedTrial) -> None:
    with pytest.raises(Unsupported, match=r"QEMU 99\.0 and later"):
        meet(new, replace(PAIRS["its-on"], since=since))


@pytest.mark.parametrize("suite", ["sid"], ids=["mismatch: a QEMU that is not there"])
def test_a_qemu_that_has_not_been_set_up_is_a_skip(suite: str, new: SabotagedTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.assets.cache.ready", lambda _: False)
    with pytest.raises(Unsupported, match=r"has not been set up; run `harness setup --qemu sid`"):
        meet(new, replace(PAIRS["qemu-trixie-to-this"], qemu=(suite, "")))
