"""How tests of all folders start the fake QEMU."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Machine, Workshop
from harness.qemu.spec import MachineSpec, Start

PROGRAM = Path(__file__).with_name("fake_qemu.py")
# -S: without the site packages, which cost more than all the rest of its start.
ARGV = (sys.executable, "-S", str(PROGRAM))
# Where the fake finds the package that it is in.
ENV = {"PYTHONPATH": str(PROGRAM.parents[2])}
FAKE = QemuBinary(ARGV, ENV, (11, 1, 3), "11.1.3 (fake)", "a test")


def script(directory: Path) -> Path:
    """Return a program in the directory that starts the fake, for `--qemu`."""
    path = directory / "qemu-system-aarch64"
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ENV["PYTHONPATH"]}" exec "{ARGV[0]}" -S "{PROGRAM}" "$@"\n')
    path.chmod(0o755)
    return path


def descriptors() -> int:
    """Return how many descriptors this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def are_closed(before: int) -> bool:
    """Say whether no more are open than `before`; a thread that heard an exit closes its own a moment later.

    Another thread that looks into a file of /proc just now is none of a machine's, so it is enough to see it once.
    """
    deadline = Deadline.after(5)
    while descriptors() > before:
        if deadline.expired:
            return False
        time.sleep(0.01)
    return True


@dataclass
class Starter:
    """Starts machines that a test needs and closes all at its end."""

    workshop: Workshop
    timeline: Timeline = field(default_factory=Timeline)
    opened: ExitStack = field(default_factory=ExitStack)
    machines: list[Machine] = field(default_factory=list)

    def make(
        self,
        append: str = "",
        *,
        side: str = "source",
        start: Start = Start.RUNNING,
        qemu: QemuBinary = FAKE,
        el2: bool = False,
    ) -> Machine:
        """Return a machine that has been spawned but not connected to."""
        spec = MachineSpec(kernel=Path("none"), append=append, el2=el2)
        machine = Machine(spec, qemu, self.workshop, self.timeline, side=side, start=start)
        self.machines.append(machine)
        return machine

    def __call__(self, append: str = "", *, side: str = "source", start: Start = Start.RUNNING) -> Machine:
        """Return a machine that answers."""
        return self.opened.enter_context(self.make(append, side=side, start=start))

    def pair(self, append: str = "") -> tuple[Machine, Machine]:
        """Return source and destination."""
        return self(append), self(append, side="destination", start=Start.INCOMING)


@contextmanager
def workshop() -> Iterator[Workshop]:
    """Make what machines share, and take it down."""
    with Hub() as hub, LocalHost() as host:
        yield Workshop(host, host, hub, TargetCache())


@contextmanager
def starter() -> Iterator[Starter]:
    """Make a starter; afterwards every machine is closed, whether or not its test got that far."""
    with workshop() as shared:
        start = Starter(shared)
        try:
            with start.opened:
                yield start
        finally:
            for machine in start.machines:
                machine.close()
