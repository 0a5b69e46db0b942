"""`--shard K/N`: of the cases that were collected, those that are this run's, and word of whose all others are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import pytest

from harness.report import shards
from harness.report.model import Case
from harness.report.repeats import base
from harness.report.shards import Dealt, Shard, deal

_INPUT = "harness_times"


Planned = Callable[[pytest.Item], Case | None]


def add_options(group: pytest.OptionGroup) -> None:
    """Add the options."""
    group.addoption("--shard", metavar="K/N", help="Only the K-th of N parts of the cases, which together have each case once.")
    group.addoption(
        "--times", metavar="PATH", help="With --shard: deal by the times in a run's output directory, or in a history."
    )


def register(config: pytest.Config, said: str, planned: Planned, record: Path | None) -> None:
    """Have the shard's cases chosen in this process. Raises UsageError."""
    config.pluginmanager.register(Share(Shard.parse(said), _times_for(config), planned, record), "harness-share")


def _times_for(config: pytest.Config) -> Mapping[str, float]:
    """Return what `--times` names, by `Case.key`; in a worker, what its controller has read. Raises UsageError."""
    if hasattr(config, "workerinput"):
        return cast(Mapping[str, float], config.workerinput[_INPUT])
    path = config.getoption("--times")
    return shards.times(Path(path)) if path else {}


class Share:
    """Deals alike in every process of a run: the times are read once, by the controller, and handed to its workers.

    `planned` gives a scenario's item as a case, None for another test. `record` is where to leave word, None where another
    process does.
    """

    def __init__(self, shard: Shard, seconds: Mapping[str, float], planned: Planned, record: Path | None) -> None:
        self._shard = shard
        self._seconds = seconds
        self._planned = planned
        self._record = record

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Let a worker know the times."""
        node.workerinput[_INPUT] = dict(self._seconds)  # type: ignore[attr-defined]  # pytest-xdist's WorkerController

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Keep this shard's hand, after all that -k and the like have left out. The tries of one case stay together."""
        cases = {item.nodeid: self._planned(item) for item in items}
        tries: dict[str, list[pytest.Item]] = {}
        for item in items:
            tries.setdefault(base(item.nodeid), []).append(item)
        hands = deal([self._cost([cases[item.nodeid] for item in group]) for group in tries.values()], self._shard.of)
        hand_of = {item.nodeid: hand + 1 for group, hand in zip(tries.values(), hands, strict=True) for item in group}
        if self._record:
            dealt = [(case, hand_of[node]) for node, case in cases.items() if case is not None]
            shards.write(self._record, Dealt(self._shard, tuple(case for case, _ in dealt), tuple(hand for _, hand in dealt)))
        others = [item for item in items if hand_of[item.nodeid] != self._shard.number]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if hand_of[item.nodeid] == self._shard.number]
        if not items and not hasattr(config, "workerinput"):  # of a run with workers, pytest's exit status says it
            words = f"--shard {self._shard}: there are {len(tries)} cases only; use fewer shards"
            pytest.exit(words, returncode=pytest.ExitCode.NO_TESTS_COLLECTED)

    def _cost(self, tries: list[Case | None]) -> float | None:
        """Return how long the tries of one case take together, None where nobody has measured it."""
        seconds = [self._seconds.get(case.key) if case else None for case in tries]
        known = [each for each in seconds if each is not None]
        return sum(known) if len(known) == len(seconds) else None
