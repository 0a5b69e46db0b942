"""A machine: one QEMU process with its QMP, console and gdb connections.

    with Machine(spec, qemu, workshop, timeline, side="source") as machine:
        machine.console.line(deadline, "the guest's first word")
        machine.stop(deadline)
        state = machine.look(deadline)

Everything that is known about a machine when it ends stays in its directory: the console, the QMP log, stderr.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Protocol, Self, TypeVar

from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestFailure, HostFailure, QemuFailure, Unsupported
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.host.protocol import Host, Process, how_it_ended
from harness.qemu.console import Console
from harness.qemu.gdb import GdbStub, TargetCache
from harness.qemu.hub import Hub
from harness.qemu.qmp import Event, Qmp, QmpRefused
from harness.qemu.spec import MachineSpec, Start, Wiring, arguments
from harness.state import sysregs
from harness.state.model import State

# A QMP command is answered by the main loop; under a busy TCG it may have to wait for the big lock.
COMMAND_SECONDS = 20.0
# Under KVM its host may be emulated itself: a QEMU starts in a second there, in twenty where three labs share a core.
_TIMES_UNDER_KVM = 3
# QEMU's words where KVM offers guests no EL2, or this QEMU asks it for none (before 10.1); hw/arm/virt.c.
_NO_EL2 = "does not support providing Virtualization extensions"
# Events that end the wait for a guest's word (qapi/run-state.json, qapi/block-core.json).
_FATAL_EVENTS = frozenset({"GUEST_PANICKED", "WATCHDOG", "MEMORY_FAILURE", "BLOCK_IO_ERROR"})

T = TypeVar("T")


@dataclass(frozen=True)
class Workshop:
    """What the machines on one host share: where they run, where their logs are kept, who listens, what is known of CPUs."""

    host: Host
    # This computer, where logs and evidence are kept wherever a machine runs.
    desk: LocalHost
    hub: Hub
    targets: TargetCache


class AnyMachine(Protocol):
    """What a guest and a trial need of a machine, whichever program runs it."""

    side: str
    spec: MachineSpec
    qemu: QemuBinary
    argv: list[str]
    # Whether it was told to end, and nobody has waited for that.
    dismissed: bool
    host: Host
    # Where its logs are, on this computer; and where its files are, on its host.
    directory: Path
    place: PurePath
    process: Process
    console: Console

    def look(self, deadline: Deadline) -> State:
        """Return the state of the stopped machine."""

    def wait_exit(self, deadline: Deadline) -> int:
        """Wait until the process is gone and return its exit status (negative: the signal's number)."""

    def end_well(self, deadline: Deadline) -> None:
        """Wait until the process is gone, its guest having powered off or itself told to end.

        Raises QemuFailure, KernelFailure where that was no exit with status 0, HostFailure, DeadlineExpired.
        """


class Machine:
    """One QEMU process. `side` names it in logs and messages ("source", "destination", ...)."""

    console: Console

    def __init__(
        self,
        spec: MachineSpec,
        qemu: QemuBinary,
        workshop: Workshop,
        timeline: Timeline,
        *,
        side: str,
        start: Start = Start.RUNNING,
    ) -> None:
        self.spec = spec
        self.qemu = qemu
        self.side = side
        self.timeline = timeline
        # Where its logs are, on this computer; and where its sockets are, on its host.
        self.directory = workshop.desk.directory(side)
        self.place: PurePath = self.directory if workshop.host is workshop.desk else workshop.host.directory(side)
        self.host = workshop.host
        self._workshop = workshop
        self._start = start
        self._hub = workshop.hub
        # Events from this index on belong to the migration under way (harness/qemu/migration.py).
        self.migration_began = 0
        self.dismissed = False
        # Whether a SIGKILL that it died of may be ours.
        self._killed = False
        wiring = Wiring(workshop.host.stdio_chardev, self.place, start)
        self.argv = [*qemu.argv, *arguments(spec, wiring)]
        timeline.add(side, "start", " ".join(self.argv))
        self.process: Process = workshop.host.spawn(self.argv, env=qemu.env, stderr=self.directory / "stderr.log")
        self.process.on_exit(self._exited)
        self.qmp = Qmp(self._hub, self.process.stdio, side, self.directory / "qmp.log", timeline)
        self._open = ExitStack()
        self._open.callback(self.qmp.close)
        self.on_event(lambda event: timeline.add(side, "event", str(event)))

    def __enter__(self) -> Self:
        """Connect QMP, and let the guest run if it should.

        Raises Unsupported in QEMU's words where the guest was to have EL2 and KVM gives it none, QemuFailure where QEMU did not
        start for another reason, DeadlineExpired, HostFailure.
        """
        try:
            self.qmp.connect(self._soon())
            self.console = Console(self._hub, self.connect("console"), self.side, self.directory / "console.log", self.timeline)
            self._open.callback(self.console.close)
            self.console.closed_by_qemu = self._console_closed
            self.console.alarmed = self._check_events
            if self._start is Start.RUNNING:
                self.cont()
        except QemuFailure as error:
            self.settle(Deadline.after(2))
            words = self.last_words()
            self.close()
            if self.spec.el2 and _NO_EL2 in words:
                raise Unsupported(words, where=self.side) from error
            raise QemuFailure(f"QEMU did not start: {words or error.what}", where=self.side) from error
        except (DeadlineExpired, HostFailure):
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process if it still runs and close what was opened."""
        self.close()

    # -- what it is asked to do

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """Run one QMP command; errors as `Qmp.execute`, with QEMU's last words when it died of it."""
        try:
            return self.qmp.execute(command, arguments, deadline=self._soon())
        except QmpRefused:
            raise
        except QemuFailure:
            if self.settle(Deadline.after(0.2)):
                self.check_alive()
            raise

    def monitor(self, line: str) -> str:
        """Run one line of the human monitor and return what it prints."""
        return str(self.execute("human-monitor-command", {"command-line": line}))

    def stop(self) -> None:
        """Stop all vCPUs; the guest's clocks stand still until `cont` (system/cpus.c, vm_stop)."""
        self.execute("stop")

    def cont(self) -> None:
        """Let all vCPUs run."""
        self.execute("cont")

    def status(self) -> str:
        """Return the run state in QEMU's words (qapi/run-state.json)."""
        return str(self.execute("query-status")["status"])

    def look(self, deadline: Deadline) -> State:
        """Return the registers of every vCPU as the gdb stub shows them. The machine has to be stopped."""
        with GdbStub(self.connect("gdb"), deadline, self.side) as stub:
            key = (
                self.qemu.argv,
                self.spec.machine,
                self.spec.cpu,
                self.spec.el2,
                self.spec.mte,
                self.spec.gic_version,
                self.spec.accel,
                self.spec.options,
                self.spec.arguments,
            )
            target = self._workshop.targets.known.get(key)
            if target is None:
                target = self._workshop.targets.known[key] = stub.target()
            vcpus = [stub.registers(target, thread) for thread in stub.threads()]
        state = State.from_gdb(dict(enumerate(vcpus)))
        self.timeline.add(self.side, "look", f"{len(state.registers)} registers of {len(vcpus)} vCPUs")
        return state

    def quit(self, deadline: Deadline) -> None:
        """End the process in order and wait until it is gone."""
        if self.process.poll() is None:
            self.execute("quit")
        self.end_well(deadline)

    def dismiss(self) -> None:
        """Tell the process to end, without waiting for it: whoever judges the case sees how it did (`dismissed`)."""
        self.dismissed = True
        self.execute("quit")

    def connect(self, name: str) -> socket.socket:
        """Connect to one of its sockets: `console`, `gdb` or a virtio-serial port's name. Raises HostFailure, QemuFailure."""
        try:
            return self.host.connect(self.place / name)
        except HostFailure as error:
            self.check_alive()
            raise QemuFailure(f"its socket {name} cannot be reached: {error.what}", where=self.side) from error

    def send_fd(self, name: str, fd: int) -> None:
        """Hand a descriptor to QEMU under a name. Raises Unsupported where its host cannot carry one."""
        if self.host is not self._workshop.desk:
            raise Unsupported("descriptors cannot be handed to a QEMU on another host", where=self.host.name)
        self.qmp.send_fd(name, fd, deadline=Deadline.after(COMMAND_SECONDS))

    def on_close(self, callback: Callable[[], object]) -> None:
        """Have something that was opened for this machine closed with it."""
        self._open.callback(callback)

    def kill(self) -> None:
        """Kill the process at once (SIGKILL), as a fault."""
        self.timeline.add(self.side, "kill", "SIGKILL")
        self._killed = True
        self.process.kill()

    # -- what is heard from it

    def on_event(self, heard: Callable[[Event], object]) -> None:
        """Have `heard` called by the I/O thread with each event to come; what it does has to be quick."""
        self.qmp.hearers.append(heard)

    def wait_event(self, name: str, deadline: Deadline, *, since: int = 0, **data: object) -> Event:
        """Return the first event of that name, from index `since` on, whose data has the given items.

        Raises QemuFailure when the process ends first, DeadlineExpired.
        """

        def answer() -> Event | None:
            for event in self.qmp.events[since:]:
                if event.name == name and all(event.data.get(key) == value for key, value in data.items()):
                    return event
            self.check_alive()
            return None

        return self._hub.until(answer, deadline, f"the event {name} from {self.side}")

    def until(self, answer: Callable[[], T | None], deadline: Deadline, what: str) -> T:
        """Return the first answer that is not None; asked again after everything heard from any machine. As `Hub.until`."""
        return self._hub.until(answer, deadline, what)

    def settle(self, deadline: Deadline) -> bool:
        """Give a process that seems to be going until the deadline to go, so that its last words are complete."""
        return self.process.wait(deadline) is not None

    def wait_exit(self, deadline: Deadline) -> int:
        """Wait until the process is gone and return its exit status (negative: the signal's number)."""
        return self._hub.until(self.process.poll, deadline, f"{self.side} to exit")

    def end_well(self, deadline: Deadline) -> None:
        """As `AnyMachine.end_well`."""
        if self.wait_exit(deadline):
            self.check_alive()

    def check_alive(self) -> None:
        """Raise QemuFailure with the exit status and QEMU's last words if the process is gone, HostFailure if its host is."""
        self.host.check()
        if (how := self.ending()) is None:
            return
        words = self.last_words()
        raise QemuFailure(f"QEMU {how}" + (f": {words}" if words else ""), where=self.side)

    def check_end(self) -> None:
        """Raise as `check_alive` where the process has died of a signal that is none of ours: it has crashed."""
        status = self.process.poll()
        if status is not None and status < 0 and not (self._killed and status == -signal.SIGKILL):
            self.check_alive()

    def ending(self) -> str | None:
        """Return how the process ended, in words, or None while it runs."""
        status = self.process.poll()
        return None if status is None else how_it_ended(status)

    def _soon(self) -> Deadline:
        return Deadline.after(COMMAND_SECONDS * (_TIMES_UNDER_KVM if self.spec.accel == "kvm" else 1))

    def _console_closed(self) -> None:
        """Say how the process ended, its console having closed; the exit itself may be heard a moment later."""
        self.settle(Deadline.after(COMMAND_SECONDS))
        self.check_alive()

    def _check_events(self) -> None:
        """Raise GuestFailure when an event says that the guest will not go on, HostFailure when its host is lost."""
        self.host.check()
        for event in self.qmp.events:
            if event.name in _FATAL_EVENTS:
                raise GuestFailure(f"QEMU reports {event}", where=self.side)

    def stderr(self) -> str:
        """Return all that QEMU wrote to its standard error."""
        path = self.directory / "stderr.log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def last_words(self) -> str:
        """Return what QEMU wrote to stderr, on one line, without its program name, with names for registers."""
        # What it has to say of two vCPUs is the same twice.
        distinct = dict.fromkeys(line.removeprefix("qemu-system-aarch64: ") for line in self.stderr().splitlines())
        return sysregs.named("; ".join([*distinct][-6:]))

    # -- its end

    def close(self) -> None:
        """Kill the process if it runs, reap it, and close every connection. May be called twice."""
        self._killed = True
        with suppress(HostFailure):  # lost, and the process with it
            self.process.kill()
            self.process.wait(Deadline.after(COMMAND_SECONDS))
        self._open.close()
        self.process.close()

    def _exited(self) -> None:
        self.timeline.add(self.side, "exit", "the process is gone")
        self._hub.heard()
