"""What happens to a running guest between two looks at it. One small module each; `LIFECYCLES` names them all.

A lifecycle takes the machine that a guest runs in and returns the machine that it runs in afterwards. A new one is a function
of `(Passage, Machine) -> Machine` and a line in the table below; every scenario then goes through it. What runs the machines is
the passage's to say: QEMU, or `harness/kvm` (`by=KvmPassage`), which is for hosts with /dev/kvm.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from harness.lifecycle import file, kvm, live, pause, poll_registers, reset, snapshot, straight
from harness.lifecycle.passage import KvmPassage, Passage


@dataclass(frozen=True)
class Lifecycle:
    """One lifecycle, with what a scenario and a report have to know of it."""

    name: str
    # Of a way and a machine that fit each other: `by` and `by.machine`.
    run: Callable[[Any, Any], Any]
    by: type[Passage | KvmPassage] = Passage
    # The first QEMU that can do it, and what that version brought.
    since: tuple[int, int] = (0, 0)
    brought: str = ""
    # For how long the guest may go on by its own clock before the lifecycle is over, in ms: what it waits for has to be
    # further ahead. Some ten times what an idle computer needs. 0: its clock stands still all the time.
    runs_on_ms: int = 0
    # Whether anything is done to the guest at all.
    interrupts: bool = True
    # Its transport does not reach from one host to another.
    one_host: bool = False
    # The guest begins again at its first instruction.
    restarts: bool = False
    # The counters of its machines are set by KVM_ARM_SET_COUNTER_OFFSET.
    by_offset: bool = False

    @property
    def needs_kvm(self) -> bool:
        """Whether it is for hosts with /dev/kvm only, where it knows every kind of vCPU that KVM has."""
        return self.by is KvmPassage


_ALL = (
    Lifecycle("straight", straight.straight, interrupts=False),
    Lifecycle("pause", pause.pause),
    Lifecycle("poll-registers", poll_registers.poll_registers, runs_on_ms=200),
    Lifecycle("snapshot", snapshot.snapshot),
    Lifecycle("snapshot-same", snapshot.snapshot_same),
    Lifecycle("file", file.file, since=(8, 2), brought="migration to `file:`"),
    Lifecycle("file-mapped-ram", file.file_mapped_ram, since=(9, 0), brought="the capability mapped-ram"),
    Lifecycle("live-unix", live.live_unix, runs_on_ms=500),
    Lifecycle("live-tcp", live.live_tcp, runs_on_ms=500, one_host=True),
    Lifecycle("live-fd", live.live_fd, runs_on_ms=500, one_host=True),
    Lifecycle("multifd", live.multifd, runs_on_ms=500, one_host=True),
    Lifecycle("postcopy", live.postcopy, runs_on_ms=600),
    Lifecycle("ping-pong", live.ping_pong, runs_on_ms=900),
    Lifecycle("twice", file.twice, since=(8, 2), brought="migration to `file:`", runs_on_ms=100),
    Lifecycle("reset", reset.reset, restarts=True),
    Lifecycle("kvm-straight", kvm.straight, KvmPassage, interrupts=False),
    Lifecycle("kvm-rewrite", kvm.rewrite, KvmPassage, runs_on_ms=150),
    Lifecycle("kvm-restore", kvm.restore, KvmPassage, runs_on_ms=200),
    Lifecycle("kvm-offset", kvm.twice, KvmPassage, runs_on_ms=500, by_offset=True),
    Lifecycle("kvm-twice", kvm.twice, KvmPassage, runs_on_ms=500),
    Lifecycle("kvm-migrate", kvm.migrate, KvmPassage, runs_on_ms=200),
)

LIFECYCLES: Mapping[str, Lifecycle] = {lifecycle.name: lifecycle for lifecycle in _ALL}
