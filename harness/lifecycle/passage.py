"""What a lifecycle works with: machines like the first one, private files, looks before and after.

A `Passage` is one guest's way through one lifecycle. The lifecycle decides which machines it leads through and when to look;
the passage makes the machines, keeps the looks as pairs to be compared, and remembers the streams as evidence.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.deadline import Deadline
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.qemu.spec import Start
from harness.state.model import State
from harness.state.stream import decode

LIFECYCLE_SECONDS = 60.0


@dataclass(frozen=True)
class Pair:
    """Two looks that are compared; `ran` where the guest ran between them, so that what it does itself may differ."""

    before: State
    after: State
    ran: bool = False


@dataclass
class Passage:
    """One guest's way through one lifecycle."""

    make: Callable[[str, Start], Machine]
    directory: Path
    # Whether state that only the stream shows (the GIC above all) is compared where a lifecycle writes one to disk.
    compare_streams: bool = False
    deadline: Deadline = field(default_factory=lambda: Deadline.after(LIFECYCLE_SECONDS))
    pairs: list[Pair] = field(default_factory=list)
    streams: list[Path] = field(default_factory=list)
    _twins: int = 0

    def twin(self, start: Start = Start.INCOMING) -> Machine:
        """Start another machine like the first: the destination, the second one and so on."""
        self._twins += 1
        return self.make("destination" if self._twins == 1 else f"destination-{self._twins}", start)

    def file(self, name: str) -> Path:
        """Return a private path for a file of that name; Unix sockets fit (108 bytes)."""
        return self.directory / name

    def look(self, machine: Machine) -> State:
        """Look at all registers of a stopped machine."""
        return machine.look(self.deadline)

    def save(self, machine: Machine, name: str = "stream", *capabilities: str) -> Path:
        """Write a stopped machine's state to a file and return its path. Raises QemuFailure, Blocked, Unsupported."""
        path = self.file(name)
        migration.enable(machine, *capabilities)
        migration.send(machine, f"file:{path}")
        migration.saved(machine, self.deadline)
        self.streams.append(path)
        return path

    def load(self, machine: Machine, path: Path, *capabilities: str) -> None:
        """Load a file into a machine that awaits it; it stays stopped. Raises QemuFailure."""
        migration.enable(machine, *capabilities)
        migration.receive(machine, f"file:{path}")
        migration.transferred(None, machine, self.deadline)

    def compare(self, before: State, after: State, *, ran: bool = False) -> None:
        """Keep two looks for the comparison."""
        self.pairs.append(Pair(before, after, ran))

    def compare_stream(self, before: Path, restored: Machine) -> None:
        """Save the restored, still stopped machine again and compare the two streams field by field."""
        if self.compare_streams:
            again = self.save(restored, f"{before.name}-again")
            self.compare(State.from_stream(decode(before)), State.from_stream(decode(again)))
