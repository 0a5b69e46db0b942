"""What the scenarios of reports share: a destination that differs, a stream that was edited on its way, a guest's last say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

from harness.deadline import Deadline
from harness.errors import Failure, QemuFailure
from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.lifecycle.passage import Passage
from harness.plugin.reported import Kind, Report
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.qemu.spec import Start

SECONDS = 20.0
_EDITED = "edited"

Edit = Callable[[bytes], bytes]


def soon() -> Deadline:
    """Return a deadline for what takes a tenth of a second."""
    return Deadline.after(SECONDS)


def machine_of(guest: Guest) -> Machine:
    """Return the guest's machine, one of QEMU's."""
    assert isinstance(guest.machine, Machine)
    return guest.machine


def another(trial: Trial, start: Start = Start.INCOMING, **differs: object) -> Machine:
    """Start a destination that differs from the guest's machine in what is named, fields of MachineSpec."""
    trial.vary({}, differs)
    machine = trial.start("destination-other", start)
    trial.vary({}, {})
    assert isinstance(machine, Machine)
    return machine


@contextmanager
def expected(kind: type[Failure], words: str) -> Iterator[None]:
    """Say that the block fails, in these words (a pattern). Raises what it raises in others, Failure for nothing."""
    try:
        yield
    except kind as error:
        if not re.search(words, str(error)):
            raise
    else:
        raise Failure(f"nothing failed; expected was: {words}")


def refusal(words: str) -> AbstractContextManager[None]:
    """Say that QEMU refuses what the block does, in these words."""
    return expected(QemuFailure, words)


def last_say(trial: Trial, guest: Guest) -> None:
    """Let the guest go on to its end, and have it and the oracles judge what became of it."""
    guest.go()
    judge(trial, guest)


def judge(trial: Trial, guest: Guest, *, interrupted: bool = True) -> None:
    """Hear a guest that was told to go on to its end, and judge what became of it."""
    if guest.name == "timers":
        timers.hear_out(guest)
        trial.count(interrupts=timers.judge(guest, interrupted=interrupted), registers=timers.compared(guest))
    else:
        witness.hear_out(guest)
        trial.count(interrupts=witness.judge(guest, interrupted=interrupted), registers=witness.evidence(guest))
    guest.finish()


def edited(trial: Trial, guest: Guest, *edits: Edit) -> Machine:
    """Save the guest, change the stream, and load it into a new machine, which stays stopped. Raises as `Passage.load`."""
    passage = trial.lifecycle.by(trial.start)
    assert isinstance(passage, Passage)
    trial.passages.append(passage)
    source = machine_of(guest)
    source.stop()
    saved = passage.save(source)
    data = saved.here().read_bytes()
    for edit in edits:
        data = edit(data)
    restored = passage.twin()
    (restored.directory / _EDITED).write_bytes(data)
    if restored.place != restored.directory:
        restored.host.put(restored.directory / _EDITED, restored.place / _EDITED)
    passage.load(restored, restored.place / _EDITED)
    guest.follow([source, restored])
    return restored


@dataclass(frozen=True)
class Pair:
    """Two machines that differ, fields of MachineSpec by name, and the words with which the destination refuses the guest."""

    report: Report
    source: Mapping[str, Any]
    destination: Mapping[str, Any]
    says: str


def pair(
    name: str, entries: str | tuple[str, ...], says: str, source: Mapping[str, Any], destination: Mapping[str, Any]
) -> Pair:
    """Return a row of a table of such machines, through a migration with a return path."""
    fixed = "names what differs, and the guest goes on where it was"
    return Pair(Report(name, entries, Kind.MODEL, fixed, lifecycle="live-unix"), source, destination, says)


def see_refused(trial: Trial, row: Pair) -> None:
    """Lead a guest to a destination that differs: it is refused in these words, and goes on where it was, whole."""
    trial.vary(row.source, row.destination)
    guest = trial.boot("registers", sets="gpr")
    with refusal(row.says):
        trial.put_through(guest)
    last_say(trial, guest)
