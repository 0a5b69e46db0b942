"""The terminal while scenarios run: lines that stay, or plain lines; what broke is said at once."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from harness.deadline import Deadline
from tests.plugin.conftest import ROOT, Project
from tests.plugin.test_plugin import STUCK

REFUSED = "✗ fail: timers: fault=refuses through file: *Unknown ramblock*; suspect QEMU"


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_plain_lines_where_it_is_no_terminal(
    project: Project, workers: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.plugin.progress.AT_LEAST_SECONDS", 0.0)
    project.scenario("fault=refuses", *(f"w{number}" for number in range(11)))
    lines = project.run(*workers).outlines
    end = next(number for number, text in enumerate(lines) if "FAILURES" in text)
    during = lines[:end]
    (said,) = (number for number, text in enumerate(during) if text.startswith("✗ fail: "))
    stands = [text for text in during if re.match(r"\d+ of 12 done", text)]
    assert len(stands) >= 3 and stands[-1].startswith("12 of 12 done, 1 fail; slowest ")
    assert any("left" in text for text in stands)
    assert said < max(during.index(text) for text in stands)
    assert not any(re.fullmatch(r"[.FsxE]+( +\[ *\d+%\])?", text.strip()) for text in during), "no dots"
    assert "\x1b" not in "".join(during)


def test_v_is_pytests(project: Project) -> None:
    project.scenario("plain")
    run = project.run("-v")
    run.stdout.fnmatch_lines(["*test_it.py::test_it*plain* PASSED*"])
    run.stdout.no_fnmatch_line("*of 1 done*")


def test_other_tests_keep_their_dots(project: Project) -> None:
    folder = project.path / "scenarios"
    folder.mkdir()
    (folder / "test_other.py").write_text("def test_other(): pass\n")
    project.run().stdout.fnmatch_lines(["*test_other.py .*"])


class Screen:
    """A run on a terminal of its own."""

    def __init__(self, project: Project, *more: str, term: str = "xterm") -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *project.arguments(*more)],
            cwd=project.path, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "TERM": term, "COLUMNS": "120", "LINES": "40"},
        )  # fmt: skip
        os.close(slave)
        self.text = ""

    def parts(self) -> Iterator[str]:
        """Yield all that has been written whenever more has, until the run ends."""
        with suppress(OSError):  # the other end is closed
            while data := os.read(self.master, 65536):
                self.text += data.decode("utf-8", "replace")
                yield self.text

    def close(self) -> int:
        """Wait for the end and return the exit status."""
        for _ in self.parts():
            pass
        status = self.process.wait(20)
        os.close(self.master)
        return status


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_lines_that_stay_on_a_terminal(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario("fault=refuses", *(f"w{number}" for number in range(5)))
    screen = Screen(project, *workers)
    assert screen.close() == 1
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.text)
    assert "of 6 done" in text and "━" in text
    assert "✗ fail: timers: fault=refuses through file" in text.partition("FAILURES")[0]
    assert screen.text.count("\x1b[?25h") >= screen.text.count("\x1b[?25l") >= 1, "the cursor is back"
    assert not re.search(r"^[.F]+\s+\[", text, re.MULTILINE), "no dots"
    assert "verdicts: 5 pass, 1 fail" in text


@pytest.mark.parametrize(
    ("workers", "shown"),
    [((), r"  \d+\.\d s timers file word=stuck"), (("-n", "2"), r"  gw[01] \d+\.\d s timers file word=stuck")],
)
def test_what_runs_is_shown_and_ctrl_c_gives_the_terminal_back(project: Project, workers: tuple[str, ...], shown: str) -> None:
    project.scenario("plain", "stuck", body=STUCK)
    screen = Screen(project, *workers)
    deadline = Deadline.after(60)
    for text in screen.parts():
        assert not deadline.expired
        if re.search(shown, text):
            break
    os.kill(screen.process.pid, signal.SIGINT)
    assert screen.close() == 2
    assert screen.text.count("\x1b[?25h") >= screen.text.count("\x1b[?25l")
    assert "verdicts: " in screen.text.rpartition("\x1b[?25h")[2]


@pytest.mark.parametrize(("more", "term"), [(("-s",), "xterm"), ((), "dumb")])
def test_plain_lines_where_lines_cannot_stay(project: Project, more: tuple[str, ...], term: str) -> None:
    project.scenario("plain")
    screen = Screen(project, *more, term=term)
    assert screen.close() == 0
    assert "verdicts: 1 pass" in screen.text and "\x1b[?25l" not in screen.text and "━" not in screen.text
