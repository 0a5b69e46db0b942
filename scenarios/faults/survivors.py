"""The guests that faults happen to, and what is asked of the one that survives."""

from __future__ import annotations

import re
from pathlib import PurePath

from harness.deadline import Deadline
from harness.errors import QemuFailure
from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.host.protocol import how_it_ended
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import Passage
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.qemu.migration import TransferFailed
from harness.state.causes import Cause

# Instants that last for as long as it takes; one whose deadline is ahead is asked for by name (`armed`).
GUESTS = ("memory", "expired-masked", "disabled")
# For how long, in ms, an armed timer has to stay ahead: an attempt that fails, a second one that does not.
_ARMED_MS = 1500
# For a destination that has refused the guest to be gone.
_SECONDS = 20.0


def arrange(trial: Trial, name: str) -> Guest:
    """Boot the payload `memory`, or `timers` with an instant of that name."""
    if name == "memory":
        return trial.boot("memory")
    ahead_us = 1000 * _ARMED_MS * trial.further
    return trial.boot("timers", timer="cntv", instant=name, by="cval", **timers.times(name, ahead_us))


def machine_of(guest: Guest) -> Machine:
    """Return the machine in which a guest was booted; faults are for those of QEMU."""
    assert isinstance(guest.machine, Machine)
    return guest.machine


def new_passage(trial: Trial) -> Passage:
    """Return a passage of the trial, whose streams are part of its evidence."""
    passage = Passage(trial.start)
    trial.passages.append(passage)
    return passage


def refuses(passage: Passage, destination: Machine, stream: PurePath, *capabilities: str) -> bool:
    """Say whether the destination refuses a stream, in words; otherwise it has taken it.

    Raises TransferFailed where it fails without a word, or by a signal or an assertion: a crash is no refusal.
    """
    try:
        passage.load(destination, stream, *capabilities)
    except TransferFailed as refused:
        if refused.finding.cause is Cause.CRASH or not re.search(
            r"the destination did not take the stream: .*\w", refused.what
        ):
            raise
        return True
    return False


def words_of_refusal(destination: Machine) -> str:
    """Return in which words a destination has refused the guest.

    Raises QemuFailure where it then ends otherwise than by itself with status 1: a crash is no refusal. DeadlineExpired.
    """
    if (status := destination.wait_exit(Deadline.after(_SECONDS))) != 1:
        raise QemuFailure(f"it {how_it_ended(status)}, which is no refusal: {destination.last_words()}", where=destination.side)
    return destination.last_words()


def lead_on(trial: Trial, passage: Passage, lifecycle: str, source: Machine) -> str:
    """Lead the guest through a lifecycle without a fault, comparing what is seen; return the side where it should live."""
    machine = LIFECYCLES[lifecycle].run(passage, source)
    trial.compare(passage)
    return str(machine.side)


def judge(trial: Trial, guest: Guest) -> None:
    """Hear the survivor out, whom the census has told to go on, and judge its memory, its interrupts and its heart."""
    trial.told()
    if guest.name == "timers":
        timers.hear_out(guest)
        trial.count(interrupts=timers.judge(guest, interrupted=True), registers=timers.compared(guest))
    else:
        witness.hear_out(guest)
        trial.count(interrupts=witness.judge(guest, interrupted=True), registers=witness.evidence(guest))
    guest.finish()
