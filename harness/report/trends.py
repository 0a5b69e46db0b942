"""What the history tells of a case: broken since when and what changed then, how often, flaky or not. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.report.history import THIS_RUN, PastRun, Try
from harness.report.repeats import wilson
from harness.report.same import by_key, held, nodes_of


@dataclass(frozen=True)
class Rate:
    """How many of `of` tries were broken, with the 95 % interval of the share (Wilson)."""

    broken: int
    of: int

    @property
    def interval(self) -> tuple[float, float]:
        """Between which shares the true one lies, by 95 %."""
        return wilson(self.broken, self.of)

    def __str__(self) -> str:
        """Return it in words."""
        low, high = self.interval
        return f"{self.broken} of {self.of} tries (95 % interval of the share {low:.2f} to {high:.2f})"


@dataclass(frozen=True)
class Broken:
    """A case that is broken in the last run that had it.

    `since` is the first broken try of an unbroken row of runs, `before` the last one before that which was good; of a case that
    fails, errors neither begin such a row nor end it. `changed` says in words what was another then; `rate` is over all tries
    of the versions that it is broken on now.
    """

    last: Try
    since: Try
    before: Try | None
    changed: str
    rate: Rate

    @property
    def first_bad_kernel(self) -> str:
        """The kernel that it broke with; empty where the kernel was the same before, or none is under test."""
        kernel = self.since.versions.kernel
        return kernel if self.before is None or self.before.versions.kernel != kernel else ""

    def sentence(self) -> str:
        """Say since when and what changed."""
        if self.since.run == THIS_RUN:
            since = "broken since this run"
        else:
            since = f"broken since run {self.since.run} ({self.since.started})"
        if self.before is None:
            return f"{since}, the first that had it, with {self.since.versions}"
        what = f": {self.changed}" if self.changed else ", and no version that is recorded changed then"
        return f"{since}, good until run {self.before.run} ({self.before.started}){what}"


@dataclass(frozen=True)
class Flaky:
    """A case that did well and did not with the same versions under test; `rate` counts what did not, excused or not."""

    key: str
    last: Try
    rate: Rate


def broken(tries: Iterable[Try], runs: Sequence[PastRun]) -> list[Broken]:
    """Return the cases that are broken in the last run that had them; those that broke last come first."""
    harness = {run.id: str(run.provenance.get("harness", "")) for run in runs}
    found = [each for own in _cases(tries) if (each := _broken(own, harness))]
    return sorted(found, key=lambda each: (each.since.started, each.since.run), reverse=True)


def _cases(tries: Iterable[Try]) -> Iterator[list[Try]]:
    """Give the tries of each case: of each node that the last run of a key has."""
    for own in by_key(tries).values():
        rounds = _by_run(own)
        nodes = nodes_of(rounds[-1])
        for node in nodes:
            yield [each for one in rounds for each in held(node, nodes, one)]


def _broken(own: Sequence[Try], harness: Mapping[int, str]) -> Broken | None:
    rounds = _by_run([each for each in own if each.tried or each.broken])
    if not rounds or not any(each.broken for each in rounds[-1]):
        return None
    last = max(rounds[-1], key=lambda each: each.harm)
    told = _by_run([each for each in own if each.tried])
    if told and any(each.failed for each in told[-1]):
        rounds = told
    streak = len(rounds)
    while streak and any(each.broken for each in rounds[streak - 1]):
        streak -= 1
    since = max(rounds[streak], key=lambda each: each.harm)
    before = rounds[streak - 1][-1] if streak else None
    changed = ""
    if before:
        said = [before.versions.changes(since.versions)]
        ours, theirs = harness.get(before.run, ""), harness.get(since.run, "")
        said.append(f"harness {ours} -> {theirs}" if ours != theirs else "")
        changed = ", ".join(filter(None, said))
    return Broken(last, since, before, changed, _rate([each for each in own if each.versions == last.versions]))


def flaky(tries: Iterable[Try]) -> list[Flaky]:
    """Return the cases that did well and did not with the same versions, those that did worst first.

    Of several such versions, the newest. Every try counts: one that went well does not hide another. One that a known issue
    excuses did not do well, and one that it should have covered did.
    """
    found = []
    for key, own in by_key(tries).items():
        counted = [each for each in own if each.tried or each.broken]
        for versions in dict.fromkeys(each.versions for each in reversed(counted)):
            alike = [each for each in counted if each.versions == versions]
            rate = Rate(sum(each.misbehaved for each in alike), len(alike))
            if 0 < rate.broken < rate.of:
                found.append(Flaky(key, next(each for each in reversed(alike) if each.misbehaved), rate))
                break
    return sorted(found, key=lambda each: each.rate.broken / each.rate.of, reverse=True)


def _rate(tries: Sequence[Try]) -> Rate:
    counted = [each for each in tries if each.tried or each.broken]
    return Rate(sum(each.broken for each in counted), len(counted))


def _by_run(tries: Iterable[Try]) -> list[list[Try]]:
    grouped: dict[int, list[Try]] = {}
    for each in tries:
        grouped.setdefault(each.run, []).append(each)
    return list(grouped.values())
