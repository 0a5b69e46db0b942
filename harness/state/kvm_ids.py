"""Names by KVM's register ids, of arch/arm64/include/uapi/asm/kvm.h.

A vCPU's registers have the architecture's names, so that CNTV_CVAL_EL0 and CNTVCT_EL0, which have each other's place there,
have their own here. Firmware registers are `KVM_PSCI_VERSION` in a view of KVM's, and a number in one of QEMU's stream
(`sysregs.name_of_id`), which messages spell as the kernel does, KVM_REG_ARM_PSCI_VERSION (`in_words`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from harness.state import sysregs

SWAPPED: Mapping[str, str] = MappingProxyType({"CNTV_CVAL_EL0": "CNTVCT_EL0", "CNTVCT_EL0": "CNTV_CVAL_EL0"})
"""The two names that have each other's place in KVM's numbering (KVM_REG_ARM_TIMER_CVAL and KVM_REG_ARM_TIMER_CNT)."""

# struct kvm_regs, in 32-bit words: user_pt_regs (x0 to x30, sp, pc, pstate), sp_el1, elr_el1, five SPSRs, V0 to V31, two more.
_CORE_NAMES: Mapping[int, str] = (
    {2 * n: f"X{n}" for n in range(31)}
    | {62: "SP_EL0", 64: "PC", 66: "PSTATE", 68: "SP_EL1", 70: "ELR_EL1"}
    | {72 + 2 * n: f"SPSR_{name}" for n, name in enumerate(("EL1", "ABT", "UND", "IRQ", "FIQ"))}
    | {84 + 4 * n: f"V{n}" for n in range(32)}
    | {212: "FPSR", 213: "FPCR"}
)
# Firmware registers (Documentation/virt/kvm/arm/fw-pseudo-registers.rst) by bits 31:16 of the id; the rest is the place here.
_FIRMWARE: Mapping[int, tuple[str, ...]] = {
    0x14: ("PSCI_VERSION", "SMCCC_ARCH_WORKAROUND_1", "SMCCC_ARCH_WORKAROUND_2", "SMCCC_ARCH_WORKAROUND_3"),
    0x16: ("STD_BMAP", "STD_HYP_BMAP", "VENDOR_HYP_BMAP", "VENDOR_HYP_BMAP_2"),
}
_VECTOR_LENGTHS = 0xFFFF


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
            name = SWAPPED.get(name, name)
        case 0x14 | 0x16:
            name = f"KVM_{short}" if (short := _firmware(kind, low)) else None
        case 0x15:
            name = _vector(low)
        case _:
            name = None
    return name or f"{register:#018x}"


def in_words(name: str) -> str:
    """Return the kernel's name for a firmware register that a stream's view names by its id; another name as it is."""
    if not re.fullmatch(r"0x60300000001[46][0-9a-f]{4}", name):
        return name
    short = _firmware(int(name, 16) >> 16 & 0xFFFF, int(name, 16) & 0xFFFF)
    return f"KVM_REG_ARM_{short}" if short else name


def _firmware(kind: int, low: int) -> str:
    names = _FIRMWARE.get(kind, ())
    return names[low] if low < len(names) else ""


def _vector(low: int) -> str:
    if low == _VECTOR_LENGTHS:
        return "KVM_SVE_VLS"
    number, part = low >> 5 & 0x1F, low & 0x1F
    name = f"Z{number}" if low < 0x400 else f"P{number & 15}" if low < 0x600 else "FFR"
    return f"{name}[{part}]" if part else name
