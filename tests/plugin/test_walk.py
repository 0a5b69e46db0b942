"""Walks with a model machine: every planted fault is found, and shrunk to the steps that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from harness.errors import GuestFailure, HarnessError, NoEvidence, StateDiffers
from harness.plugin import walk

GUESTS = ("memory", "expired", "active")
LIFECYCLES = ("pause", "file", "live", "snapshot", "multifd")
STEPS = 500
Fault = Callable[["ModelMachine", str], None]


@dataclass
class ModelMachine:
    """A guest as a few bits that must come through every lifecycle, and a fault that takes one."""

    fault: Fault = lambda _machine, _lifecycle: None
    guests: tuple[str, ...] = GUESTS
    lifecycles: tuple[str, ...] = LIFECYCLES
    guest: str = ""
    bits: int = 0
    # Pending in the model's interrupt controller, which no comparison sees.
    pending: bool = False
    behind: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def boot(self, guest: str) -> None:
        assert guest in GUESTS
        self.guest, self.bits, self.pending, self.behind = guest, 0b1011, guest == "expired", []
        self.log.append(guest)

    def lead(self, lifecycle: str) -> None:
        assert self.guest, "a guest that has ended is led nowhere"
        before = self.bits
        self.fault(self, lifecycle)
        self.behind.append(lifecycle)
        self.log.append(lifecycle)
        if self.bits != before:
            raise StateDiffers(f"the bits were {before:#x} and are {self.bits:#x}")

    def judge(self) -> None:
        assert self.behind, "a guest that was led nowhere proves nothing"
        if self.guest == "expired" and not self.pending:
            raise GuestFailure("the interrupt was lost")
        self.guest = ""


def loses_a_bit(machine: ModelMachine, lifecycle: str) -> None:
    if lifecycle == "multifd":
        machine.bits &= ~2


def loses_an_interrupt(machine: ModelMachine, lifecycle: str) -> None:
    if lifecycle == "snapshot":
        machine.pending = False


def loses_after_another(machine: ModelMachine, lifecycle: str) -> None:
    if lifecycle == "live" and "file" in machine.behind:
        machine.pending = False


def loses_the_third(machine: ModelMachine, lifecycle: str) -> None:
    if machine.guest == "active" and machine.behind[-2:] == ["file", "live"] and lifecycle == "pause":
        machine.bits &= ~1


FAULTS: dict[Fault, tuple[type[HarnessError], str]] = {
    loses_a_bit: (StateDiffers, r"the bits were 0xb and are 0x9; seed 1 walked: boot \w+, multifd"),
    loses_an_interrupt: (GuestFailure, r"lost; seed 1 walked: boot expired, snapshot, judge"),
    loses_after_another: (GuestFailure, r"lost; seed 1 walked: boot expired, file, live, judge"),
    loses_the_third: (StateDiffers, r"0xa; seed 1 walked: boot active, file, live, pause"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__.replace("_", " "))
def test_a_planted_fault_is_found_and_shrunk(fault: Fault) -> None:
    error, words = FAULTS[fault]
    with pytest.raises(error, match=rf"{words}\n") as raised:
        walk.run(ModelMachine(fault), steps=STEPS, number=1)
    path = re.search(r"walked: (.*)", raised.value.what)
    assert path is not None
    assert len(path[1].split(", ")) <= 5


@pytest.mark.parametrize("end", [KeyboardInterrupt, pytest.fail.Exception])
def test_whoever_ends_it_waits_for_no_judgement(end: type[BaseException]) -> None:
    def is_ended(machine: ModelMachine, _: str) -> None:
        machine.log.append("ended")
        raise end

    machine = ModelMachine(is_ended)
    machine.judge = lambda: machine.log.append("judged")  # type: ignore[method-assign]
    with pytest.raises(end):
        walk.run(machine, steps=STEPS, number=1)
    assert "judged" not in machine.log
    assert machine.log.count("ended") == 1


def test_a_sound_machine_is_walked_deep_and_wide() -> None:
    tally = walk.run(ModelMachine(), steps=STEPS, number=1)
    assert tally.steps >= STEPS
    assert tally.deepest >= 6
    assert tally.visited == {*(f"boot {guest}" for guest in GUESTS), *LIFECYCLES, "judge"}


def test_the_seed_decides() -> None:
    logs = []
    for number in (1, 1, 2):
        machine = ModelMachine()
        walk.run(machine, steps=100, number=number)
        logs.append(machine.log)
    assert logs[0] == logs[1] != logs[2]


def test_too_few_steps_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "run_state_machine_as_test", lambda *_, **__: None)
    with pytest.raises(NoEvidence, match=r"^the walks made 0 of 500 steps$"):
        walk.run(ModelMachine(), steps=STEPS, number=1)
