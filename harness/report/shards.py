"""Shards: which of N runs has which case, dealt by the time that each is expected to take.

Every shard deals all cases and keeps its own hand, so all have to be told the same: the same cases, the same times. It leaves
word of the whole deal (`out/shard.json`), so that whoever merges the shards knows what one that never came had to run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness.errors import UsageError
from harness.report import history, journal, results
from harness.report.files import write_text
from harness.report.model import Case
from harness.report.privacy import Redactor

NAME = "shard.json"
_KEYS = ("shard", "hands", "cases")


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `of`, the first being 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str, where: str = "--shard") -> Shard:
        """Return what `K/N` says. Raises UsageError."""
        found = re.fullmatch("([0-9]{1,5})/([0-9]{1,5})", text)
        number, of = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 1 <= number <= of:
            raise UsageError(f"{text!r} is no shard", where=where, remedy="say which of how many, for example 2/4")
        return cls(number, of)

    def __str__(self) -> str:
        """Return it as it is said on the command line."""
        return f"{self.number}/{self.of}"


def deal(seconds: Sequence[float | None], hands: int) -> list[int]:
    """Return for each case, in the order given, which hand gets it, the first being 0.

    The longest goes first, each to the hand that has the least so far: the fullest hand takes at most a third more than in
    the best deal (Graham 1969, doi 10.1137/0117039). None is a case that nobody has measured: it is taken for a usual one,
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


def times(path: Path) -> dict[str, float]:
    """Return how many seconds each case took, by `Case.key`: in a run's output directory or `results.json`, or in a history.

    Raises UsageError.
    """
    if path.is_dir() or path.name == results.NAME:
        run = journal.read(path if path.is_dir() else path.parent)
        return {case.key: case.seconds for case in run.cases if not case.missing}
    if not path.exists():
        raise UsageError("there is nothing", where=str(path), remedy="name an output directory of a run, or a history")
    with history.History(path) as store:
        return store.seconds()


@dataclass(frozen=True)
class Dealt:
    """A whole deal as one of its shards saw it: every case as planned, and in the same order the number of its shard."""

    shard: Shard
    cases: tuple[Case, ...]
    hands: tuple[int, ...]

    def agrees(self, other: Dealt) -> bool:
        """Say whether another shard has dealt in the same way."""
        return (self.shard.of, self.hands, self.ids) == (other.shard.of, other.hands, other.ids)

    @property
    def ids(self) -> tuple[str, ...]:
        """The node ids of all cases."""
        return tuple(case.id for case in self.cases)


def write(out: Path, dealt: Dealt) -> None:
    """Write `out/shard.json`; raises OSError."""
    cases = [results.case_to_data(case) for case in dealt.cases]
    data = Redactor.here().data({"shard": str(dealt.shard), "hands": list(dealt.hands), "cases": cases})
    write_text(out / NAME, json.dumps(data, ensure_ascii=False) + "\n")


def read(out: Path) -> Dealt | None:
    """Return what `out/shard.json` says, None where that run was no shard; raises UsageError."""
    path = out / NAME
    if not path.exists():
        return None
    data = results.keyed(results.read_json(path), _KEYS, str(path))
    shard = Shard.parse(results.typed(data, "shard", str, str(path)), str(path))
    hands = results.typed(data, "hands", list, str(path))
    listed = results.typed(data, "cases", list, str(path))
    cases = tuple(results.case_from_data(each, f"{path}, case {number}") for number, each in enumerate(listed, 1))
    if len(hands) != len(cases) or not all(isinstance(hand, int) and 1 <= hand <= shard.of for hand in hands):
        raise UsageError("is damaged: not every case has a shard", where=str(path))
    return Dealt(shard, cases, tuple(hands))


def agreed(outs: Iterable[Path]) -> Dealt | None:
    """Return the deal of all shards that left word of one; raises UsageError where they have not dealt in the same way."""
    found: Mapping[Path, Dealt] = {out: dealt for out in outs if (dealt := read(out)) is not None}
    if not found:
        return None
    first, *others = found
    for other in others:
        if not found[first].agrees(found[other]):
            remedy = "run all shards with the same options and the same --times"
            raise UsageError("were not dealt in the same way", where=f"{first} and {other}", remedy=remedy)
    return found[first]
