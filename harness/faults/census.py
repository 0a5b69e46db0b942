"""How many guests live: counted over every machine of a case, by the guest's own word and never by QEMU's alone.

A machine that runs is asked, and its guest lives if it answers on that machine's console. So a source that says `completed`
counts for nothing, and two machines that were both told to go on count as two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from harness.deadline import Deadline
from harness.errors import Failure, QemuFailure
from harness.guest.payload import ANSWER_SECONDS, Guest
from harness.guest.protocol import Message, parse
from harness.qemu import migration
from harness.qemu.machine import COMMAND_SECONDS, AnyMachine, Machine

# What a payload answers first to `g` and to `?` (docs/guest-protocol.md).
_ANSWERS = frozenset({"beat", "timer"})


class Kind(StrEnum):
    """How the guest in one machine stands."""

    LIVES = "lives"
    # QEMU says that the machine runs, and its guest says nothing; or QEMU itself says nothing any more.
    SILENT = "silent"
    # It runs without all of its memory, which nobody sends any more (postcopy).
    STRANDED = "stranded"
    # It can be told to go on, or was never there.
    STOPPED = "stopped"
    GONE = "gone"


@dataclass(frozen=True)
class Standing:
    """One machine: its side, how its guest stands, and the words for that. `guest` is the one that was heard there."""

    side: str
    kind: Kind
    words: str
    guest: Guest | None = None

    def __str__(self) -> str:
        """Return it as a part of a sentence."""
        return f"{self.side} {self.words}"


@dataclass(frozen=True)
class Census:
    """Every machine of a case."""

    standings: Sequence[Standing] = field(default_factory=tuple)

    @property
    def living(self) -> list[Standing]:
        """The machines whose guest answered."""
        return [each for each in self.standings if each.kind is Kind.LIVES]

    @property
    def sentence(self) -> str:
        """What was counted, with the reason for each machine in which no guest lives."""
        number = {0: "no guest lives", 1: "one guest lives"}.get(len(self.living), f"{len(self.living)} guests live")
        return f"{number}: {'; '.join(map(str, self.standings)) or 'there is no machine'}"

    def one(self, side: str) -> Guest:
        """Return the one guest that lives, in the machine of that side. Raises QemuFailure where it is not so."""
        (guest,) = self._expected([side])
        assert guest is not None
        return guest

    def lost(self) -> str:
        """Return in words where the guest has gone, none being left. Raises QemuFailure where one lives."""
        self._expected([])
        return self.sentence

    def _expected(self, sides: Sequence[str]) -> list[Guest | None]:
        if [each.side for each in self.living] != sides:
            raise QemuFailure(f"{self.sentence}; expected was {sides[0] if sides else 'none'}")
        if wrong := [each for each in self.standings if each.kind is Kind.SILENT]:
            raise QemuFailure(f"{self.sentence}; {wrong[0].side} runs and says nothing")
        return [each.guest for each in self.living]


def count(guest: Guest, machines: Sequence[AnyMachine]) -> Census:
    """Ask every machine that runs whether the guest is there, which tells it that the lifecycle is over (`g`).

    `guest` is the one that was booted in the first of the machines; what it has said there is part of what each copy has said.
    """
    lines, rest = guest.machine.console.leftover()
    guest.messages += [parse(line, side=guest.machine.side) for line in lines]
    return Census([_standing(_copy(guest, machine, rest), machine) for machine in machines if isinstance(machine, Machine)])


def _copy(guest: Guest, machine: Machine, beginning: bytes) -> Guest:
    """Return the guest as it is to be heard in one of the machines; half a line may have been said before it came there."""
    copy = Guest(guest.name, guest.arguments, machine)
    copy.messages = list(guest.messages)
    machine.console.continues(beginning)
    copy.follow([machine])
    return copy


def _standing(guest: Guest, machine: Machine) -> Standing:
    try:
        run = machine.status() if machine.ending() is None else "gone"
    except QemuFailure:  # it went while it was asked, or hears nobody any more
        machine.settle(Deadline.after(COMMAND_SECONDS))
        run = "silent"
    if (how := machine.ending()) is not None:
        words = machine.last_words()
        return Standing(machine.side, Kind.GONE, how + (f" ({words})" if words else ""))
    transfer = migration.status(machine)
    state = f"is {run}, its migration {transfer}"
    if run != "running":
        return Standing(machine.side, Kind.SILENT if run == "silent" else Kind.STOPPED, state)
    if transfer == "postcopy-paused":
        return Standing(machine.side, Kind.STRANDED, f"{state}: the rest of its memory never came")
    try:
        guest.go()
        answer = _answer(guest)
    except Failure as error:
        return Standing(machine.side, Kind.SILENT, f"{state}, but its guest does not answer: {error}")
    return Standing(machine.side, Kind.LIVES, f"{state}, and its guest answers `{answer.kind}`", guest)


def _answer(guest: Guest) -> Message:
    deadline = Deadline.after(ANSWER_SECONDS)
    while (message := guest.hear(deadline, "the guest's answer to `g`")).kind not in _ANSWERS:
        pass  # an interrupt that came while it was told
    return message
