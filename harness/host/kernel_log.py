"""What a host's kernel says of its own health: which lines of its log are troubles, and how to follow the log.

`troubles` is a function of lines, for a console as for /dev/kmsg. `watch_kernel_log` follows the log of a host that is up.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterable
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HostFailure, UsageError
from harness.host.protocol import Host

# The words are the kernel's own: kernel/panic.c, kernel/watchdog.c, kernel/hung_task.c, kernel/rcu/tree_stall.h, mm/oom_kill.c,
# kernel/locking/lockdep.c, lib/ubsan.c, arch/arm64/kernel/traps.c, arch/arm64/mm/fault.c, arch/arm64/kvm/.
_TROUBLES = (
    r"Kernel panic - not syncing",
    r"Internal error: ",  # Internal error: Oops: 0000000096000004 [#1] SMP
    r"Unable to handle kernel ",
    r"\bBUG: ",
    r"kernel BUG at ",
    r"\bWARNING: (CPU: \d|\S+:\d+ at )",  # WARNING: CPU: 1 PID: 7 at arch/...; since 6.18 WARNING: arch/...:12 at function
    r"\bWARNING: .*\b(lock|locks|locking|unlock|contention|RCU usage)\b",  # lockdep names neither CPU nor line
    r"\bINFO: trying to register non-static key",
    r"\bUBSAN: ",
    r"watchdog: .*lockup",
    r"Watchdog detected hard LOCKUP",
    r"\brcu: .*(detected (expedited )?stalls|self-detected stall|kthread starved)",
    r"blocked for more than \d+ seconds",
    r"Bad mode in ",
    r"SError Interrupt on CPU",
    r"Out of memory: Killed process",
    # As process 1 KVM starts, and all is well but for these; as another it complains of what that VMM's guest did.
    r"\bkvm \[1\]: .*\b(error|failed|panic|BUG)\b",
    r"\bkvm \[(?!1\])\d+\]: ",
)
_TROUBLE = re.compile("|".join(f"(?:{words})" for words in _TROUBLES))


def troubles(lines: Iterable[str]) -> list[str]:
    """Return the lines that tell of a panic, oops, WARN, lockup, stall, OOM kill, KVM error or of what a checker found."""
    return [line for line in lines if _TROUBLE.search(line)]


# The mark divides what was before from what is ours; $1 is the mark. Only root may write, and on most hosts read, the log.
_FOLLOW = 'echo "$1" >/dev/kmsg && exec cat /dev/kmsg'
_SECONDS = 30.0
# A write needs the file's permission; a read also CAP_SYSLOG, unless the sysctl says 0 (kernel/printk/printk.c).
_REMEDY = "be root there, or have a group that may write /dev/kmsg, and kernel.dmesg_restrict=0"


class KernelLog:
    """The kernel log of a host from now on, read by a thread of its own."""

    def __init__(self, host: Host, stderr: Path) -> None:
        """Begin to follow it. Raises HostFailure."""
        self._host = host
        self._stderr = stderr
        self._mark = f"harness: listens from here ({uuid.uuid4().hex[:12]})"
        self._process = host.spawn(["sh", "-c", _FOLLOW, "follow", self._mark], env={}, stderr=stderr)
        self._lines: list[str] = []
        self._marked = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="harness-kernel-log", daemon=True)
        self._thread.start()

    def begun(self, deadline: Deadline) -> bool:
        """Wait until the mark is read, so that what comes later is surely heard; False where the reader ended first."""
        while not self._marked.wait(min(0.05, deadline.remaining)):
            if self.ended or deadline.expired:
                return self._marked.is_set()
        return True

    @property
    def ended(self) -> bool:
        """Whether nobody follows it any more: cat ends where the kernel has overwritten what it was to read next (EPIPE)."""
        return not self._thread.is_alive()

    def last_words(self) -> str:
        """Return the last line that the reader wrote to standard error; empty where it wrote none."""
        return "".join(self._stderr.read_text("utf-8", "replace").strip().splitlines()[-1:])

    def mark(self) -> int:
        """Return where its end is now."""
        return len(self._lines)

    def since(self, mark: int) -> list[str]:
        """Return the lines after a mark, with the kernel's time in s before each."""
        return self._lines[mark:]

    def troubles(self, mark: int) -> list[str]:
        """Return the lines after a mark that tell of troubles."""
        return troubles(self.since(mark))

    def check(self) -> None:
        """Raise HostFailure where it is followed no more: what the kernel says is then unknown."""
        if self.ended:
            self._host.check()
            words = self.last_words() or "its reader ended without a word"
            raise HostFailure(f"its kernel log is followed no more: {words}", where=self._host.name)

    def close(self) -> None:
        """Stop following."""
        self._process.close()
        self._thread.join()

    def _follow(self) -> None:
        with self._process.stdio.makefile("r", encoding="utf-8", errors="replace", newline="\n") as records:
            for record in records:
                # "level,sequence,microseconds,flags;text"; a line that begins with a space adds to the one before
                # (Documentation/ABI/testing/dev-kmsg).
                head, semicolon, text = record.rstrip("\n").partition(";")
                if record.startswith(" ") or not semicolon:
                    continue
                if not self._marked.is_set():
                    if text == self._mark:
                        self._marked.set()
                    continue
                self._lines.append(f"[{int(head.split(',')[2]) / 1e6:12.6f}] {text}")


def watch_kernel_log(host: Host, stderr: Path) -> KernelLog:
    """Follow a host's kernel log. Raises UsageError where this user may not, HostFailure."""
    log = KernelLog(host, stderr)
    if not log.begun(Deadline.after(_SECONDS)):
        refused = log.ended and log.last_words()
        log.close()
        host.check()
        if refused:
            raise UsageError(f"the kernel log cannot be followed: {refused}", where=host.name, remedy=_REMEDY)
        raise HostFailure("the kernel log cannot be followed: /dev/kmsg gave nothing", where=host.name)
    return log
