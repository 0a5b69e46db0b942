"""A guest that goes to a machine that differs from its own in one thing, whatever becomes of it.

The guest goes live, with a return path, so that a source whose guest was refused has it back: there is one guest afterwards, on
one side or on the other, and it is heard out there. Its own word, and the comparison of registers, decide on harm.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from harness.deadline import Deadline
from harness.errors import (
    Blocked,
    Failure,
    GuestFailure,
    GuestSilent,
    InterruptLate,
    MissingError,
    QemuFailure,
    StateDiffers,
    TimerFailure,
    Unsupported,
)
from harness.guest import timers, witness
from harness.guest.payload import ANSWER_SECONDS, Guest
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.qemu.migration import TransferFailed
from harness.report.model import Scalar
from harness.state.causes import Cause, Finding

_HARM = (GuestFailure, GuestSilent, TimerFailure, StateDiffers)


class Outcome(StrEnum):
    """What became of the guest."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    HARMED = "harmed"


@dataclass(frozen=True)
class Witness:
    """The payload that is asked whether it was harmed, with its arguments."""

    payload: str
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """Two machines: what each is, as fields of MachineSpec, and what is expected of a guest that goes from one to the other.

    `culprit` is what QEMU, or the registers of both sides, have to name; `silent` says that no QEMU has a word to say of it.
    `qemu` names the Debian suites whose QEMU the sides have where that is the difference, empty for the run's own.
    """

    name: str
    source: Mapping[str, Any]
    destination: Mapping[str, Any]
    outcome: Outcome
    cause: Cause | None = None
    culprit: str = ""
    silent: bool = False
    witness: Witness = Witness("registers", {"say": "none"})
    # The first QEMU of which this is true.
    since: tuple[int, int] = (0, 0)
    qemu: tuple[str, str] = ("", "")

    @property
    def differs(self) -> str:
        """What differs, in QEMU's words."""
        names = [name for name in {**self.source, **self.destination} if self.source.get(name) != self.destination.get(name)]
        ours, theirs = (
            _words(side, names, qemu) for side, qemu in zip((self.source, self.destination), self.qemu, strict=True)
        )
        return f"{ours} -> {theirs}"

    def found(self, came: Came) -> dict[str, Scalar]:
        """Return what the report's table of mismatches shows of the case (harness/report/mismatches.py)."""
        cause = str(came.finding.cause) if came.finding is not NOTHING else ""
        told = {"differs": self.differs, "outcome": str(came.outcome), "cause": cause, "culprit": came.finding.culprit}
        return {**told, "silent": came.silent}

    def disagreement(self, came: Came) -> str:
        """Say in words how what came is not what was expected; an empty text where it is."""
        named = not self.culprit or re.search(rf"(?<![\w-]){re.escape(self.culprit)}(?![\w-])", came.finding.culprit)
        pairs = (
            ("outcome", self.outcome, came.outcome),
            ("cause", self.cause or "none", came.finding.cause if came.finding is not NOTHING else "none"),
            ("culprit", self.culprit, self.culprit if named else came.finding.culprit or "nobody"),
            ("said", "nothing" if self.silent else "something", "nothing" if came.silent else "something"),
        )
        words = [f"{what} {found!s}, expected {expected!s}" for what, expected, found in pairs if expected != found]
        return f"{self.differs}: {'; '.join(words)} ({came.words})" if words else ""


NOTHING = Finding(Cause.UNKNOWN)


@dataclass(frozen=True)
class Came:
    """What came of it: why it was refused, the failure that it is, and whether no QEMU had a word to say."""

    outcome: Outcome
    finding: Finding = NOTHING
    failure: Failure | None = None
    silent: bool = False
    words: str = ""


def meet(trial: Trial, pair: Pair) -> Came:
    """Lead a guest from one machine of the pair to the other, and hear it out where it is afterwards.

    Raises Unsupported where the row is not of the QEMUs that are here, InstantMissed, and failures that are not harm.
    """
    guest = _boot(trial, pair)
    finding, lost, refusal, words = NOTHING, None, None, ""
    try:
        trial.put_through(guest)
    except TransferFailed as error:
        finding, words = error.finding, str(error)
        lost = _back(trial, guest, error)
        # Between machines that are the same, for all that was asked for, no refusal is right.
        refusal = error if pair.source == pair.destination else None
    except Blocked as error:
        finding, words = Finding(Cause.BLOCKED, error.what), str(error)
        trial.go(guest)
    harm = lost or _harm(trial, guest)
    if finding is not NOTHING and harm is None:
        outcome = Outcome.REFUSED
    else:
        outcome = Outcome.HARMED if harm or trial.tally.differences else Outcome.ACCEPTED
    silent = finding is NOTHING and not _said(trial)
    return Came(outcome, finding, harm or refusal, silent, words or str(harm or trial.tally.difference_words()))


def _boot(trial: Trial, pair: Pair) -> Guest:
    """Start the witness on the source. Raises Unsupported."""
    trial.vary(pair.source, pair.destination, *pair.qemu)
    try:
        newest = max(ground.qemu.version[:2] for ground in trial.settled())
    except MissingError as error:
        raise Unsupported(str(error)) from error
    if newest < pair.since:
        raise Unsupported(f"the table of mismatches speaks of QEMU {'.'.join(map(str, pair.since))} and later")
    asked = dict(pair.witness.asked)
    if pair.witness.payload == "timers":
        asked |= timers.times(asked["instant"], trial.ahead_us)
    return trial.boot(pair.witness.payload, **asked)


def _back(trial: Trial, guest: Guest, error: TransferFailed) -> Failure | None:
    """Let the guest go on where it came from, once it is back there; return the failure where the source is lost too."""
    source = guest.machine
    assert isinstance(source, Machine)
    try:
        if source.status() != "running":
            source.wait_event("RESUME", Deadline.after(ANSWER_SECONDS), since=source.migration_began)
    except QemuFailure:
        return error
    for machine in trial.machines:
        if isinstance(machine, Machine) and machine is not source:
            machine.close()
    trial.go(guest)
    return None


def _harm(trial: Trial, guest: Guest) -> Failure | None:
    """Hear the guest out and count what it proves; return what it found wrong."""
    interrupted = trial.lifecycle.interrupts
    try:
        if guest.name == "timers":
            timers.hear_out(guest)
            trial.count(interrupts=timers.judge(guest, interrupted=interrupted), registers=timers.compared(guest))
        else:
            witness.hear_out(guest)
            witness.judge(guest, interrupted=interrupted)
            trial.count(registers=witness.evidence(guest))
        guest.finish()
    except InterruptLate:
        raise  # the computer's fault, unless it is late each time
    except _HARM as error:
        error.suspect = trial.source.culprit  # it was well where it came from
        return error
    return None


def _said(trial: Trial) -> list[str]:
    """Return what the QEMUs of both sides said that is not about how old a machine type is."""
    sides = [machine for machine in trial.machines if machine.side in ("source", "destination")]
    lines = [line for machine in sides if isinstance(machine, Machine) for line in machine.stderr().splitlines()]
    return [line for line in lines if "is deprecated" not in line]


def _words(side: Mapping[str, Any], names: list[str], qemu: str) -> str:
    """Return what of a side differs, as on QEMU's command line; the default where it says nothing."""
    words = [f"QEMU of {qemu}"] if qemu else []
    for name in names:
        value = side.get(name)
        if isinstance(value, tuple):
            words += [" ".join(value)] if value else []
        elif isinstance(value, bool):
            words += [name] if value else []
        elif value is not None:
            words.append(f"{name} {value}" if isinstance(value, int) else str(value))
    return ", ".join(words) or "default"
