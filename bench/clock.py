"""A pytest plugin that writes down when each phase of each test began and ended: `pytest -p bench.clock --clock FILE`."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest


class Clock:
    """The reports of one session; under pytest-xdist, of all its workers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._began = time.time()
        self._phases: list[dict[str, Any]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep one phase."""
        phase = {name: getattr(report, name) for name in ("nodeid", "when", "outcome", "start", "stop")}
        self._phases.append(phase | {"properties": dict(report.user_properties)})

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        self._path.write_text(json.dumps({"began": self._began, "ended": time.time(), "phases": self._phases}), "utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.addoption("--clock", type=Path, help="where to write the times of all phases")


def pytest_configure(config: pytest.Config) -> None:
    """Begin, in the controller only."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Clock(config.getoption("--clock")))
