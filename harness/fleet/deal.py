"""Shards: which of N gets which case, by the time that each is expected to take. Pure.

Every shard deals all cases and keeps its own hand, so all have to be told the same: the same cases, the same times.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from harness.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `of`, the first being 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str, where: str = "--shard") -> Shard:
        """Return what `K/N` says. Raises UsageError."""
        found = re.fullmatch(r"(\d{1,5})/(\d{1,5})", text)
        number, of = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= of:
            raise UsageError(f"{text!r} is no shard", where=where, remedy="say which of how many, for example 2/4")
        return cls(number, of)

    def __str__(self) -> str:
        """Return it as it is said on the command line."""
        return f"{self.number}/{self.of}"


def deal(seconds: Sequence[float | None], hands: int) -> list[int]:
    """Return for each case, in the order given, which hand gets it, the first being 0.

    The longest goes first, each to the hand that has the least so far: the fullest hand takes at most a third more than the best
    deal would give it (Graham 1969, doi 10.1137/0117039). None is a case that nobody has measured: it is taken for a usual one,
    so that without any times cases are dealt by count, in turn.
    """
    measured = [each for each in seconds if each is not None]
    usual = median(measured) if measured else 1.0
    costs = [usual if each is None else each for each in seconds]
    load, count = [0.0] * hands, [0] * hands
    hand_of = [0] * len(costs)
    for case in sorted(range(len(costs)), key=lambda case: (-costs[case], case)):
        hand = min(range(hands), key=lambda hand: (load[hand], count[hand], hand))
        hand_of[case] = hand
        load[hand] += costs[case]
        count[hand] += 1
    return hand_of
