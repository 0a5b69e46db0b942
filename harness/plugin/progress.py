"""Progress on the terminal, in the controller: a few lines that stay where they are, or plain lines where it is no terminal.

It takes the place of pytest's dots for scenarios; with -v, pytest's own lines stay.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Generator, Mapping
from typing import Any, TextIO

import pytest
from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness.report import progress
from harness.report.model import BROKEN, Case
from harness.report.progress import Progress
from harness.report.results import case_from_data

EVERY_SECONDS = 30.0
EVERY_SHARE = 0.1
"""A plain line comes after so much time, or so many of the cases, whichever is first; but not more often than every"""
AT_LEAST_SECONDS = 3.0
_ROWS = 8
Status = tuple[str, str, str | tuple[str, Mapping[str, bool]]]


class Reporter:
    """What is shown while scenarios run. It does nothing until `begin`."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._terminal: Any = None
        self._file: TextIO | None = None
        self._lock = threading.Lock()
        self._progress: Progress | None = None
        self._live: Live | None = None
        self._told = (0.0, 0)

    def begin(self, plan: Mapping[str, Case], expected: Mapping[str, float]) -> None:
        """Start to show a run of planned cases; `expected` are seconds by `Case.key`."""
        self._terminal = self._config.pluginmanager.getplugin("terminalreporter")
        if not plan or self._progress or self._terminal is None or self._config.get_verbosity() > 0:
            return
        now = time.monotonic()
        self._progress = Progress(plan, now, expected)
        self._told = (now, 0)
        self._terminal.showfspath = False
        # -s: what tests print would end up in the middle of the lines that stay.
        self._file = None if self._config.getoption("capture") == "no" else _own_terminal()
        if self._file:
            self._terminal.ensure_newline()
            console = Console(file=self._file)
            self._live = Live(console=console, get_renderable=self._shown, refresh_per_second=4, transient=True)
            self._live.start()

    def _shown(self) -> Text:
        assert self._progress
        with self._lock:
            lines = progress.display(self._progress, time.monotonic(), _ROWS)
        return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Know what runs."""
        if self._progress:
            with self._lock:
                self._progress.start(nodeid, time.monotonic())

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Know how it ended, and say at once what broke."""
        if not self._progress or report.nodeid not in self._progress.plan:
            return
        text = getattr(report, "harness_case", None)
        case = None if text is None else case_from_data(json.loads(text), report.nodeid)
        with self._lock:
            self._progress.place(report.nodeid, getattr(report, "worker_id", ""))
            if case or report.failed:
                self._progress.end(report.nodeid, case)
        if case and case.verdict in BROKEN:
            self._say(progress.sentence(case))
        elif case is None and report.failed:
            self._say(f"! {report.longrepr}".partition("\n")[0])
        if case and not self._live:
            self._say_how_it_stands()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> Generator[None, Status, Status]:
        """Have pytest count a scenario, and print no letter for it."""
        category, letter, word = yield
        ours = self._progress and report.nodeid in self._progress.plan
        return (category, "", "") if ours else (category, letter, word)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Leave the terminal to pytest."""
        self.end()

    @pytest.hookimpl(tryfirst=True)
    def pytest_keyboard_interrupt(self) -> None:
        """Leave the terminal to pytest."""
        self.end()

    @pytest.hookimpl(tryfirst=True)
    def pytest_internalerror(self) -> None:
        """Leave the terminal to pytest."""
        self.end()

    def end(self) -> None:
        """Take away the lines that stay; from now on pytest tells of each case again."""
        if self._live:
            self._live.stop()
            self._live = None
        if self._file:
            self._file.close()
            self._file = None
        self._progress = None

    def _say(self, line: str) -> None:
        if self._live:
            self._live.console.print(Text(line), soft_wrap=True)
        else:
            self._terminal.write_line(line)
            self._terminal.flush()  # into a pipe too, as it happens

    def _say_how_it_stands(self) -> None:
        assert self._progress
        now, done = time.monotonic(), len(self._progress.done)
        since, before = self._told
        enough = done - before >= EVERY_SHARE * len(self._progress.plan) and now - since >= AT_LEAST_SECONDS
        if enough or now - since >= EVERY_SECONDS:
            self._told = (now, done)
            self._say(progress.line(self._progress, now))


def _own_terminal() -> TextIO | None:
    """Return standard output where it is a terminal that can move its cursor.

    Opened anew: pytest puts a file into the place of the descriptor while a test runs.
    """
    stream = sys.__stdout__
    if stream is None or stream.closed or not stream.isatty() or os.environ.get("TERM", "dumb") in ("dumb", ""):
        return None
    return os.fdopen(os.dup(stream.fileno()), "w", encoding=stream.encoding, errors="replace")
