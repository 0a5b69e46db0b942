"""`--repeat N --require K`: a case tried N times is one case in the results, and says how many of them went well. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from statistics import NormalDist, median

from harness.errors import Verdict
from harness.report.model import BROKEN, Case

_MARK = re.compile(r"~(\d+)(?=\]$)")
_WORST = (*BROKEN, Verdict.KNOWN, Verdict.BLOCKED, Verdict.SKIP, Verdict.PASS)


def marked(name: str, number: int) -> str:
    """Return the id of the `number`-th try of a case, the first being 1, from that of the case (without brackets)."""
    return f"{name}~{number}"


def base(node: str) -> str:
    """Return the node id of the case that this is a try of; its own where it is tried once."""
    return _MARK.sub("", node)


def fold(tries: Iterable[Case], require: int | None = None) -> list[Case]:
    """Return a case for each set of tries, in the order of the first of each.

    It goes well when none failed, or `require` of the tries proved something and went well; its verdict is that of the worst
    try, of those that proved something where that is enough. Whatever the verdict, a try that failed is told of, with its
    bundle.
    """
    groups: dict[str, list[Case]] = {}
    for each in tries:
        groups.setdefault(base(each.id), []).append(each)
    return [_folded(node, group, require) for node, group in groups.items()]


def _folded(node: str, group: Sequence[Case], require: int | None) -> Case:
    if len(group) == 1:
        return replace(group[0], id=node)
    worst = _worst(group)
    good = [each for each in group if each.verdict not in BROKEN]
    seconds = round(median(each.seconds for each in group), 4)
    if len(good) == len(group):
        return replace(worst, id=node, seconds=seconds)
    low, high = wilson(len(good), len(group))
    told = f"{len(good)} of {len(group)} tries went well (95 % interval {low:.2f} to {high:.2f})"
    proven = [each for each in good if each.verdict in (Verdict.PASS, Verdict.KNOWN)]
    if require is not None and len(proven) >= require:
        message = f"{told}, enough for --require {require}; one that did not: {worst.message}"
        return replace(_worst(proven), id=node, seconds=seconds, message=message, bundle=worst.bundle)
    return replace(worst, id=node, seconds=seconds, message=f"{worst.message}; {told}")


def _worst(tries: Iterable[Case]) -> Case:
    return min(tries, key=lambda each: _WORST.index(each.verdict))


def wilson(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval in which the share lies of which `count` in `of` were seen, by Wilson: it holds for 0 and all, too.

    Source: E. B. Wilson, J. Am. Stat. Assoc. 22 (158), doi 10.1080/01621459.1927.10502953.
    """
    if not of:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    reach = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - reach), min(1.0, middle + reach)
