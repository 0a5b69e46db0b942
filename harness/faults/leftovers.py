"""What a case that is over has left behind: processes below this one, and threads of its lines."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import dataclass

import psutil

from harness.errors import HarnessBug


@dataclass(frozen=True)
class Leftovers:
    """The processes that this one has started, by id and time of start with their command, and the threads by name."""

    processes: dict[tuple[int, float], str]
    threads: dict[int, str]

    @classmethod
    def now(cls) -> Leftovers:
        """Return what there is; a zombie counts, for somebody has to reap it."""
        processes = {}
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has just gone
                zombie = child.status() == psutil.STATUS_ZOMBIE
                processes[child.pid, child.create_time()] = child.name() if zombie else " ".join(child.cmdline()[:4])
        threads = {thread.ident or 0: thread.name for thread in threading.enumerate() if thread.name.startswith("harness-line")}
        return cls(processes, threads)

    def none_since(self, before: Leftovers) -> None:
        """Raise HarnessBug naming what is there and was not before."""
        processes = [f"process {key[0]} ({words})" for key, words in self.processes.items() if key not in before.processes]
        threads = [f"thread {name}" for ident, name in self.threads.items() if ident not in before.threads]
        if left := [*processes, *threads]:
            raise HarnessBug(f"left over: {', '.join(left)}")
