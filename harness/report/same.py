"""Which tries of several runs are of the same case. Pure.

It is `Case.key` that is the same from run to run. Where a run has several nodes of a key, as with two kernels, a node is held
against the same node of another run, for that names what the user named.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness.report.history import Try
from harness.report.repeats import base


def by_key(tries: Iterable[Try]) -> dict[str, list[Try]]:
    """Return the tries of each key."""
    grouped: dict[str, list[Try]] = {}
    for each in tries:
        grouped.setdefault(each.key, []).append(each)
    return grouped


def nodes_of(tries: Iterable[Try]) -> list[str]:
    """Return the nodes that were tried, each once however often that was."""
    return list(dict.fromkeys(base(each.node) for each in tries))


def held(node: str, nodes: Collection[str], tries: Iterable[Try]) -> list[Try]:
    """Return what to hold against `node`, one of the `nodes` that a run has of a key, of the tries that another has of it.

    Where that one has not this node, it is those that are of none of `nodes`: a kernel may have another name each night.
    """
    others = [(base(each.node), each) for each in tries]
    own = [each for other, each in others if other == node]
    return own or [each for other, each in others if other not in nodes]
