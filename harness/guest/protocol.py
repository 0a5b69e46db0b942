"""The guest protocol, version 1: one line of text to one message. Pure.

What the lines mean is in docs/guest-protocol.md. A line that is not of the protocol is an error that quotes it: a guest that
writes garbage has lost its memory, its stack or its serial port, and that is just what we look for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.errors import GuestFailure

VERSION = 1
KINDS = frozenset({"hello", "skip", "arranged", "reg", "now", "irq", "timer", "beat", "fail", "result", "end", "panic"})

_LINE = re.compile(r"@(?P<version>\d+) (?P<kind>[a-z]+)(?P<rest>(?: [a-z_][a-z0-9_]*=.*)?)")
_PAIR = re.compile(r" (?P<key>[a-z_][a-z0-9_]*)=(?P<value>0x[0-9a-f]+|[0-9]+|[a-z][a-z0-9_,.-]*)(?= |$)")
_TEXT = re.compile(r" text=(?P<text>.*)$")

Value = int | str


@dataclass(frozen=True)
class Message:
    """One line of the guest. Numbers are `int`, words and the text `str`; `side` is the machine it was heard from.

    `heard`: when, in s on this computer's clock.
    """

    kind: str
    values: Mapping[str, Value]
    side: str = ""
    heard: float = field(default=0.0, compare=False)

    def number(self, key: str) -> int:
        """Return a number. Raises GuestFailure when the guest left it out or wrote a word there."""
        value = self.values.get(key)
        if not isinstance(value, int):
            raise GuestFailure(f"the guest's `{self.kind}` line has no number `{key}`: {dict(self.values)}", where=self.side)
        return value

    def word(self, key: str) -> str:
        """Return a value as the guest wrote it, numbers in decimal; the empty string where there is none."""
        return str(self.values.get(key, ""))

    @property
    def text(self) -> str:
        """The free text of a `fail`, `skip` or `panic`."""
        return self.word("text")


def parse(line: str, *, side: str = "", heard: float = 0.0) -> Message:
    """Return the message in a line (without its end). Raises GuestFailure with the text for anything else."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise GuestFailure(f"the guest wrote what is not the protocol: {line!r}", where=side)
    if int(match["version"]) != VERSION:
        raise GuestFailure(f"the guest speaks protocol version {match['version']}, not {VERSION}: {line!r}", where=side)
    if match["kind"] not in KINDS:
        raise GuestFailure(f"the guest wrote an unknown kind of line: {line!r}", where=side)
    values: dict[str, Value] = {}
    rest = match["rest"]
    while rest:
        if text := _TEXT.match(rest):
            values["text"] = text["text"]
            break
        pair = _PAIR.match(rest)
        if pair is None or pair["key"] in values:
            raise GuestFailure(f"the guest wrote a garbled line: {line!r}", where=side)
        word = pair["value"]
        values[pair["key"]] = int(word, 0) if word[0].isdigit() else word
        rest = rest[pair.end() :]
    return Message(match["kind"], values, side, heard)
