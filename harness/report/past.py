"""What the history says of a run: which run to compare it with, what changed since, and since when what is broken is broken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from harness.report import trends
from harness.report.compare import Comparison, compare, tries_of
from harness.report.history import THIS_RUN, History, PastRun, Try
from harness.report.model import Run
from harness.report.repeats import base
from harness.report.same import by_key, held, nodes_of

_LOOK_BACK = 50
_ALIKE = 0.5
"""The share of this run's cases that an earlier one must have had to be the last run: one of a single case tells nothing."""


@dataclass(frozen=True)
class Past:
    """Of the time before a run. `previous` is the run that it is compared with, None where there is none.

    `broken` is by node id, `flaky` by `Case.key`.
    """

    previous: PastRun | None = None
    comparison: Comparison | None = None
    broken: Mapping[str, trends.Broken] = field(default_factory=dict)
    flaky: Mapping[str, trends.Flaky] = field(default_factory=dict)


def of_run(history: History, run: Run) -> Past:
    """Return what the history says of a run, from runs that began before it."""
    runs = history.runs()
    earlier = [each for each in runs if each.started < run.started]
    # Provenance does not name the QEMU inside a lab; the history does, where the run has been written there.
    written = [each for now in runs if now.started == run.started for each in history.tries(run=now.id)]
    own = _with_versions(tries_of(run), written)
    keys = list(dict.fromkeys(each.key for each in own))
    numbers = {each.id for each in earlier}
    all_before = [each for each in history.tries(keys=keys) if each.run in numbers]
    had: dict[int, set[str]] = {}
    for each in all_before:
        had.setdefault(each.run, set()).add(each.key)
    previous = _previous(earlier, had, len(keys))
    found = [*all_before, *own]
    this = PastRun(THIS_RUN, run.started, None, run.seconds, len(own), run.provenance, len(own))
    broken = {base(each.last.node): each for each in trends.broken(found, [*earlier, this])}
    return Past(
        previous=previous,
        comparison=_seen(compare(history.tries(run=previous.id), own), broken) if previous else None,
        broken=broken,
        flaky={each.key: each for each in trends.flaky(found)},
    )


def _with_versions(own: Sequence[Try], written: Iterable[Try]) -> list[Try]:
    """Return a run's tries with the versions that the history has of them."""
    of_key = by_key(written)
    nodes = {key: nodes_of(tries) for key, tries in by_key(own).items()}
    same = [held(each.node, nodes[each.key], of_key.get(each.key, ())) for each in own]
    return [replace(each, versions=found[-1].versions) if found else each for each, found in zip(own, same, strict=True)]


def _seen(comparison: Comparison, broken: Mapping[str, trends.Broken]) -> Comparison:
    """Return it with what the last run could not judge, and one before it saw broken, among what is broken as before."""
    seen = [each for each in comparison.regressions if each.node in broken and broken[each.node].since.run != THIS_RUN]
    new = tuple(each for each in comparison.regressions if each not in seen)
    return replace(comparison, regressions=new, still=(*comparison.still, *seen))


def _previous(earlier: list[PastRun], had: Mapping[int, set[str]], count: int) -> PastRun | None:
    """Return the last run that had enough of the same cases."""
    recent = [each for each in reversed(earlier) if had.get(each.id)][:_LOOK_BACK]
    return next((each for each in recent if len(had[each.id]) >= _ALIKE * count), None)
