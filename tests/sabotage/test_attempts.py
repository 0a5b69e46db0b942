"""A phase of a migration that is to fail is reached when both sides have come there, however late a channel comes."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from harness.errors import QemuFailure
from harness.faults import census
from harness.faults.attempt import CHANNELS, SWITCHED, Attempt
from harness.faults.kinds import cancel
from harness.host.line import Line
from harness.lifecycle.passage import Passage
from harness.qemu import migration
from harness.qemu.hub import Hub
from harness.qemu.machine import Machine
from tests.sabotage.parts import NewTrial, SabotagedTrial, start

# Far longer than both sides need to come to any phase on one connection alone.
LATE_SECONDS = 0.5


@dataclass
class LateChannels(Hub):
    """The hub of a line that takes one connection, and those behind it only later."""

    hub: Hub
    first: threading.Lock = field(default_factory=threading.Lock)

    def heard(self) -> None:
        """Tell the hub; the first to call is the thread that accepts."""
        if self.first.acquire(blocking=False):
            threading.Event().wait(LATE_SECONDS)
        self.hub.heard()


def sides(new_trial: NewTrial, lifecycle: str, payload: str) -> tuple[SabotagedTrial, Machine, Machine]:
    """Return a case with its guest arranged, and a machine that waits for it."""
    trial = new_trial(lifecycle)
    source = start(trial, payload).machine
    assert isinstance(source, Machine)
    return trial, source, Passage(trial.start).twin()


@pytest.mark.parametrize("phase", ["set-up", "ram"], ids=lambda phase: f"attempt: late channels, {phase}")
def test_waits_for_a_channel_that_is_late(phase: str, new_trial: NewTrial) -> None:
    """Without it the destination has not begun, and hangs for what it then loses (known issue qemu-multifd-destination-hangs)."""
    trial, source, destination = sides(new_trial, "multifd", "memory")
    with Attempt.begun(source, destination, ("multifd",), LateChannels(trial.source.workshop.hub)) as attempt:
        attempt.reach(phase)
        assert (attempt.line.connections, migration.status(destination)) == (3, "active")
        attempt.line.cut()
        attempt.settle()
    attempt.judge()


def test_the_memory_of_a_postcopy_guest_is_missing_for_as_long_as_it_takes(new_trial: NewTrial) -> None:
    """Trickling in, that of a small guest is there after a third of a second, and what is killed then is killed too late."""
    trial, source, destination = sides(new_trial, "postcopy", "timers")
    with Attempt.begun(source, destination, ("return-path", "postcopy-ram"), trial.source.workshop.hub) as attempt:
        attempt.reach(SWITCHED)
        time.sleep(4 * LATE_SECONDS)
        assert [migration.status(side) for side in (source, destination)] == ["postcopy-active"] * 2
        attempt.go_on()
        attempt.settle()
    attempt.judge()
    assert [migration.status(side) for side in (source, destination)] == ["completed"] * 2


def loses_its_destination(new_trial: NewTrial, harm: Callable[[Machine], object]) -> None:
    """Play a case whose destination is harmed, and whose guest lives on the source."""
    trial, source, destination = sides(new_trial, "live-unix", "memory")
    with trial.explained():
        with Attempt.begun(source, destination, ("return-path",), trial.source.workshop.hub) as attempt:
            attempt.reach("ram")
            harm(destination)
            attempt.line.cut()
            attempt.settle()
        attempt.judge()
        census.count(trial.guests[0], trial.machines).one("source")
        trial.count(registers=1)


def test_a_destination_that_crashes_is_told_although_the_guest_lives(new_trial: NewTrial) -> None:
    def crash(machine: Machine) -> None:
        os.kill(cast(Any, machine.process).pid, signal.SIGSEGV)

    with pytest.raises(QemuFailure, match=r"^destination: QEMU was killed by SIGSEGV$"):
        loses_its_destination(new_trial, crash)


def test_a_destination_that_was_killed_has_not_crashed(new_trial: NewTrial) -> None:
    loses_its_destination(new_trial, Machine.kill)


class SlowLine(Line):
    """A line that has been let go, and takes its time."""

    def _passing(self, data: bytes) -> bytes:
        if self.reached and not self.holding:
            time.sleep(LATE_SECONDS)
        return super()._passing(data)


def test_what_is_on_its_way_when_a_source_has_cancelled_arrives(new_trial: NewTrial, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut short, the channel that was held ends where its destination does not notice (qemu-multifd-destination-hangs)."""
    monkeypatch.setattr("harness.faults.attempt.Line", SlowLine)
    trial, source, destination = sides(new_trial, "multifd", "memory")
    with Attempt.begun(source, destination, ("multifd", "return-path"), trial.source.workshop.hub) as attempt:
        attempt.reach(CHANNELS)
        cancel(attempt)
        attempt.settle()
    attempt.judge()
    assert destination.process.poll() == 1, "it has failed by itself"
