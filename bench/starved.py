"""A plugin of pytest that makes the computer too slow, now here and now there: `python -m pytest -p bench.starved scenarios`.

A verdict that differs then blames a guest for the computer, or shows a race of QEMU. As many processes as there are CPUs are
busy all the time, and single threads of what the harness starts lose theirs for up to half a second: QEMU's main loop stands
still while a vCPU runs, or one vCPU while the other runs, as on a busy computer once in many hours.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress

import psutil
import pytest

# What part of the time of all threads, and for how long at once, in seconds.
SHARE = 0.25
STARVES = (0.02, 0.5)
RUNS = (0.02, 0.6)
_ROUND_SECONDS = 0.01
# Ends with whoever started it, even if that was killed.
_BUSY = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"
_BUSY_ARGV = (sys.executable, "-ISc", _BUSY)

_busy: list[subprocess.Popen[bytes]] = []


class Starvation:
    """Which threads have the CPU only when nobody else wants it (SCHED_IDLE, sched(7)), and until when."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._until: dict[int, float] = {}

    def choose(self, threads: Iterable[int], now: float) -> None:
        """Choose anew for each thread whose time is over. One that has ended meanwhile is left alone."""
        self._until = {thread: self._until.get(thread, now) for thread in threads}
        for thread, until in self._until.items():
            if until <= now:
                starves = self._chance.random() < SHARE
                with suppress(ProcessLookupError):
                    os.sched_setscheduler(thread, os.SCHED_IDLE if starves else os.SCHED_OTHER, os.sched_param(0))
                self._until[thread] = now + self._chance.uniform(*(STARVES if starves else RUNS))

    def go_on(self) -> None:
        """Starve what this process has started, for as long as it lives."""
        while True:
            self.choose(_threads(), time.monotonic())
            time.sleep(_ROUND_SECONDS)


def _threads() -> Iterator[int]:
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):  # it has just gone
            if tuple(child.cmdline()) != _BUSY_ARGV:
                yield from (thread.id for thread in child.threads())


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin: busy processes once for the run, starvation in each process that starts machines."""
    if not hasattr(session.config, "workerinput"):
        _busy.extend(subprocess.Popen(_BUSY_ARGV) for _ in os.sched_getaffinity(0))
    starvation = Starvation(random.Random())  # noqa: S311  # no secret is made of it
    threading.Thread(target=starvation.go_on, name="starvation", daemon=True).start()


def pytest_unconfigure() -> None:
    """End the busy processes."""
    while _busy:
        process = _busy.pop()
        process.kill()
        process.wait()
