"""The `timers` payload from outside: what to ask of it, hearing it out, and what the oracle says of what it read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from harness.deadline import Deadline
from harness.errors import (
    DeadlineExpired,
    GuestFailure,
    GuestSilent,
    InstantMissed,
    InterruptLate,
    NoEvidence,
    Suspect,
    TimerFailure,
)
from harness.guest import witness
from harness.guest.payload import ANSWER_SECONDS, Guest
from harness.guest.protocol import Message
from harness.state import timers

TICKS = 5
# From the guest's `now` to its clock standing still: a few ms on an idle computer, a hundred on one with too much to do.
REACTION_MS = 150
_KINDS = {"arranged", "irq", "timer"}
# Beyond the guest's own time, whatever its counter says: a guest whose counter stands still is lost too.
_PATIENCE_SECONDS = 30.0


def ahead_us(runs_on_ms: int, pace: int = 1) -> int:
    """Return how far ahead, in µs, a deadline has to be for a lifecycle during which the guest runs on for `runs_on_ms`.

    `pace` is how many times longer all takes where it is done than on this computer.
    """
    return 1000 * pace * (REACTION_MS + runs_on_ms)


def times(instant: str, ahead: int) -> dict[str, int]:
    """Return the payload's times in µs for an instant that has to last for `ahead` µs."""
    if instant == "periodic":
        # Two ticks come before `now`; the last has to come after the lifecycle.
        return {"ticks": TICKS, "period_us": ahead // (TICKS - 2)}
    # What is disabled has to pass CVAL, and may do so at any time.
    return {"ahead_us": 20_000 if instant in ("disabled", "expired-masked") else ahead}


def arrangement(guest: Guest) -> timers.Arrangement:
    """Return what the guest was asked for, with what it said of itself; by its own word where it was left to its defaults.

    Raises NoEvidence where neither tells.
    """
    asked = guest.arguments
    said = next(iter(guest.of_kind("arranged")), None)

    def told(name: str) -> str:
        if name not in asked and said is None:
            raise NoEvidence(f"nobody has said which {name} it is about", where=guest.name)
        return str(asked[name]) if name in asked or said is None else said.word(name)

    return timers.Arrangement(
        timer=told("timer"),
        instant=told("instant"),
        by=told("by"),
        freq=guest.hello.number("freq"),
        vcpus=guest.hello.number("vcpus"),
        ticks=int(str(asked.get("ticks", 0))),
    )


def readings(guest: Guest) -> list[timers.Reading]:
    """Return everything that the guest read in its timers, in order."""
    read: list[timers.Reading] = []
    # Of each vCPU, when it was asked what it has not answered yet.
    asked: dict[int, Iterator[float]] = {}
    for index, message in enumerate(guest.messages):
        if message.kind in _KINDS:
            reading = _reading(message, before_go=index < guest.went)
            if message.kind == "timer" and not reading.before_go:
                reading = replace(reading, asked=next(asked.setdefault(reading.cpu, iter(guest.asked)), None))
            read.append(reading)
    return read


def hear_out(guest: Guest) -> None:
    """Hear the guest until it ends, or until its own counter proves that an interrupt will not come any more.

    Raises GuestFailure, QemuFailure, GuestSilent when the guest does not even answer.
    """
    asked = arrangement(guest)
    # Whoever has counted living guests has heard one of them already.
    answered = [message for message in guest.messages[guest.went :] if message.kind == "timer"]
    _hear_timers(guest, asked.vcpus - len(answered))
    remaining = _remaining(asked, readings(guest))
    limit = Deadline.after(_PATIENCE_SECONDS + remaining)
    patience = remaining + timers.BOUND_SECONDS
    while not guest.of_kind("end"):
        try:
            guest.hear(limit.sooner(patience), "the guest's next interrupt or its end")
        except DeadlineExpired:
            guest.ask()
            try:
                _hear_timers(guest, asked.vcpus)
            except GuestFailure:
                if guest.of_kind("end"):  # which it was about to say when it was asked
                    return
                raise
            if timers.lost(asked, readings(guest)) or limit.expired:
                guest.end()
                guest.hear_until("end", Deadline.after(ANSWER_SECONDS))
            patience = timers.BOUND_SECONDS


def judge(guest: Guest, *, interrupted: bool) -> int:
    """Return how many interrupts the guest took, each once, in time and with the registers as the Arm ARM says.

    `interrupted` is False where nothing was done to the guest, so that no interrupt can have come too soon for it, once it has
    said what it has arranged.

    Raises InstantMissed; TimerFailure with all kinds of what was found and all that the guest found itself (InterruptLate where
    interrupts are late and that is all); GuestFailure where only the guest's own checks failed; NoEvidence.
    """
    asked, read = arrangement(guest), readings(guest)
    elapsed = timers.instant_missed(asked, read)
    if elapsed is not None and (interrupted or timers.overtaken(asked, read)):
        raise InstantMissed(f"the interrupt came before the lifecycle was over, after {elapsed:.2f} s", elapsed=elapsed)
    if interrupted and (due := witness.due_when_stopped(guest)) is not None:
        raise InstantMissed(f"the interrupt was pending when the guest was stopped, {due:.2f} s on or more", elapsed=due)
    findings = timers.find(asked, read)
    if findings:
        seen = timers.words(findings)
        if (said := guest.found(seen)) == seen and {finding.kind for finding in findings} == {"late"}:
            raise InterruptLate(said, seconds=max(timers.latencies(asked, read)) / asked.freq)
        raise TimerFailure(said)
    if complaints := guest.found():
        raise GuestFailure(complaints, suspect=Suspect.QEMU)
    guest.checks()
    interrupts = len([reading for reading in read if reading.kind == "irq"])
    if not read or interrupts != asked.expected * asked.vcpus:
        raise NoEvidence("no interrupt was counted", where=guest.name)
    return interrupts


def _reading(message: Message, *, before_go: bool) -> timers.Reading:
    kind = message.kind
    if kind not in ("arranged", "irq", "timer"):
        raise GuestFailure(f"`{kind}` is no reading of a timer", where=message.side)
    numbers = {key: message.number(key) for key in ("cpu", "cval", "cnt", "ctl")}
    optional = {key: message.number(key) for key in ("n", "intid", "run", "since") if key in message.values}
    known = {**numbers, **optional, "before_go": before_go, "heard": message.heard}
    return timers.Reading(kind=kind, **known)  # type: ignore[arg-type]  # narrowed above


def _hear_timers(guest: Guest, vcpus: int) -> None:
    """Hear one `timer` line of each vCPU."""
    deadline = Deadline.after(ANSWER_SECONDS)
    for _ in range(vcpus):
        try:
            guest.hear_until("timer", deadline)
        except DeadlineExpired as error:
            raise GuestSilent(f"the guest does not answer any more: {error.what}", where=error.where) from error


def _remaining(asked: timers.Arrangement, read: list[timers.Reading]) -> float:
    """Return how long the guest needs from now on, in seconds, if all is well, by its own newest readings."""
    if asked.instant == "armed-far":
        return 0.0
    newest = {reading.cpu: reading for reading in read if reading.kind == "timer"}.values()
    ticks = max((reading.cval - reading.cnt for reading in newest), default=0)
    if asked.instant == "periodic":
        irqs = sorted(reading.cval for reading in read if reading.kind == "irq" and reading.cpu == 0)
        ticks += asked.ticks * (irqs[1] - irqs[0]) if len(irqs) > 1 else 0
    return max(0, ticks) / asked.freq


def latencies_us(guest: Guest) -> list[float]:
    """Return for each interrupt how many µs it came after the guest could take it; none where the guest has not begun."""
    if not guest.of_kind("hello") or not {"timer", "instant", "by"} <= guest.arguments.keys():
        return []
    asked = arrangement(guest)
    return [ticks * 1e6 / asked.freq for ticks in timers.latencies(asked, readings(guest))]


def compared(guest: Guest) -> int:
    """Return how many register values of the guest's own account the oracle has judged: CVAL, CNT and CTL of each reading."""
    return 3 * len(readings(guest))
