"""`--time-limit`: at the limit no further case is begun, in no worker; a case that runs may end, within a grace.

What was not begun reports nothing, and so is missing from what was planned (`harness.report.journal`).
"""

from __future__ import annotations

import time
from collections.abc import Generator
from math import inf
from typing import Protocol

import pytest

GRACE_SECONDS = 120.0
"""How long after the limit a case may still run: longer than any by TCG, and than most in a lab take."""

_CUT = pytest.StashKey[float]()
_INPUT = "harness_until"


class _Node(Protocol):
    """What of a worker's controller is used here."""

    workerinput: dict[str, object]


class TimeLimit:
    """Refuses cases once the limit is reached. `until` is on the monotonic clock, which all processes of a computer share."""

    def __init__(self, said: str, until: float) -> None:
        self._said = said
        self._until = until
        self._begun: set[str] = set()

    @classmethod
    def after(cls, seconds: float, said: str) -> TimeLimit:
        """Return the limit `seconds` from now; `said` is how the user put it."""
        return cls(said, time.monotonic() + seconds)

    @classmethod
    def in_worker(cls, workerinput: dict[str, object], said: str) -> TimeLimit:
        """Return the limit that the controller of this worker has."""
        until = workerinput[_INPUT]
        assert isinstance(until, float)
        return cls(said, until)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: _Node) -> None:
        """Let a worker know."""
        node.workerinput[_INPUT] = self._until

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self) -> bool | None:
        """Say of a case that it is dealt with, where it is too late to begin it."""
        return True if time.monotonic() >= self._until else None

    def cut(self, item: pytest.Item) -> None:
        """Have a case end with the grace, where its own time is longer."""
        left = self._until + GRACE_SECONDS - time.monotonic()
        if 0 < left < _own_seconds(item):
            item.stash[_CUT] = left
            item.add_marker(pytest.mark.timeout(left), append=False)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Remember, in the controller too, what was begun."""
        self._begun.add(nodeid)

    def why_missing(self, node: str) -> str | None:
        """Return why a case has no end, where that is because of the limit."""
        if node in self._begun or time.monotonic() < self._until:
            return None
        return f"the time limit of {self._said} came before it was begun"

    def overran(self, item: pytest.Item, error: BaseException | None) -> str | None:
        """Return in words that a case was ended because it ran on after the limit; None where something else ended it."""
        cut = item.stash.get(_CUT, None)
        if cut is None or not isinstance(error, pytest.fail.Exception) or time.monotonic() < self._until + GRACE_SECONDS:
            return None
        return f"it was ended {GRACE_SECONDS:.0f} s after the time limit of {self._said}, having run for {cut:.0f} s"


class Cutter:
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
