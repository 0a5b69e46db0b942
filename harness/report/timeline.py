"""What happened in a case, for a reader: both sides beside each other on one time axis, and what its timers did. Pure.

A machine hands its guest over to the next, so no more than two are there at once: they take turns in two lanes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from harness.errors import GuestFailure
from harness.events import Step
from harness.guest.protocol import Message, parse

TEXT = 240
"""Characters of a step that are shown."""
STEPS = 120
"""Steps that are shown: the first and the last of them, half each."""
_BOTH = -1


@dataclass(frozen=True)
class Entry:
    """One step: seconds since the case began, its lane (-1: of no machine), and what to show."""

    at: float
    lane: int
    side: str
    kind: str
    text: str


@dataclass(frozen=True)
class Timeline:
    """The steps to show; `lanes` names the machines of each lane. `omitted` were left out before entry number `gap`."""

    lanes: tuple[str, str]
    entries: tuple[Entry, ...]
    omitted: int = 0
    gap: int = 0


def timeline(steps: Sequence[Step], consoles: Mapping[str, str]) -> Timeline:
    """Return what is worth showing of the steps of a case; `consoles` are its sides by name, with what each guest wrote."""
    order = [side for side in dict.fromkeys(step.side for step in steps) if side in consoles]
    steps = sorted((*steps, *_unheard(steps, consoles)), key=lambda step: step.at)
    lane = {side: number % 2 for number, side in enumerate(order)}
    entries = [
        Entry(step.at, lane.get(step.side, _BOTH), step.side, kind, _short(text))
        for step in steps
        if (said := _worth(step)) is not None
        for kind, text in [said]
    ]
    names = (", ".join(order[0::2]), ", ".join(order[1::2]))
    omitted = len(entries) - STEPS
    if omitted <= 0:
        return Timeline(names, tuple(entries))
    half = STEPS // 2
    return Timeline(names, (*entries[:half], *entries[-half:]), omitted, half)


def _unheard(steps: Sequence[Step], consoles: Mapping[str, str]) -> Iterator[Step]:
    """Yield what a guest wrote after the last line that anybody waited for, at the last moment at which it can have done so."""
    for side, console in consoles.items():
        heard = [step.text for step in steps if step.side == side and step.kind == "console"]
        at = max((step.at for step in steps if step.side == side), default=None)
        lines = console.splitlines()
        if heard and at is not None and heard[-1] in lines:
            last = len(lines) - 1 - lines[::-1].index(heard[-1])
            yield from (Step(at, side, "not waited for", line) for line in lines[last + 1 :])


def _worth(step: Step) -> tuple[str, str] | None:
    """Return a step's kind and text, None where another step says the same: empty answers, events, greetings."""
    if step.kind == "start":
        before, _, options = step.text.partition("qemu-system-aarch64 ")
        return step.kind, options or before
    if step.kind != "qmp":
        return step.kind, step.text
    arrow, _, rest = step.text.partition(" ")
    try:
        message = json.loads(rest)
    except ValueError:
        return step.kind, step.text
    if not isinstance(message, dict) or "event" in message or "QMP" in message or message.get("return") == {}:
        return None if isinstance(message, dict) else (step.kind, step.text)
    message.pop("id", None)
    if arrow == "->" and isinstance(command := message.get("execute"), str):
        arguments = message.get("arguments")
        return "command", f"{command} {json.dumps(arguments)}" if arguments else command
    return ("error" if "error" in message else "answer"), json.dumps(message.get("error", message.get("return", message)))


def _short(text: str) -> str:
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"


# -- the timers


@dataclass(frozen=True)
class Reading:
    """What a vCPU read in a timer: ms after the CVAL it was first armed with, ISTATUS, and whether in its handler."""

    at: float
    kind: str
    istatus: bool


@dataclass(frozen=True)
class Lane:
    """One timer of one vCPU: `cvals` and readings, in ms after its first CVAL; `resumed`: the first of another machine."""

    name: str
    cvals: tuple[float, ...]
    readings: tuple[Reading, ...]
    resumed: float | None = None

    @property
    def interrupts(self) -> int:
        """How many came."""
        return sum(reading.kind == "irq" for reading in self.readings)

    def words(self) -> str:
        """Say what the plot shows."""
        came = f"{self.interrupts} interrupt{'s' if self.interrupts != 1 else ''}"
        if not self.readings:
            return came
        last = self.readings[-1]
        where = f"{last.at:.1f} ms after" if last.at >= 0 else f"{-last.at:.1f} ms before"
        status = "set" if last.istatus else "clear"
        return f"{came}; read last {where} the first CVAL, ISTATUS {status}"


def lanes(consoles: Mapping[str, str]) -> list[Lane]:
    """Return every timer that the guest told of on the consoles of its machines; what is not its protocol is passed over."""
    found: dict[str, list[tuple[str, Message]]] = {}
    freq = 0
    for side, message in _messages(consoles):
        if message.kind == "hello":
            freq = message.number("freq") if isinstance(message.values.get("freq"), int) else 0
        elif message.kind in ("arranged", "irq", "timer") and _is_reading(message):
            level = f" level {message.word('level')}" if "level" in message.values else ""
            name = f"vCPU {message.word('cpu')}{level} {message.word('timer').upper()}".strip()
            found.setdefault(name, []).append((side, message))
    return [_lane(name, readings, freq) for name, readings in found.items()] if freq else []


def _messages(consoles: Mapping[str, str]) -> Iterator[tuple[str, Message]]:
    for side, console in consoles.items():
        for line in console.splitlines():
            with suppress(GuestFailure):
                yield side, parse(line)


def _is_reading(message: Message) -> bool:
    return all(isinstance(message.values.get(key), int) for key in ("cpu", "cval", "cnt", "ctl"))


def _lane(name: str, readings: Sequence[tuple[str, Message]], freq: int) -> Lane:
    first = readings[0][1].number("cval")

    def ms(ticks: int) -> float:
        return round((ticks - first) * 1000 / freq, 4)

    elsewhere = (message for side, message in readings if side != readings[0][0])
    resumed = next((ms(message.number("cnt")) for message in elsewhere), None)
    return Lane(
        name=name,
        cvals=tuple(dict.fromkeys(ms(message.number("cval")) for _, message in readings)),
        readings=tuple(Reading(ms(m.number("cnt")), m.kind, bool(m.number("ctl") & 4)) for _, m in readings),
        resumed=resumed,
    )
