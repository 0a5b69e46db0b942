"""`--time-limit`: at the limit no further case is begun, in no worker; a case that runs may end, within a grace.

What was not begun reports nothing, and so is missing from what was planned (`harness.report.journal`).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from math import inf

import pytest

from harness.fleet.limit import GRACE_SECONDS, seconds_of

NAME = "harness-time-limit"
_CUT = pytest.StashKey[float]()
_INPUT = "harness_until"


def add_option(group: pytest.OptionGroup) -> None:
    """Add the option."""
    group.addoption(
        "--time-limit", metavar="TIME", help="Begin no case after so long (2h, 90m); those that are left are missing."
    )


def register(config: pytest.Config, said: str) -> None:
    """Have the limit kept in this process. Raises UsageError."""
    limit = TimeLimit.of(config, said)
    config.pluginmanager.register(limit, NAME)
    config.pluginmanager.register(_Cutter(limit), f"{NAME}-cutter")


def overran(item: pytest.Item, error: BaseException | None) -> str | None:
    """Return in words that a case was ended because of the limit; None where it was not."""
    limit = of_run(item.config)
    return limit.overran(item, error) if limit else None


def of_run(config: pytest.Config) -> TimeLimit | None:
    """Return the limit that the run has, if any."""
    found = config.pluginmanager.get_plugin(NAME)
    return found if isinstance(found, TimeLimit) else None


class TimeLimit:
    """Refuses cases once the limit is reached. `until` is on the monotonic clock, which all processes of a computer share."""

    def __init__(self, said: str, until: float) -> None:
        self._said = said
        self._until = until
        self._begun: set[str] = set()

    @classmethod
    def of(cls, config: pytest.Config, said: str) -> TimeLimit:
        """Return the limit as the user said it, from now; in a worker, that of its controller. Raises UsageError."""
        if hasattr(config, "workerinput"):
            return cls(said, float(config.workerinput[_INPUT]))
        return cls(said, time.monotonic() + seconds_of(said))

    @property
    def reached(self) -> bool:
        """Whether it is too late to begin a case."""
        return time.monotonic() >= self._until

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: object) -> None:
        """Let a worker know."""
        node.workerinput[_INPUT] = self._until  # type: ignore[attr-defined]  # pytest-xdist's WorkerController

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        """Say of a case that it is dealt with, where it is too late to begin it."""
        return True if self.reached else None

    def cut(self, item: pytest.Item) -> None:
        """Have a case end with the grace, where its own time is longer."""
        left = self._left
        if 0 < left < _own_seconds(item):
            item.stash[_CUT] = left
            item.add_marker(pytest.mark.timeout(left), append=False)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember, in the controller too, what was begun."""
        self._begun.add(nodeid)

    def why_missing(self, node: str) -> str | None:
        """Return why a case has no end, where that is because of the limit."""
        if node in self._begun or not self.reached:
            return None
        return f"the time limit of {self._said} came before it was begun"

    def overran(self, item: pytest.Item, error: BaseException | None) -> str | None:
        """Return in words that a case was ended because it ran on after the limit; None where something else ended it."""
        cut = item.stash.get(_CUT, None)
        if cut is None or not isinstance(error, pytest.fail.Exception) or self._left > 0:
            return None
        return f"it still ran {GRACE_SECONDS:.0f} s after the time limit of {self._said}, and was ended"

    @property
    def _left(self) -> float:
        """Seconds until the grace is over."""
        return self._until + GRACE_SECONDS - time.monotonic()


class _Cutter:
    """Gives each case no more time than the limit and its grace leave, by pytest-timeout's marker, before that is read."""

    def __init__(self, limit: TimeLimit) -> None:
        self._limit = limit

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Set the marker of a case that is about to begin."""
        self._limit.cut(item)
        return (yield)


def _own_seconds(item: pytest.Item) -> float:
    """Return the time that a case has by itself: that of its marker, or of the whole run."""
    marker = item.get_closest_marker("timeout")
    if marker is not None:
        return float(marker.args[0] if marker.args else marker.kwargs.get("timeout", inf))
    said = item.config.getoption("timeout", None) or item.config.getini("timeout")
    return float(said or 0) or inf
