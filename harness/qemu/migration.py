"""Carrying a guest's state from one QEMU process to another, judged from both sides together.

The source alone never knows: with a plain socket it says `completed` although the destination has refused the stream and
gone. So every transfer ends on the first of: both sides completed; either side failed; either process gone; the deadline.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from contextlib import suppress

from harness.deadline import Deadline
from harness.errors import Blocked, DeadlineExpired, Failure, HostFailure, QemuFailure, Unsupported
from harness.qemu.machine import Machine
from harness.qemu.qmp import QmpRefused
from harness.state.causes import Cause, Finding, Said, classify
from harness.state.model import State

TRANSFER_SECONDS = 30.0
_LOST = ("failed", "cancelled")
# What a source's postcopy migration goes through before the guest is the destination's (qapi/migration.json, MigrationStatus).
_BEFORE_THE_SWITCH = ("setup", "active", "device", "postcopy-device", "failing", "cancelling")
# Seconds for a process that is about to exit, or to hear from the other one, to do so.
_MOMENT = 0.5


class TransferFailed(QemuFailure):
    """A guest did not get from one side to the other; `finding` is why, and what the sentence begins with."""

    def __init__(self, words: str, source: Said | None, destination: Said | None, *, where: str = "") -> None:
        super().__init__(words, where=where)
        self._words, self._sides = words, (source, destination)
        self.explain()

    def explain(self, before: State | None = None, there: State | None = None, more: str = "") -> None:
        """Find the cause anew with what new machines of both sides have, and say `more` after QEMU's words."""
        self.finding: Finding = classify(*self._sides, before, there)
        self.what = f"{self.finding}: {self._words}{more}"


def enable(machine: Machine, *capabilities: str) -> None:
    """Switch migration capabilities on, with the `events` that tell us of each change of status (qapi/migration.json).

    Raises Unsupported with QEMU's own words when this QEMU or this computer lacks one, QemuFailure as of `has_migrated`.
    """
    wanted = [{"capability": name, "state": True} for name in ("events", *capabilities)]
    try:
        machine.execute("migrate-set-capabilities", {"capabilities": wanted})
    except QmpRefused as error:
        words = f"QEMU refuses {', '.join(capabilities or ('events',))}"
        if has_migrated(machine):
            raise QemuFailure(f"{words}, having migrated before: {error.description}", where=machine.side) from error
        raise Unsupported(f"{words}: {error.description}", where=machine.side) from error


def has_migrated(machine: Machine, until: int | None = None) -> bool:
    """Whether the machine has been a side of a migration or in a snapshot, however that ended; `until` that one of its events.

    What it refuses then says what has become of it, and no longer what this QEMU and this computer can do.
    """
    return any(
        event.name == "MIGRATION" or (event.name == "JOB_STATUS_CHANGE" and event.data["id"].startswith("snapshot-"))
        for event in machine.qmp.events[:until]
    )


def forget(machine: Machine) -> None:
    """Switch off every capability but `events`: a machine that was a destination still has those of that migration."""
    on = [each["capability"] for each in machine.execute("query-migrate-capabilities") if each["state"]]
    off = [{"capability": name, "state": False} for name in on if name != "events"]
    if off:
        machine.execute("migrate-set-capabilities", {"capabilities": off})


def set_parameters(machine: Machine, **parameters: object) -> None:
    """Set migration parameters; underscores in names stand for dashes."""
    machine.execute("migrate-set-parameters", {name.replace("_", "-"): value for name, value in parameters.items()})


def send(source: Machine, uri: str) -> None:
    """Begin to send. Raises Blocked with QEMU's reasons where it refuses a new machine by design, else TransferFailed."""
    source.migration_began = len(source.qmp.events)
    try:
        source.execute("migrate", {"uri": uri})
    except QmpRefused as error:
        if (reasons := blocked(source)) and not has_migrated(source, source.migration_began):
            raise Blocked(reasons, where=source.side) from error
        raise TransferFailed(error.what, _heard(source, error.description), None, where=source.side) from error


def blocked(machine: Machine) -> str:
    """Return QEMU's reasons why this machine can be neither saved nor migrated (`blocked-reasons`), or nothing."""
    reasons: Sequence[str] = machine.execute("query-migrate").get("blocked-reasons") or ()
    return "; ".join(reasons)


def receive(destination: Machine, uri: str) -> None:
    """Begin to load (file:, fd:) or to listen (unix:, tcp:). Raises TransferFailed."""
    destination.migration_began = len(destination.qmp.events)
    try:
        destination.execute("migrate-incoming", {"uri": uri})
    except QmpRefused as error:
        raise TransferFailed(error.what, None, _heard(destination, error.description), where=destination.side) from error


def status(machine: Machine) -> str:
    """Return the newest status that was heard of the machine's migration under way, `none` before the first."""
    events = machine.qmp.events[machine.migration_began :]
    return next((str(event.data["status"]) for event in reversed(events) if event.name == "MIGRATION"), "none")


def saved(source: Machine, deadline: Deadline) -> None:
    """Wait until a stream is written completely. Raises TransferFailed with QEMU's reason."""

    def done() -> bool | None:
        now = status(source)
        if now in _LOST:
            return False
        source.check_alive()
        return True if now == "completed" else None

    if not source.until(done, deadline, "the source to write the stream"):
        raise failed(source, f"the source could not save: {_reason(source)}")
    finalized(source, deadline)


def finalized(source: Machine, deadline: Deadline) -> None:
    """Wait until a source that says `completed` can be told to go on, or one that says `failed` does; raises DeadlineExpired.

    QEMU says it a moment before it leaves the run state in which it refuses `cont`, and nobody is told of that. For the moment
    before `failed`, 11.1 has a status of its own (`failing`), and 10.0 has not.
    """
    while source.status() == "finish-migrate":
        if deadline.expired:
            raise DeadlineExpired(
                f"waited {deadline.seconds:.1f} s for the source to be done with the stream", where=source.side
            )


def failed(machine: Machine, words: str) -> Failure:
    """Return the failure of a machine that saves, for words in which QEMU's reason is: a full disk is its host's fault."""
    if os.strerror(errno.ENOSPC) in words:
        return HostFailure(f"the disk of {machine.host.name} is full: {words}", where=machine.side)
    return TransferFailed(words, _heard(machine, words), None, where=machine.side)


def transferred(source: Machine | None, destination: Machine, deadline: Deadline) -> None:
    """Wait until the guest is on the destination completely, by the word of both sides (`source` None: a file is loaded).

    Raises TransferFailed naming the side that failed, with its words and what the other side claims, DeadlineExpired.
    """

    def done() -> str | None:
        ours = status(source) if source is not None else "completed"
        theirs = status(destination)
        if destination.process.poll() is not None or theirs in _LOST:
            return "destination"
        if source is not None and (source.process.poll() is not None or ours in _LOST):
            return "source"
        return "both" if ours == theirs == "completed" else None

    try:
        outcome = destination.until(done, deadline, "both sides to complete the migration")
    except DeadlineExpired as error:
        error.what = f"{Cause.TIMEOUT}: {error.what}"
        raise
    if outcome == "both":
        return
    if source is not None:
        _let_end(source)
    # A refusal reaches the source first and the destination's last words are the reason.
    theirs = _parting(destination)
    claim = f"; the source says {status(source)}: {_reason(source)}" if source is not None else ""
    sides = _heard(source) if source is not None else None, _heard(destination)
    # Which side is heard of first is chance: a destination that refuses and goes is a broken socket to its source.
    told = classify(*sides).side
    if source is not None and (told == source.side if told else outcome == "source"):
        raise TransferFailed(f"the migration failed on the source{claim}; the destination says {theirs}", *sides)
    raise TransferFailed(f"the destination did not take the stream: {theirs}{claim}", *sides, where=destination.side)


def switched_over(source: Machine, destination: Machine, deadline: Deadline) -> None:
    """Wait until a postcopy destination has the device state and may run, memory still coming.

    QEMU tells nobody when a destination that was started with -S is ready, so its run state is asked for in a loop, each
    question answered by its main loop; `inmigrate` ends with the device state (migration/savevm.c, loadvm_postcopy_handle_run).
    Until the source has heard of it (`postcopy-device`, QEMU 10.2) it resumes the guest should the connection end, beside a
    destination that was told to run.
    Raises TransferFailed with the sides' words, DeadlineExpired.
    """

    def heard() -> bool | None:
        now = status(source)
        return None if now in _BEFORE_THE_SWITCH and source.process.poll() is None else True

    while destination.status() == "inmigrate" and status(source) not in _LOST:
        if deadline.expired:
            raise DeadlineExpired(f"waited {deadline.seconds:.1f} s for the destination to switch over")
    source.until(heard, deadline, "the source to hear of the switch")
    if status(source) in _LOST:
        words = f"the migration failed on the source: {_reason(source)}"
        raise TransferFailed(words, _heard(source), _heard(destination), where=source.side)


def _heard(machine: Machine, error: str = "") -> Said:
    """Return what a side says for itself: `error`, or else what query-migrate gives as a reason."""
    with suppress(QemuFailure):  # it is gone, and its standard error says why
        error = error or str(machine.execute("query-migrate").get("error-desc", ""))
    return Said(machine.side, status(machine), error, machine.stderr(), machine.process.poll())


def _let_end(source: Machine) -> None:
    """Give a source a moment to hear from the destination that it refuses."""

    def ended() -> bool | None:
        return True if status(source) in (*_LOST, "completed") or source.process.poll() is not None else None

    with suppress(DeadlineExpired):
        source.until(ended, Deadline.after(_MOMENT), "the source to end the migration")


def _reason(machine: Machine) -> str:
    """Return QEMU's own reason for a failed migration, or the words it died with."""
    if (how := machine.ending()) is not None:
        return machine.last_words() or f"it {how} without a word"
    try:
        return str(machine.execute("query-migrate").get("error-desc", "no reason given"))
    except QemuFailure as error:  # it went while it was asked, and that is the reason
        return error.what


def _parting(machine: Machine) -> str:
    """Return what a process says for itself, giving one that is about to exit a moment to do so."""
    machine.settle(Deadline.after(_MOMENT))
    return _reason(machine)
