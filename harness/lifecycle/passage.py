"""What a lifecycle works with: machines like the first one, what they saved, looks before and after.

A `Passage` is one guest's way through one lifecycle. The lifecycle decides which machines it leads through and when to look;
the passage makes the machines, on the hosts where they belong, keeps the looks as pairs to be compared, and remembers the
streams as evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePath
from typing import ClassVar, Generic, TypeVar

from harness.deadline import Deadline
from harness.kvm.machine import KvmMachine
from harness.qemu import migration
from harness.qemu.machine import AnyMachine, Machine
from harness.qemu.spec import Start
from harness.state.model import State
from harness.state.rules import BETWEEN, FROM_KVM, UNDER_KVM, Rule
from harness.state.stream import decode

LIFECYCLE_SECONDS = 120.0

M = TypeVar("M", bound=AnyMachine)


@dataclass(frozen=True)
class Pair:
    """Two looks that are compared; `ran` where the guest ran between them, so that what it does itself may differ."""

    before: State
    after: State
    ran: bool = False


@dataclass(frozen=True)
class Saved:
    """A file that a machine wrote, on that machine's host."""

    machine: AnyMachine
    name: str

    @property
    def path(self) -> PurePath:
        """Where it is on the machine's host."""
        return self.machine.place / self.name

    def here(self) -> Path:
        """Return it as a file of this computer, fetched the first time. Raises HostFailure."""
        local = self.machine.directory / self.name
        if not local.exists():
            self.machine.host.get(self.path, local)
        return local

    def at(self, machine: AnyMachine) -> PurePath:
        """Return where another machine can read it, carried to its host where that is another one. Raises HostFailure."""
        if machine.host is self.machine.host:
            return self.path
        target = machine.place / self.name
        machine.host.put(self.here(), target)
        return target


@dataclass
class Way(Generic[M]):
    """One guest's way through one lifecycle. `make` starts a machine, that of a `destination` where destinations belong."""

    # What runs the machines that it leads through, and what their view shows differently under KVM.
    machine: ClassVar[type[Machine | KvmMachine]]
    under_kvm: ClassVar[Sequence[Rule]]

    make: Callable[[str, Start], M]
    # Whether state that only the stream shows (the GIC above all) is compared where a lifecycle writes one to disk.
    compare_streams: bool = False
    deadline: Deadline = field(default_factory=lambda: Deadline.after(LIFECYCLE_SECONDS))
    pairs: list[Pair] = field(default_factory=list)
    streams: list[Saved] = field(default_factory=list)
    _twins: int = 0

    def twin(self, start: Start = Start.INCOMING) -> M:
        """Start the next machine of the guest's way: the destination, another one where it came from, and so on in turn."""
        self._twins += 1
        turn, back = divmod(self._twins + 1, 2)
        return self.make(("source" if back else "destination") + (f"-{turn + back}" if turn + back > 1 else ""), start)

    def another(self) -> M:
        """Start a machine like the first and on its host, which stops at its first instruction."""
        return self.make("source-new", Start.PAUSED)

    def look(self, machine: M) -> State:
        """Look at all registers of a stopped machine."""
        return machine.look(self.deadline)

    def compare(self, before: State, after: State, *, ran: bool = False) -> None:
        """Keep two looks for the comparison."""
        self.pairs.append(Pair(before, after, ran))


class Passage(Way[Machine]):
    """The way of a guest through machines of QEMU."""

    machine = Machine
    under_kvm = UNDER_KVM
    between = BETWEEN

    @property
    def crossed(self) -> list[tuple[State, State]]:
        """What the gdb stub and the stream show of one machine at one moment."""
        looks = [(earlier, later) for earlier, later in pairwise(self.pairs) if later.before.view == "stream"]
        return [pair for seen, written in looks for pair in ((seen.before, written.before), (seen.after, written.after))]

    def save(self, machine: Machine, name: str = "stream", *capabilities: str) -> Saved:
        """Write a stopped machine's state to a file of its host. Raises QemuFailure, Blocked, Unsupported."""
        saved = Saved(machine, name)
        migration.enable(machine, *capabilities)
        migration.send(machine, f"file:{saved.path}")
        migration.saved(machine, self.deadline)
        self.streams.append(saved)
        return saved

    def load(self, machine: Machine, path: PurePath, *capabilities: str) -> None:
        """Load a file of its host into a machine that awaits it; it stays stopped. Raises QemuFailure."""
        migration.enable(machine, *capabilities)
        migration.receive(machine, f"file:{path}")
        migration.transferred(None, machine, self.deadline)

    def compare_stream(self, before: Saved, restored: Machine) -> None:
        """Save the restored, still stopped machine again and compare the two streams field by field; after the looks."""
        if self.compare_streams:
            again = self.save(restored, f"{before.name}-again")
            self.compare(State.from_stream(decode(before.here())), State.from_stream(decode(again.here())))


class KvmPassage(Way[KvmMachine]):
    """The way of a guest through machines of /dev/kvm itself (harness/kvm)."""

    machine = KvmMachine
    under_kvm = FROM_KVM
    between = ()

    # Whether a restored vCPU is entered once before it is where it was saved (vmm.Vm.restore).
    first_entry: bool = True

    def save(self, machine: KvmMachine, name: str) -> tuple[Saved, State]:
        """Write a stopped machine's state to a file of its host; return what was written too. Raises KernelFailure."""
        saved = Saved(machine, name)
        state = machine.save(saved.path)
        self.streams.append(saved)
        return saved, state
