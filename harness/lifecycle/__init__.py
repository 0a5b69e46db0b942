"""What happens to a running guest between two looks at it. One small module each; `LIFECYCLES` names them all.

A lifecycle takes the machine that a guest runs in and returns the machine that it runs in afterwards. A new one is a function
of `(Passage, Machine) -> Machine` and a line in the table below; every scenario then goes through it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from harness.lifecycle import file, live, pause, poll_registers, reset, snapshot, straight
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine


@dataclass(frozen=True)
class Lifecycle:
    """One lifecycle, with what a scenario and a report have to know of it."""

    name: str
    run: Callable[[Passage, Machine], Machine]
    # The first QEMU that can do it, and what that version brought.
    since: tuple[int, int] = (0, 0)
    brought: str = ""
    # The guest goes on while its state is carried over, so what it waits for has to be further ahead.
    runs_on: bool = False
    # The guest begins again at its first instruction.
    restarts: bool = False


_ALL = (
    Lifecycle("straight", straight.straight),
    Lifecycle("pause", pause.pause),
    Lifecycle("poll-registers", poll_registers.poll_registers, runs_on=True),
    Lifecycle("snapshot", snapshot.snapshot),
    Lifecycle("snapshot-same", snapshot.snapshot_same),
    Lifecycle("file", file.file, since=(8, 2), brought="migration to `file:`"),
    Lifecycle("file-mapped-ram", file.file_mapped_ram, since=(9, 0), brought="the capability mapped-ram"),
    Lifecycle("live-unix", live.live_unix, runs_on=True),
    Lifecycle("live-tcp", live.live_tcp, runs_on=True),
    Lifecycle("live-fd", live.live_fd, runs_on=True),
    Lifecycle("multifd", live.multifd, runs_on=True),
    Lifecycle("postcopy", live.postcopy, runs_on=True),
    Lifecycle("ping-pong", live.ping_pong, runs_on=True),
    Lifecycle("twice", file.twice, since=(8, 2), brought="migration to `file:`", runs_on=True),
    Lifecycle("reset", reset.reset, restarts=True),
)

LIFECYCLES: Mapping[str, Lifecycle] = {lifecycle.name: lifecycle for lifecycle in _ALL}
