"""What a machine is, and the command line that makes it: data in, argument list out.

The command line is a pure function of the spec and of the wiring (descriptors and paths that differ from run to run), so it
is tested without QEMU, and two machines with equal specs differ in their wiring only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePath


class Start(StrEnum):
    """How a machine begins."""

    RUNNING = "running"
    # At the first instruction, stopped: to be looked at, or to have a snapshot loaded into it.
    PAUSED = "paused"
    # Empty and stopped, awaiting a migration stream.
    INCOMING = "incoming"


@dataclass(frozen=True)
class MemoryFile:
    """A file that is the machine's memory: written through (`private` False), or mapped copy-on-write and left as it is.

    With migration's capability x-ignore-shared, a state saved beside a written one and a machine that maps it privately make
    a template that many machines start from (docs/devel/migration in QEMU's tree).
    """

    path: PurePath
    private: bool


@dataclass(frozen=True)
class MachineSpec:
    """One arm64 `virt` machine. Sizes in MiB."""

    kernel: PurePath
    append: str = ""
    initrd: PurePath | None = None
    cpu: str = "max"
    vcpus: int = 1
    # The payloads need less; QEMU's device tree lies at 128 MiB or in the upper half of smaller memories.
    memory_mib: int = 32
    # EL2 for the guest: virtualization=on (hw/arm/virt.c). Without it the guest is entered at EL1.
    el2: bool = False
    # Under KVM, a guest at EL2 whose HCR_EL2.E2H is 0 for good (KVM_ARM_VCPU_HAS_EL2_E2H0). QEMU has no switch for it; most of
    # its own CPUs let the guest choose.
    e2h0: bool = False
    # Memory with allocation tags: mte=on (hw/arm/virt.c).
    mte: bool = False
    # Under KVM, counters that are set by KVM_ARM_SET_COUNTER_OFFSET, which QEMU does not use, and not by their registers.
    by_offset: bool = False
    # Likewise, registers of each vCPU that have another value than at reset: KVM's id -> value, little-endian, in hexadecimal.
    written: Mapping[str, str] = field(default_factory=dict)
    accel: str = "tcg"
    # None where the board has no such choice.
    gic_version: int | None = 3
    machine: str = "virt"
    # What the console is to the guest: `pl011`, or `virtio`, which takes a whole line with one access. Under KVM each access to
    # a device is an exit to QEMU.
    console: str = "pl011"
    memory_file: MemoryFile | None = None
    # Names of virtio-serial ports; each is a Unix socket in the machine's private directory.
    ports: tuple[str, ...] = ()
    # What else it is, in QEMU's words: options of `-machine` (`its=off`), and any arguments (`-device`, `virtio-rng-pci`).
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wiring:
    """How one process is reached. All paths are on its host."""

    # The chardev backend of its standard input and output, which carry QMP: a socket where it is one, else `stdio`.
    qmp: str
    # Private; the sockets `console`, `gdb` and one for each virtio-serial port are made in it.
    directory: PurePath
    start: Start = Start.RUNNING


# ioeventfd=off: QEMU has read the line when the guest's store returns, so that what was said before a stop is heard.
_CONSOLES = {
    "pl011": ("-serial", "chardev:console"),
    "virtio": (
        "-device", "virtio-serial-device,bus=virtio-mmio-bus.0,max_ports=1",
        "-device", "virtconsole,chardev=console",
        "-global", "virtio-mmio.ioeventfd=off",
    ),
}  # fmt: skip


def arguments(spec: MachineSpec, wiring: Wiring) -> list[str]:
    """Return QEMU's arguments, without the program.

    Every machine begins stopped: one that should run is told to when QMP is connected, so no event is missed and no guest is
    gone before anybody listens.
    """
    options = [spec.machine]
    if spec.gic_version is not None:
        options.append(f"gic-version={spec.gic_version}")
    if spec.el2:
        options.append("virtualization=on")
    if spec.mte:
        options.append("mte=on")
    if spec.memory_file:
        options.append("memory-backend=ram")
    options += spec.options
    # fmt: off
    argv = [
        # No default devices: the default NIC wants a ROM file that distributions package apart.
        "-nodefaults", "-no-user-config", "-nic", "none", "-display", "none",
        "-machine", ",".join(options),
        "-accel", spec.accel,
        "-cpu", spec.cpu,
        "-smp", str(spec.vcpus),
        "-m", f"{spec.memory_mib}M",
        "-kernel", str(spec.kernel),
        "-append", spec.append,
        # Before QMP: once QEMU has greeted us, whoever connects to these is heard.
        *_socket("console", wiring),
        *_CONSOLES[spec.console],
        "-gdb", f"unix:{wiring.directory / 'gdb'},server=on,wait=off",
        "-S",
    ]
    # fmt: on
    if spec.initrd:
        argv += ["-initrd", str(spec.initrd)]
    if spec.memory_file:
        how = "share=off,readonly=on,rom=off" if spec.memory_file.private else "share=on"
        argv += ["-object", f"memory-backend-file,id=ram,size={spec.memory_mib}M,mem-path={spec.memory_file.path},{how}"]
    if spec.ports:
        # With an id, QEMU tells by the event VSERPORT_CHANGE when the guest opens and closes it (qapi/char.json).
        argv += ["-device", "virtio-serial-pci,romfile="]
        for port in spec.ports:
            argv += [*_socket(port, wiring), "-device", f"virtserialport,id={port},chardev={port},name={port}"]
    argv += spec.arguments
    if wiring.start is Start.INCOMING:
        argv += ["-incoming", "defer"]
    return [*argv, "-chardev", f"{wiring.qmp},id=qmp", "-qmp", "chardev:qmp"]


def _socket(name: str, wiring: Wiring) -> list[str]:
    return ["-chardev", f"socket,id={name},path={wiring.directory / name},server=on,wait=off"]
