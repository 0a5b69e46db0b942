"""How a run stands while it goes on: what is done, what runs where, what was slowest, how long it will take. Pure.

The time that is left is what the cases that are left took in earlier runs, at the pace that this run has kept so far. A case
that no run has had is taken to be like those of its test that are done, or like all that are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import fmean

from harness.report.model import BROKEN, Case
from harness.report.view import LETTERS

ENOUGH = 3
"""Cases that have to be done before their pace is one."""
WIDTH = 24


@dataclass
class Progress:
    """One run. Times are seconds on one clock; `expected` is how long a case takes, by `Case.key`."""

    plan: Mapping[str, Case]
    began: float
    expected: Mapping[str, float] = field(default_factory=dict)
    done: dict[str, Case] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)

    def start(self, node: str, now: float) -> None:
        """Know that a planned case has begun."""
        if node in self.plan:
            self.running[node] = now

    def place(self, node: str, where: str) -> None:
        """Know which worker has it."""
        self.places[node] = where

    def end(self, node: str, case: Case | None) -> None:
        """Know how a case ended; None: nobody knows."""
        self.running.pop(node, None)
        if case is not None:
            self.done[node] = case

    def left(self, now: float) -> float | None:
        """Return how many seconds the run will still take, None where too little is known."""
        typical = self._typical()
        waiting = [node for node in self.plan if node not in self.done]
        if len(self.done) < ENOUGH or not typical:
            return None
        ahead = sum(self._takes(node, typical) for node in waiting)
        # What a running case has had already is not ahead of it.
        ahead -= sum(min(now - since, self._takes(node, typical)) for node, since in self.running.items())
        behind = sum(self._takes(node, typical) for node in self.done)
        return ahead * (now - self.began) / behind if behind > 0 else None

    def _typical(self) -> dict[str, float]:
        """Return how long a case of each test took, and under the empty name any case."""
        took: dict[str, list[float]] = {}
        for node, case in self.done.items():
            for name in (_test(node), ""):
                took.setdefault(name, []).append(case.seconds)
        return {name: fmean(seconds) for name, seconds in took.items()}

    def _takes(self, node: str, typical: Mapping[str, float]) -> float:
        return self.expected.get(self.plan[node].key) or typical.get(_test(node)) or typical[""]

    def slowest(self) -> Case | None:
        """Return the case that took longest so far."""
        return max(self.done.values(), key=lambda case: case.seconds, default=None)


def _test(node: str) -> str:
    return node.partition("[")[0]


def sentence(case: Case) -> str:
    """Return the one line that is said at once of a case that broke."""
    return f"{LETTERS[case.verdict]} {case.verdict}: {case.message.partition(chr(10))[0] or case.id}"


def line(progress: Progress, now: float) -> str:
    """Return how the run stands in one plain line."""
    parts = [_counted(progress), _time(progress, now)]
    if slowest := progress.slowest():
        parts.append(f"slowest {slowest.seconds:.1f} s: {slowest.circumstances}")
    if progress.running:
        parts.append(f"running: {'; '.join(_running(progress, now, 2))}")
    return "; ".join(filter(None, parts))


def display(progress: Progress, now: float, rows: int) -> list[str]:
    """Return how the run stands in a few lines: a bar, what runs where, what was slowest."""
    share = len(progress.done) / len(progress.plan) if progress.plan else 1.0
    filled = int(share * WIDTH)
    bar = f"{'━' * filled}{'┄' * (WIDTH - filled)}"
    lines = ["  ".join(filter(None, [bar, _counted(progress), _time(progress, now)]))]
    lines += [f"  {each}" for each in _running(progress, now, rows)]
    if slowest := progress.slowest():
        lines.append(f"  slowest so far {slowest.seconds:.1f} s  {slowest.circumstances}")
    return lines


def _counted(progress: Progress) -> str:
    counts = Counter(case.verdict for case in progress.done.values())
    broken = [f"{counts[verdict]} {verdict}" for verdict in BROKEN if counts[verdict]]
    return ", ".join([f"{len(progress.done)} of {len(progress.plan)} done", *broken])


def _time(progress: Progress, now: float) -> str:
    if len(progress.done) == len(progress.plan):
        return ""
    left = progress.left(now)
    return "" if left is None else f"about {duration(left)} left"


def _running(progress: Progress, now: float, rows: int) -> Iterator[str]:
    """Yield what runs where, the longest first."""
    ordered = sorted(progress.running.items(), key=lambda item: item[1])
    for node, since in ordered[:rows]:
        where = progress.places.get(node, "")
        yield " ".join(filter(None, [where, f"{now - since:.1f} s", progress.plan[node].circumstances]))
    if len(ordered) > rows:
        yield f"and {len(ordered) - rows} more"


def duration(seconds: float) -> str:
    """Return a time as people say it, in no more than two units."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
