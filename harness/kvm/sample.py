"""A VM on some host that runs nothing: its vCPUs are there to be asked which registers they have, and what these may hold.

    with KvmMachine(spec, qemu, workshop, timeline, side="source", start=Start.INCOMING) as machine:
        sample = Samples(machine).at("vhe")
        sample.write({"ID_AA64MMFR1_EL1": 0x1000})

Registers have their names of `harness.state.kvm_ids`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import KernelFailure, Unsupported
from harness.kvm.machine import KvmMachine
from harness.kvm.registers import masks_of
from harness.state.kvm_ids import name_of
from harness.state.sysregs import Field

# KVM_CAP_ARM_WRITABLE_IMP_ID_REGS: MIDR_EL1, REVIDR_EL1 and AIDR_EL1 can be written, as the masks always say.
WRITABLE_IMPLEMENTATION = 239
# The features of EL2 that a vCPU of each level has.
LEVELS: Mapping[str, tuple[str, ...]] = {"el1": (), "vhe": ("el2",), "nvhe": ("el2", "e2h0")}


@dataclass(frozen=True)
class Answer:
    """What became of a write: errno (0: taken), and the register's value after it, None where there is no such register."""

    errno: int
    value: int | None


@dataclass(frozen=True)
class Taken:
    """What comes of a value that a part of a register takes: the value that it holds, and registers that there are no more."""

    held: int
    gone: tuple[str, ...] = ()


class VcpusRefused(KernelFailure):
    """KVM_ARM_VCPU_INIT refuses a vCPU: its number, and errno."""

    def __init__(self, vcpu: int, number: int, *, where: str) -> None:
        super().__init__(f"KVM_ARM_VCPU_INIT refuses vCPU {vcpu} with errno {number}", where=where)
        self.vcpu, self.errno = vcpu, number


class Samples:
    """Makes samples on one host, each in place of the one before."""

    def __init__(self, machine: KvmMachine) -> None:
        self._machine = machine
        self.offered: Mapping[str, bool] = machine.execute("offer")

    def kind(self, level: str) -> tuple[str, ...]:
        """Return the features of vCPUs of a level: what the host offers, and of EL2 what the level is. Raises Unsupported."""
        missing = [feature for feature in LEVELS[level] if not self.offered[feature]]
        if missing:
            raise Unsupported(f"KVM does not offer {' nor '.join(missing)} for vCPUs", where=self._machine.host.name)
        rest = (feature for feature, there in self.offered.items() if there and feature not in LEVELS["nvhe"])
        return (*rest, *LEVELS[level])

    def at(self, level: str, *capabilities: int) -> Sample:
        """Return a vCPU of a level, in a VM with capabilities as far as the host has them. Raises Unsupported, and as `of`."""
        return self.of(self.kind(level), capabilities=capabilities)

    def of(self, *kinds: Sequence[str], capabilities: Sequence[int] = ()) -> Sample:
        """Return vCPUs with these features each (`vmm.FEATURES`). Raises VcpusRefused, and as `KvmMachine.execute`."""
        wanted = [list(kind) for kind in kinds]
        if refused := self._machine.execute("sample", kinds=wanted, capabilities=list(capabilities)):
            raise VcpusRefused(refused["vcpu"], refused["errno"], where=self._machine.host.name)
        return Sample(self._machine, kinds)


class Sample:
    """The vCPUs of one VM; `kinds` are the features of each."""

    def __init__(self, machine: KvmMachine, kinds: Sequence[Sequence[str]]) -> None:
        self.kinds = kinds
        self._machine = machine
        self._ids: dict[str, int] = {}

    def registers(self, vcpu: int = 0) -> dict[str, int]:
        """Return every register of KVM_GET_REG_LIST by name, in the kernel's order."""
        found = {int(register, 16): value for register, value in self._machine.execute("read", vcpu=vcpu).items()}
        self._ids |= {name_of(register): register for register in found}
        return {name_of(register): int.from_bytes(bytes.fromhex(value), "little") for register, value in found.items()}

    def write(self, values: Mapping[str, int] | Iterable[tuple[str, int]], vcpu: int = 0) -> list[Answer]:
        """Write registers that `registers` has named, one after the other."""
        pairs = values.items() if isinstance(values, Mapping) else values
        writes = [item for name, value in pairs for item in self.encoded({name: value}).items()]
        return [Answer(number, _number(now)) for number, now in self._machine.execute("write", writes=writes, vcpu=vcpu)]

    def encoded(self, values: Mapping[str, int]) -> dict[str, str]:
        """Return registers that `registers` has named by KVM's id, and values little-endian (`MachineSpec.written`)."""
        return {f"{(number := self._ids[name]):#x}": _bytes(number, value) for name, value in values.items()}

    def takes(self, parts: Mapping[str, Sequence[Field]]) -> dict[str, dict[int, dict[int, Taken]]]:
        """Return which other values parts of registers take: register -> lowest bit -> value -> what comes of it."""
        asked = {f"{self._ids[name]:#x}": [(part.lsb, part.width) for part in each] for name, each in parts.items()}
        found = self._machine.execute("takes", registers=asked)

        def came(held: int, gone: Sequence[str]) -> Taken:
            return Taken(held, tuple(name_of(int(each, 16)) for each in gone))

        return {
            name_of(int(register, 16)): {
                int(low): {int(value): came(*each) for value, each in values.items()} for low, values in taken.items()
            }
            for register, taken in found.items()
        }

    def masks(self) -> dict[str, int]:
        """Return the writable bits of each feature ID register by name, as the kernel announces them (api.rst, 4.139)."""
        return masks_of(self._machine.execute("masks"))

    def gic(self) -> Any:
        """Return the GIC's registers, as `vmm.Gic.state`."""
        return self._machine.execute("gic")

    def write_gic(self, *writes: tuple[str, int, int]) -> list[Answer]:
        """Write 32-bit registers of the GIC in turn: `distributor` or `redistributor` (the first), offset, value."""
        return [Answer(*each) for each in self._machine.execute("gic_write", writes=writes)]

    def init_again(self, *features: str, vcpu: int = 0) -> int:
        """Initialise a vCPU once more; return errno."""
        return int(self._machine.execute("init", features=list(features), vcpu=vcpu))

    def enter(self, vcpu: int = 0) -> None:
        """Have a vCPU enter the guest for the first time, and come back before its first instruction."""
        self._machine.execute("enter", vcpu=vcpu)


def _bytes(register: int, value: int) -> str:
    return value.to_bytes(1 << (register >> 52 & 0xF), "little").hex()


def _number(value: str | None) -> int | None:
    return None if value is None else int.from_bytes(bytes.fromhex(value), "little")
