"""Names of what `vmm.py` saves: KVM's register ids, and the GIC's registers by offset. Pure.

The ids are of arch/arm64/include/uapi/asm/kvm.h; names are the architecture's, so that CNTV_CVAL_EL0 and CNTVCT_EL0, which have
each other's place there, have their own here. What has no name is shown by its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from harness.state import sysregs
from harness.state.model import State, Value

_SWAPPED = {"CNTV_CVAL_EL0": "CNTVCT_EL0", "CNTVCT_EL0": "CNTV_CVAL_EL0"}

# struct kvm_regs, in 32-bit words: user_pt_regs (x0 to x30, sp, pc, pstate), sp_el1, elr_el1, five SPSRs, V0 to V31, two more.
_CORE_NAMES: Mapping[int, str] = (
    {2 * n: f"X{n}" for n in range(31)}
    | {62: "SP_EL0", 64: "PC", 66: "PSTATE", 68: "SP_EL1", 70: "ELR_EL1"}
    | {72 + 2 * n: f"SPSR_{name}" for n, name in enumerate(("EL1", "ABT", "UND", "IRQ", "FIQ"))}
    | {84 + 4 * n: f"V{n}" for n in range(32)}
    | {212: "FPSR", 213: "FPCR"}
)
_FIRMWARE_NAMES = ("PSCI_VERSION", "SMCCC_ARCH_WORKAROUND_1", "SMCCC_ARCH_WORKAROUND_2", "SMCCC_ARCH_WORKAROUND_3")
_MAP_NAMES = ("STD_BMAP", "STD_HYP_BMAP", "VENDOR_HYP_BMAP", "VENDOR_HYP_BMAP_2")
_VECTOR_LENGTHS = 0xFFFF

# Arm IHI 0069, 12.8 to 12.20: offset of the first, name; the rows for interrupts have as many as there are.
_DISTRIBUTOR: Mapping[int, str] = {0x00: "GICD_CTLR", 0x08: "GICD_IIDR", 0x10: "GICD_STATUSR"}
_REDISTRIBUTOR: Mapping[int, str] = {0x00: "GICR_CTLR", 0x10: "GICR_STATUSR", 0x14: "GICR_WAKER",
                                       0x70: "GICR_PROPBASER", 0x74: "GICR_PROPBASER[63:32]", 0x78: "GICR_PENDBASER",
                                       0x7C: "GICR_PENDBASER[63:32]"}  # fmt: skip
_ITS: Mapping[int, str] = {0x00: "GITS_CTLR", 0x04: "GITS_IIDR", 0x80: "GITS_CBASER", 0x88: "GITS_CWRITER", 0x90: "GITS_CREADR"}
_ROWS = (("IGROUPR", 0x80), ("ISENABLER", 0x100), ("ISPENDR", 0x200), ("ISACTIVER", 0x300), ("IPRIORITYR", 0x400),
         ("ICFGR", 0xC00))  # fmt: skip


def name_of(register: int) -> str:
    """Return the name of a register by its KVM id."""
    kind, low = register >> 16 & 0xFFFF, register & 0xFFFF
    match kind:
        case 0x10:
            name = _CORE_NAMES.get(low)
        case 0x11 if low >> 8 == 0:
            name = f"CCSIDR[{low}]"
        case 0x13:
            name = sysregs.name_of(low >> 14, low >> 11 & 7, low >> 7 & 15, low >> 3 & 15, low & 7)
            name = _SWAPPED.get(name, name)
        case 0x14 if low < len(_FIRMWARE_NAMES):
            name = f"KVM_{_FIRMWARE_NAMES[low]}"
        case 0x15:
            name = _vector(low)
        case 0x16 if low < len(_MAP_NAMES):
            name = f"KVM_{_MAP_NAMES[low]}"
        case _:
            name = None
    return name or f"{register:#018x}"


def _vector(low: int) -> str:
    if low == _VECTOR_LENGTHS:
        return "KVM_SVE_VLS"
    number, part = low >> 5 & 0x1F, low & 0x1F
    name = f"Z{number}" if low < 0x400 else f"P{number & 15}" if low < 0x600 else "FFR"
    return f"{name}[{part}]" if part else name


def name_of_gic(part: str, register: str) -> str:
    """Return the name of a register of the GIC; `part` is `distributor`, `redistributor N`, `cpu N`, `its`."""
    kind = part.partition(" ")[0]
    try:
        at = int(register, 16)
    except ValueError:
        return register
    match kind:
        case "distributor":
            return _row("GICD", _DISTRIBUTOR, at)
        case "redistributor":
            return _row("GICR", _REDISTRIBUTOR, at - 0x10000 if at >= 0x10080 else at)
        case "cpu":
            return sysregs.name_of(at >> 14, at >> 11 & 7, at >> 7 & 15, at >> 3 & 15, at & 7)
        case "its":
            return _ITS.get(at) or (f"GITS_BASER{(at - 0x100) // 8}" if at in range(0x100, 0x140, 8) else f"GITS+{at:#x}")
    return f"{part} {register}"


def _row(prefix: str, names: Mapping[int, str], at: int) -> str:
    if at in names:
        return names[at]
    if at % 4:
        return f"{prefix}+{at:#x}"
    if at >= 0x6000:
        return f"{prefix}_IROUTER{(at - 0x6000) // 8}" + ("[63:32]" if at & 4 else "")
    name, first = max((row for row in _ROWS if row[1] <= at), key=lambda row: row[1], default=("", at))
    return f"{prefix}_{name}{(at - first) // 4}" if name else f"{prefix}+{at:#x}"


def state_of(look: Mapping[str, Any]) -> State:
    """Return the state that `vmm.py` shows of a stopped machine: vCPUs, GIC, its devices, and its memory's digest."""
    return State("kvm", dict(_all(look)))


def _all(look: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for number, vcpu in enumerate(look["vcpus"]):
        for register, value in vcpu["registers"].items():
            name = name_of(int(register, 16))
            number_of = int.from_bytes(bytes.fromhex(value), "little")
            yield f"cpu{number}/{name}", number_of
            if name[0] == "Z" and name[1:].isdigit():
                yield f"cpu{number}/V{name[1:]}", number_of & (1 << 128) - 1
        yield f"cpu{number}/KVM_VCPU_EVENTS", bytes.fromhex(vcpu["events"])
        yield f"cpu{number}/KVM_MP_STATE", vcpu["mp_state"]
    yield from _gic(look["gic"])
    for device, fields in look["devices"].items():
        for field, value in fields.items():
            yield f"{device}/{field}", repr(value).encode("ascii")
    if "memory" in look:
        yield "memory/crc32", look["memory"]


def _gic(gic: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for at, value in gic["distributor"].items():
        yield f"gicv3/{name_of_gic('distributor', at)}", value
    for number, registers in enumerate(gic["redistributors"]):
        for at, value in registers.items():
            yield f"cpu{number}/{name_of_gic('redistributor', at)}", value
        for at, value in gic["cpus"][number].items():
            yield f"cpu{number}/{name_of_gic('cpu', at)}", value
        yield f"cpu{number}/GICR_LINES", gic["levels"]["ppis"][number]
    for row, value in enumerate(gic["levels"]["spis"], 1):
        yield f"gicv3/GICD_LINES{row}", value
    for at, value in gic["its"].items():
        yield f"its/{name_of_gic('its', at)}", value
