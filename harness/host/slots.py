"""Slots: how many vCPUs may run on this computer at once, over all harness processes.

Emulated machines starve each other, and a starved guest looks like a broken one. Each machine takes as many slots as it has
vCPUs. A slot is a lock on a file, so a process that dies gives its slots back.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.deadline import Deadline
from harness.errors import HarnessError, Suspect

# A bare-metal payload sleeps in WFI for most of its life.
VCPUS_PER_CORE = 2
# Less than the time limit of a test (pyproject.toml), so that the wait itself is what is told.
WAIT_SECONDS = 240.0
_POLL_SECONDS = 0.005


def capacity() -> int:
    """Return how many vCPUs may run at once."""
    return VCPUS_PER_CORE * len(os.sched_getaffinity(0))


@contextmanager
def held(directory: Path, vcpus: int, slots: int) -> Iterator[None]:
    """Hold `vcpus` of the `slots` in a directory while the block runs; one that wants more than all gets all.

    Whoever waits holds the door, so that a big machine is not overtaken by small ones for ever, and two that wait cannot
    hold half of what they need each. Raises HarnessError where other runs held them all the time: nothing was tried then.
    """
    directory.mkdir(parents=True, exist_ok=True)
    deadline = Deadline.after(WAIT_SECONDS)
    wanted = min(vcpus, slots)
    full = HarnessError(
        f"no slot for {vcpus} vCPU{'s' if vcpus != 1 else ''} in {WAIT_SECONDS:.0f} s",
        suspect=Suspect.HOST,
        remedy="other runs hold them all; wait until they have ended",
    )
    door = FileLock(directory / "door", timeout=deadline.remaining, poll_interval=_POLL_SECONDS)
    with ExitStack() as taken:
        try:
            door.acquire()
        except Timeout:
            raise full from None
        try:
            free = [FileLock(directory / f"slot-{number}", blocking=False) for number in range(slots)]
            while wanted:
                if deadline.expired:
                    raise full
                wanted -= _take(free, wanted, taken, deadline)
        finally:
            door.release()
        yield


def _take(free: list[FileLock], wanted: int, taken: ExitStack, deadline: Deadline) -> int:
    """Take up to `wanted` free slots; where none is free, wait a moment for any."""
    got = 0
    for lock in list(free):
        if got < wanted:
            try:
                taken.enter_context(lock)
            except Timeout:
                continue
            free.remove(lock)
            got += 1
    if not got and free:
        try:
            taken.enter_context(free[0].acquire(min(0.1, deadline.remaining), _POLL_SECONDS, blocking=True))
        except Timeout:
            return 0
        free.pop(0)
        got = 1
    return got
