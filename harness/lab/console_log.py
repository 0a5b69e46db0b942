"""The lab's kernel log, as its serial console wrote it to a file on this computer: warnings and worse."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.host.kernel_log import troubles

# kernel/panic.c; with `panic=-1` the kernel resets the machine right after it.
_PANIC = re.compile(r"Kernel panic - not syncing: .*")
# The lab's init says so before it powers the machine off (harness/assets/lab_init.sh).
_INIT_GAVE_UP = re.compile(r"LAB-ERROR: (.*)")
_BLOCK = 4096


@dataclass(frozen=True)
class ConsoleLog:
    """The file that the I/O thread writes the console's bytes to, as they come."""

    path: Path
    # Raises HostFailure where not all that was heard is in the file.
    check: Callable[[], None] = lambda: None

    def mark(self) -> int:
        """Return the present end of the log's last whole line, in bytes; `since` goes on from there."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - _BLOCK)
                file.seek(start)
                if (newline := file.read(end - start).rfind(b"\n")) >= 0:
                    return start + newline + 1
                end = start
        return 0

    def since(self, mark: int = 0) -> list[str]:
        """Return the lines after a mark that are not empty; the last may be half of one."""
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(mark)
            text = file.read().decode("utf-8", "backslashreplace")
        return [line.rstrip("\r") for line in text.split("\n") if line.strip()]

    def troubles(self, mark: int = 0) -> list[str]:
        """Return the lines after a mark that tell of a panic, oops, WARN, lockup, stall or KVM error."""
        return troubles(self.since(mark))

    def panic(self) -> str | None:
        """Return the line in which the kernel says that it panicked."""
        return _first(_PANIC, self.since())

    def init_gave_up(self) -> str | None:
        """Return why the lab's init could not make a lab of this kernel."""
        return _first(_INIT_GAVE_UP, self.since())


def _first(pattern: re.Pattern[str], lines: list[str]) -> str | None:
    for line in lines:
        if found := pattern.search(line):
            return found.group(found.lastindex or 0)
    return None
