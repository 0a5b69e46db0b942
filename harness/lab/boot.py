"""Boots a lab: QEMU machine, kernel, init, up to the point where its control port is ready.

Every end of the wait has a name: the kernel panicked, its init gave up, QEMU ended, the deadline passed.
"""

from __future__ import annotations

import hashlib
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from harness.assets.lab import LabAssets
from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostFailure, Suspect, UsageError
from harness.events import Timeline
from harness.lab.console_log import ConsoleLog
from harness.lab.control import Control
from harness.qemu.machine import Machine, Workshop
from harness.qemu.qmp import Event
from harness.qemu.spec import MachineSpec, MemoryFile, Start

CPU = "neoverse-n2"
"""A CPU that exists, and half as dear to emulate as `max`. Who wants that says `max,lpa2=off`: with lpa2 on, physical
addresses have 52 bits and it takes KVM seconds to destroy a VM."""
BOOT_SECONDS = 120.0
# To be raised when templates are made differently or hold something else.
_TEMPLATE = 2

# console: PL011. panic: reset at once, at which QEMU is told to exit. loglevel: warnings and worse to the
# console, where the harness watches; the rest is in dmesg, and each byte of it would cost an emulated device access.
_APPEND = "console=ttyAMA0 kvm-arm.mode=nested panic=-1 loglevel=5"

# No pointer authentication, neither for the kernel nor for its guests: under TCG a kernel that signs its return addresses, as
# Debian's do, takes twice as long for everything. Who wants to test it leaves this out.
NO_PAUTH = "arm64.nopauth"

# dropbear wants a socket: on a serial port it ends with `Failed socket address`. So it listens on the lab's own loopback, where
# only the lab can reach it, and a started lab connects the port with it. -R: the host key is read when somebody connects, so
# that the server is part of the template and its key is not. -s: no passwords.
_SSH_SERVER = "dropbear -R -E -s -m -p 127.0.0.1:22 2>/run/dropbear.log"

# No parameter in sysfs tells the mode (arch/arm64/kvm/arm.c has it as an early parameter), so the kernel's log has to.
_KVM_QUESTION = "{ [ -c /dev/kvm ] && echo device; dmesg | grep -E 'kvm|Nested|started at'; } >&3; true"
_STAMP = re.compile(r"^(<\d+>)?\[ *\d+\.\d+\] ?")
_OPEN, _CLOSED = (Event("VSERPORT_CHANGE", {"id": "ssh", "open": state}) for state in (True, False))
_MODE = re.compile(r"kvm \[\d+\]: (.*?) ?mode initialized successfully")


@dataclass(frozen=True)
class LabSpec:
    """What a lab is made of. Two labs with equal specs and the same QEMU start from the same template. Sizes in MiB."""

    # On the host that its machine runs on.
    kernel: PurePath
    initramfs: PurePath
    # Says which bytes these two files hold.
    content: str
    accel: str = "tcg"
    cpu: str = CPU
    vcpus: int = 2
    memory_mib: int = 2048
    # More words for the kernel's command line.
    append: str = NO_PAUTH
    # Whether its memory has allocation tags, and its KVM with them something to offer (FEAT_MTE2).
    mte: bool = False

    @classmethod
    def of(cls, assets: LabAssets, **choices: Any) -> LabSpec:
        """Return a lab of these assets; `choices` are its other fields."""
        return cls(assets.kernel, assets.initramfs, assets.key, **choices)

    def key(self, qemu: QemuBinary) -> str:
        """Return the name of the template that this lab starts from under a QEMU."""
        programs = [Path(word) for word in qemu.argv if Path(word).is_file()]
        stamps = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in programs]
        parts = (
            _TEMPLATE,
            self.content,
            self.cpu,
            self.vcpus,
            self.memory_mib,
            self.command_line,
            self.mte,
            qemu.argv,
            qemu.version_text,
            stamps,
        )
        return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]

    @property
    def command_line(self) -> str:
        """The kernel's command line."""
        return f"{_APPEND} {self.append}".rstrip()

    def machine(self, memory_file: MemoryFile | None = None) -> MachineSpec:
        """Return the machine that it is."""
        return MachineSpec(
            kernel=self.kernel,
            initrd=self.initramfs,
            append=self.command_line,
            accel=self.accel,
            cpu=self.cpu,
            vcpus=self.vcpus,
            memory_mib=self.memory_mib,
            el2=True,
            mte=self.mte,
            memory_file=memory_file,
            ports=("control", "ssh"),
        )


@dataclass(frozen=True)
class Powered:
    """A lab's machine with its init at the control port."""

    machine: Machine
    control: Control
    ssh: socket.socket
    log: ConsoleLog

    @property
    def kernel(self) -> Suspect:
        """Which kernel runs in it: the one below all, or a guest hypervisor's."""
        return Suspect.KERNEL_L0 if self.machine.spec.accel == "tcg" else Suspect.KERNEL_L1

    def cause(self) -> HostFailure | None:
        """Return why the lab is lost, None where it is not. A process that seems to be going has two seconds to go."""
        self.machine.settle(Deadline.after(2))
        where = self.machine.side
        if line := self.log.panic():
            return HostFailure(f"its kernel panicked: {line}", where=where, suspect=self.kernel)
        if line := self.log.init_gave_up():
            return HostFailure(f"its init gave up: {line}", where=where, suspect=Suspect.CONFIGURATION)
        how = self.machine.ending()
        if how is None:
            return None
        if how == "exited with status 0":
            return HostFailure("it was powered off or reset from inside", where=where)
        words = self.machine.last_words()
        return HostFailure(f"its QEMU {how}" + (f": {words}" if words else ""), where=where)

    def hang_up(self, event: Event) -> None:
        """End the connection to its SSH server when that has closed the port: nobody else would hear of it.

        A port that is restored closed is told as closed too, and late where another event held that back: not before it
        was open.
        """
        if event == _CLOSED and _OPEN in self.machine.qmp.events:
            with suppress(OSError):  # it is closed
                self.ssh.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the loss of a connection to the lab, or a wait in vain, into why it was lost, where that is known."""
        try:
            yield
        except (HostFailure, DeadlineExpired) as error:
            if cause := self.cause():
                raise cause from error
            raise


def cold(
    spec: LabSpec, qemu: QemuBinary, workshop: Workshop, timeline: Timeline, *, name: str, memory: Path | None = None
) -> Powered:
    """Start a lab's machine and boot it to READY; `memory` is a new file to keep its memory in. The caller closes the machine.

    Raises HostFailure (a panic, QEMU gone), DeadlineExpired.
    """
    machine_spec = spec.machine(MemoryFile(memory, private=False) if memory else None)
    with powered(machine_spec, qemu, workshop, timeline, name=name, start=Start.PAUSED) as lab:
        lab.machine.cont()
        try:
            lab.control.ready(Deadline.after(BOOT_SECONDS))
        except DeadlineExpired as error:
            last = lab.log.since()[-1:] or ["nothing"]
            raise DeadlineExpired(
                f"the kernel did not come to the lab's init in {BOOT_SECONDS:.0f} s; its console ends with {last[0]!r}",
                where=name,
                remedy="the kernel needs what `harness setup --lab-kernel` checks for",
                suspect=lab.kernel,
            ) from error
        timeline.add(name, "lab", "READY")
        lab.control.run(_SSH_SERVER, Deadline.after(30))
        return lab


@contextmanager
def powered(
    spec: MachineSpec, qemu: QemuBinary, workshop: Workshop, timeline: Timeline, *, name: str, start: Start
) -> Iterator[Powered]:
    """Start the machine of a lab, stopped, and connect its ports. What goes wrong in the block is explained and closes it."""
    machine = Machine(spec, qemu, workshop, timeline, side=name, start=start)
    machine.__enter__()
    try:
        # A panic makes the kernel reset the machine (panic=-1): let that end it.
        machine.execute("set-action", {"reboot": "shutdown"})
        control, ssh = machine.connect("control"), machine.connect("ssh")
        machine.on_close(control.close)
        machine.on_close(ssh.close)
        log = ConsoleLog(machine.directory / "console.log", machine.console.check_log)
        lab = Powered(machine, Control(control, name), ssh, log)
        with lab.explained():
            yield lab
    except BaseException:
        machine.close()
        raise


@dataclass(frozen=True)
class Kvm:
    """KVM in a lab: its mode in the kernel's words (`VHE+NV2`, `VHE`, ...), and why it is not nested, or an empty string.

    `cpu_has_nv2` says whether the kernel has found FEAT_NV2, without which it could not be.
    """

    mode: str
    nested_refused: str
    cpu_has_nv2: bool


def find_kvm(lab: Powered, spec: LabSpec) -> Kvm:
    """Return what KVM in the lab can do. Raises UsageError where the CPU has no EL2, HostFailure with KVM's own words."""
    answer = lab.control.run(_KVM_QUESTION, Deadline.after(30))
    log = [_STAMP.sub("", line) for line in answer if line != "device"]
    own_words = "; ".join(line for line in log if line.startswith("kvm [")) or "the kernel's log has no word of KVM"
    where = lab.machine.side
    if any("started at EL1" in line for line in log):
        raise UsageError(f"no EL2 on cpu {spec.cpu}", where=where, remedy="choose another --lab-cpu")
    modes = [found.group(1) for line in log if (found := _MODE.search(line))]
    if "device" not in answer or not modes:
        raise HostFailure(f"no /dev/kvm: {own_words}", where=where, suspect=lab.kernel)
    if "NV2" in modes[0]:
        return Kvm(modes[0], "", cpu_has_nv2=True)
    missing = any("unavailable: Nested" in line for line in log)
    why = f"FEAT_NV2 missing in cpu {spec.cpu}" if missing else own_words
    return Kvm(modes[0], f"nested mode refused: {why}", cpu_has_nv2=not missing)
