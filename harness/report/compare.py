"""Two runs compared case by case: what broke, what was mended, and how much slower it became, with its uncertainty. Pure.

Cases are matched by what is the same on every kernel and QEMU (`Case.key`), and where a run has several of a key, by node id
(`same`). Durations are compared as logarithms, so that twice as long weighs as much for a short case as for a long one: over
all cases by the ratio of each, for one case where it was tried several times. Intervals are Student's, of 95 %; of single cases
so much wider that chance names one in one comparison of twenty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from harness.errors import Verdict
from harness.report.history import THIS_RUN, Try
from harness.report.model import Run
from harness.report.repeats import base
from harness.report.same import by_key, held, nodes_of
from harness.report.trends import Rate
from harness.report.versions import of_case

ENOUGH = 3
"""Tries on both sides from which on the spread of one case can be judged."""
WORTH_SECONDS = 0.02
"""What is not slower by as much is not worth a line, however sure it is."""


@dataclass(frozen=True)
class Change:
    """A case that ended in another way; `before` and `after` are the tries of both runs.

    `key` is its node id where one of them has several nodes of the key.
    """

    key: str
    before: Rate
    after: Rate
    was: str
    is_: str
    message: str
    suspect: str
    node: str


@dataclass(frozen=True)
class Slower:
    """By which factor something took longer (below 1: shorter), and the interval in which that lies; seconds of both."""

    key: str
    factor: float
    low: float
    high: float
    before: float
    after: float

    @property
    def sure(self) -> bool:
        """True where the interval leaves 1 out."""
        return not self.low <= 1 <= self.high

    def __str__(self) -> str:
        """Return the factor as a share, in words."""
        return f"{_percent(self.factor)} (95 % interval {_percent(self.low)} to {_percent(self.high)})"


@dataclass(frozen=True)
class Comparison:
    """What changed from one run to another. `overall` is None where fewer than three cases passed in both."""

    regressions: tuple[Change, ...]
    fixes: tuple[Change, ...]
    still: tuple[Change, ...]
    # Failed as a known issue says, and did not before: neither broke nor was mended.
    known: tuple[Change, ...]
    untried: tuple[Change, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    both: int
    overall: Slower | None
    slower: tuple[Slower, ...]
    # Cases that were tried often enough in both runs to be judged by themselves.
    judged: int


def tries_of(run: Run) -> list[Try]:
    """Return the cases of a run as tries."""
    return [
        Try(
            run=THIS_RUN,
            started=run.started,
            key=case.key,
            node=base(case.id),
            verdict=case.verdict,
            suspect=case.suspect,
            known_issue=case.known_issue,
            seconds=case.seconds,
            message=case.message,
            versions=of_case(case, run.provenance),
        )
        for case in run.cases
    ]


def compare(before: Iterable[Try], after: Iterable[Try]) -> Comparison:
    """Return what changed. Of a key with several tries in one run, one that is broken is enough to call it broken.

    What fails and ended in an error before has broken: an error is no failure that was seen before.
    """
    ours, theirs = _matched(before, after)
    both = [key for key in theirs if key in ours]
    changes = {key: _change(key, ours[key], theirs[key]) for key in both}
    regressions = [each for key, each in changes.items() if _harm(theirs[key]) > _harm(ours[key])]
    fixes = [each for key, each in changes.items() if each.before.broken and _proven_good(theirs[key])]
    still = [each for key, each in changes.items() if 0 < _harm(theirs[key]) <= _harm(ours[key])]
    known = [each for key, each in changes.items() if _is_known(theirs[key]) and not _is_known(ours[key])]
    untried = [each for key, each in changes.items() if _was_tried(ours[key]) and not _was_tried(theirs[key])]
    overall, slower, judged = _durations(both, ours, theirs)
    return Comparison(
        regressions=tuple(regressions),
        fixes=tuple(fixes),
        still=tuple(still),
        known=tuple(each for each in known if not each.after.broken),
        untried=tuple(each for each in untried if not each.after.broken),
        gone=tuple(key for key in ours if key not in theirs),
        new=tuple(key for key in theirs if key not in ours),
        both=len(both),
        overall=overall,
        slower=tuple(slower),
        judged=judged,
    )


def _matched(before: Iterable[Try], after: Iterable[Try]) -> tuple[dict[str, list[Try]], dict[str, list[Try]]]:
    """Return the tries of both runs by what `Change.key` is."""
    ours: dict[str, list[Try]] = {}
    theirs: dict[str, list[Try]] = {}
    old, new = by_key(before), by_key(after)
    for key in {**new, **old}:
        had, has = old.get(key, []), new.get(key, [])
        were, are = nodes_of(had), nodes_of(has)
        names = {node: node if max(len(were), len(are)) > 1 else key for node in (*were, *are)}
        for node in are:
            theirs[names[node]] = held(node, are, has)
            if same := held(node, are, had):
                ours[names[node]] = same
        ours |= {names[node]: held(node, were, had) for node in were if not held(node, were, has)}
    return ours, theirs


def _change(key: str, before: Sequence[Try], after: Sequence[Try]) -> Change:
    told = max(after, key=lambda each: each.harm)
    return Change(
        key=key,
        before=Rate(sum(each.broken for each in before), len(before)),
        after=Rate(sum(each.broken for each in after), len(after)),
        was=_verdicts(before),
        is_=_verdicts(after),
        message=told.message or next((each.message for each in before if each.broken), ""),
        suspect=str(told.suspect or ""),
        node=base(told.node),
    )


def _harm(tries: Sequence[Try]) -> int:
    """Return that of the worst try."""
    return max(each.harm for each in tries)


def _verdicts(tries: Sequence[Try]) -> str:
    counted = {verdict: sum(each.verdict is verdict for each in tries) for verdict in Verdict}
    said = [str(verdict) if count == len(tries) else f"{count} {verdict}" for verdict, count in counted.items() if count]
    return ", ".join(said)


def _proven_good(tries: Sequence[Try]) -> bool:
    """Say whether a case was tried and went well: one that was skipped, or is excused, is not mended."""
    return any(each.tried for each in tries) and not any(each.broken or each.misbehaved for each in tries)


def _is_known(tries: Sequence[Try]) -> bool:
    return any(each.verdict is Verdict.KNOWN for each in tries)


def _was_tried(tries: Sequence[Try]) -> bool:
    return any(each.tried for each in tries)


def _durations(
    both: Sequence[str], ours: Mapping[str, Sequence[Try]], theirs: Mapping[str, Sequence[Try]]
) -> tuple[Slower | None, list[Slower], int]:
    passed = {key: (_seconds(ours[key]), _seconds(theirs[key])) for key in both}
    passed = {key: pair for key, pair in passed.items() if all(pair)}
    ratios = [fmean(map(math.log, after)) - fmean(map(math.log, before)) for before, after in passed.values()]
    overall = None
    if len(ratios) >= ENOUGH:
        total = (sum(fmean(each[0]) for each in passed.values()), sum(fmean(each[1]) for each in passed.values()))
        reach = student(0.95, len(ratios) - 1) * stdev(ratios) / math.sqrt(len(ratios))
        overall = _slower("", fmean(ratios), reach, *total)
    judged = {key: pair for key, pair in passed.items() if min(map(len, pair)) >= ENOUGH}
    # Of many cases that are as fast as ever, one in twenty sets of them may name one.
    confidence = 1 - 0.05 / max(1, len(judged))
    slower = [_one(key, *pair, confidence) for key, pair in judged.items()]
    worth = [each for each in slower if each.sure and abs(each.after - each.before) >= WORTH_SECONDS]
    return overall, sorted(worth, key=lambda each: each.factor, reverse=True), len(judged)


def _seconds(tries: Sequence[Try]) -> list[float]:
    return [each.seconds for each in tries if each.verdict is Verdict.PASS and each.seconds > 0]


def _one(key: str, before: Sequence[float], after: Sequence[float], confidence: float) -> Slower:
    ours, theirs = ([math.log(each) for each in side] for side in (before, after))
    parts = [stdev(side) ** 2 / len(side) for side in (ours, theirs)]
    # Welch and Satterthwaite: the two sides need not be equally spread.
    freedom = sum(parts) ** 2 / max(
        sum(part**2 / (len(side) - 1) for part, side in zip(parts, (ours, theirs), strict=True)), 1e-300
    )
    reach = student(confidence, max(1.0, freedom)) * math.sqrt(sum(parts))
    return _slower(key, fmean(theirs) - fmean(ours), reach, fmean(before), fmean(after))


def _slower(key: str, log_factor: float, reach: float, before: float, after: float) -> Slower:
    low, middle, high = (math.exp(max(-700.0, min(700.0, log_factor + way * reach))) for way in (-1, 0, 1))
    return Slower(key, middle, low, high, before, after)


def student(confidence: float, freedom: float) -> float:
    """Return the quantile of Student's distribution for a two-sided interval, of whole degrees of freedom (rounded down).

    Source: Abramowitz and Stegun, 26.7.3 and 26.7.4, for the share that lies within; it grows with the quantile.
    """
    whole = int(freedom)
    low, high = 0.0, math.pi / 2  # of the angle whose tangent is t/sqrt(freedom)
    for _ in range(100):
        angle = (low + high) / 2
        low, high = (angle, high) if _within(angle, whole) < confidence else (low, angle)
    return math.tan(low) * math.sqrt(whole)


def _within(angle: float, freedom: int) -> float:
    odd = freedom % 2
    term = math.cos(angle) if odd else 1.0
    total = 0.0
    for number in range(odd, freedom - 1, 2):
        total += term
        term *= math.cos(angle) ** 2 * (number + 1) / (number + 2)
    total *= math.sin(angle)
    return 2 / math.pi * (angle + total) if odd else total


def _percent(factor: float) -> str:
    return f"{(factor - 1) * 100:+.1f} %" if factor < 10 else f"x{factor:.3g}"
