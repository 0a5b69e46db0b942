"""What a machine is, and the command line that makes it: data in, argument list out.

The command line is a pure function of the spec and of the wiring (descriptors and paths that differ from run to run), so it
is tested without QEMU, and two machines with equal specs differ in their wiring only.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Start(StrEnum):
    """How a machine begins."""

    RUNNING = "running"
    # At the first instruction, stopped: to be looked at, or to have a snapshot loaded into it.
    PAUSED = "paused"
    # Empty and stopped, awaiting a migration stream.
    INCOMING = "incoming"


@dataclass(frozen=True)
class MachineSpec:
    """One arm64 `virt` machine. Sizes in MiB."""

    kernel: Path
    append: str = ""
    cpu: str = "max"
    vcpus: int = 1
    # The payloads need less; QEMU's device tree lies at 128 MiB or in the upper half of smaller memories.
    memory_mib: int = 32
    # EL2 for the guest: virtualization=on (hw/arm/virt.c). Without it the guest is entered at EL1.
    el2: bool = False
    accel: str = "tcg"
    gic_version: int = 3
    machine: str = "virt"


@dataclass(frozen=True)
class Wiring:
    """How one process is reached: inherited descriptors for QMP and console, a private socket path for gdb."""

    qmp_fd: int
    console_fd: int
    gdb_path: Path
    start: Start = Start.RUNNING


def arguments(spec: MachineSpec, wiring: Wiring) -> list[str]:
    """Return QEMU's arguments, without the program.

    Every machine begins stopped: one that should run is told to when QMP is connected, so no event is missed and no guest is
    gone before anybody listens.
    """
    options = [spec.machine, f"gic-version={spec.gic_version}"]
    if spec.el2:
        options.append("virtualization=on")
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
        "-chardev", f"socket,id=console,fd={wiring.console_fd}",
        "-serial", "chardev:console",
        "-chardev", f"socket,id=qmp,fd={wiring.qmp_fd}",
        "-qmp", "chardev:qmp",
        "-gdb", f"unix:{wiring.gdb_path},server=on,wait=off",
        "-S",
    ]
    # fmt: on
    if wiring.start is Start.INCOMING:
        argv += ["-incoming", "defer"]
    return argv
