"""Names and fields of AArch64 system registers, and of the register ids that QEMU's migration stream and KVM use.

The id layout is KVM's UAPI: architecture in bits 63:60, size in 55:52, kind in 31:16. QEMU writes the same ids under
TCG. No register is ever dropped: what the table does not know is called by its
encoding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cache
from types import MappingProxyType

from harness.state.sysreg_table import ENCODINGS, FIELDS
from harness.state.sysreg_words import WORDS

Encoding = tuple[int, int, int, int, int]

# Bits 63:16 of the ids of AArch64 registers, and of 32-bit and 64-bit coprocessor registers.
_ARM64_SYSREG, _ARM_32, _ARM_64 = 0x603000000013, 0x402000000000, 0x403000000000
_NON_SECURE = 0x2000  # QEMU's own flag in the ids of AArch32 registers; the secure bank lacks it

# AArch32 registers that QEMU migrates in place of the AArch64 register they are mapped to (Arm ARM, AArch32 register
# pages).
_MAPPED = MappingProxyType({"cp15 c7,0": "PAR_EL1", "cp15 c9,0,c14,0": "PMUSERENR_EL0"})


@dataclass(frozen=True)
class Field:
    """One field of a register: its lowest bit and its width, both in bits."""

    name: str
    lsb: int
    width: int

    @property
    def mask(self) -> int:
        """The bits of the register that belong to the field."""
        return ((1 << self.width) - 1) << self.lsb

    def of(self, value: int) -> int:
        """Return the field's value within a register's `value`."""
        return (value & self.mask) >> self.lsb

    def put(self, value: int, into: int) -> int:
        """Return the register value `into` with this field set to `value`."""
        return into & ~self.mask | value << self.lsb & self.mask


class Sign(StrEnum):
    """How the number in a field is to be read (Arm ARM, D24.1.3)."""

    UNSIGNED = "unsigned"
    SIGNED = "signed"
    ENUMERATED = "enumerated"


@dataclass(frozen=True)
class Table:
    """Registers from elsewhere: names by encoding, and fields and their signs by name, `NAME+E2H` for another layout."""

    encodings: Mapping[Encoding, str] = field(default_factory=dict)
    fields: Mapping[str, tuple[Field, ...]] = field(default_factory=dict)
    signs: Mapping[str, Mapping[str, Sign]] = field(default_factory=dict)


_preferred: ContextVar[Table] = ContextVar("preferred registers", default=Table())  # noqa: B039


@contextmanager
def preferring(table: Table) -> Iterator[None]:
    """Let what another table has win over ours, for the time of the block."""
    token = _preferred.set(table)
    try:
        yield
    finally:
        _preferred.reset(token)


@cache
def by_encoding() -> Mapping[Encoding, str]:
    """Return the whole table, (op0, op1, CRn, CRm, op2) to name."""
    table: dict[Encoding, str] = {}
    for line in ENCODINGS.split("\n"):
        if not line:
            continue
        words = line.split()
        op0, op1, crn, crm, op2 = (int(word) for word in words[:5])
        for offset, name in enumerate(words[5:]):
            if name != "-":
                table[op0, op1, crn, crm, op2 + offset] = name
    for n in range(16):
        for op2, name in enumerate(("DBGBVR", "DBGBCR", "DBGWVR", "DBGWCR"), start=4):
            table[2, 0, 0, n, op2] = f"{name}{n}_EL1"
        for crm, name in ((4, "AMEVCNTR0"), (6, "AMEVTYPER0"), (12, "AMEVCNTR1"), (14, "AMEVTYPER1")):
            table[3, 3, 13, crm + n // 8, n % 8] = f"{name}{n}_EL0"
    for n in range(31):
        table[3, 3, 14, 8 + n // 8, n % 8] = f"PMEVCNTR{n}_EL0"
        table[3, 3, 14, 12 + n // 8, n % 8] = f"PMEVTYPER{n}_EL0"
    return MappingProxyType(table)


def name_of(op0: int, op1: int, crn: int, crm: int, op2: int) -> str:
    """Return the register's name, or `S3_0_C1_C0_0` (the assembler's generic form) for one the table lacks."""
    encoding = (op0, op1, crn, crm, op2)
    name = _preferred.get().encodings.get(encoding) or by_encoding().get(encoding)
    return name or f"S{op0}_{op1}_C{crn}_C{crm}_{op2}"


def name_of_id(regid: int) -> str:
    """Return the name of a 64-bit register id as KVM_GET_REG_LIST and QEMU's `cpreg_vmstate_indexes` give it.

    An AArch32 coprocessor register is `cp15 c1,0,c0,0` (CRn, opc1, CRm, opc2), a 64-bit one `cp15 c14,6` (CRm, opc1),
    one of the secure bank ends in ` (S)`. An id of another kind is its hexadecimal number. One trap, in KVM's UAPI
    itself: a list that comes from KVM uses CNTVCT_EL0's encoding for CNTV_CVAL_EL0 and the other way round
    (KVM_REG_ARM_TIMER_CNT).
    """
    high, low = regid >> 16, regid & 0xFFFF
    if high == _ARM64_SYSREG:
        return name_of(low >> 14, low >> 11 & 7, low >> 7 & 15, low >> 3 & 15, low & 7)
    crn, crm, opc1, opc2 = low >> 11, low >> 7 & 15, low >> 3 & 15, low & 7
    coprocessor, bank = high & 0xF, "" if high & _NON_SECURE else " (S)"
    size = high & ~(_NON_SECURE | 0xF)
    if size == _ARM_32 and coprocessor in (14, 15) and crn < 16:
        short = f"cp{coprocessor} c{crn},{opc1},c{crm},{opc2}"
    elif size == _ARM_64 and coprocessor in (14, 15) and not crn and not opc2:
        short = f"cp{coprocessor} c{crm},{opc1}"
    else:
        return f"{regid:#018x}"
    return short + bank if bank else _MAPPED.get(short, short)


_ASSEMBLER = re.compile(r"S(\d)_(\d)_C(\d+)_C(\d+)_(\d)")


def id_of_name(name: str) -> int | None:
    """Return the register id of an AArch64 system register, of an assembler's generic name, or of a number; else None."""
    if name.startswith("0x"):
        with suppress(ValueError):
            return int(name, 16)
        return None
    if match := _ASSEMBLER.fullmatch(name):
        encoding: Encoding | None = tuple(map(int, match.groups()))  # type: ignore[assignment]
    else:
        tables = (_preferred.get().encodings, by_encoding())
        encoding = next((each for table in tables for each, known in table.items() if known == name), None)
    if encoding is None:
        return None
    op0, op1, crn, crm, op2 = encoding
    return _ARM64_SYSREG << 16 | op0 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


_SPELT_OUT = re.compile(r"system register op0:(\d+) op1:(\d+) crn:(\d+) crm:(\d+) op2:(\d+)")
_NUMBERED = re.compile(r"system register (0x[0-9a-f]{1,8})\b")
_KEY_AA64, _KEY_64BIT = 1 << 28, 1 << 15


def named(text: str) -> str:
    """Return QEMU's words with names for the registers that it gives by their encoding (KVM) or by a number (TCG)."""
    text = _SPELT_OUT.sub(lambda match: f"{name_of(*map(int, match.groups()))} (S{'_'.join(match.groups())})", text)
    return _NUMBERED.sub(lambda match: f"{_name_of_key(int(match[1], 16))} ({match[1]})", text)


def _name_of_key(key: int) -> str:
    """Return the name of a register by QEMU's own 32-bit key, made from the id (kvm_to_cpreg_id, target/arm/cpregs.h)."""
    if key & _KEY_AA64:
        return name_of_id(0x6030 << 48 | key & ~_KEY_AA64)
    size = _ARM_64 if key & _KEY_64BIT else _ARM_32
    return name_of_id(size << 16 | key & ~_KEY_64BIT)


@cache
def _field_table() -> Mapping[str, tuple[Field, ...]]:
    table: dict[str, tuple[Field, ...]] = {}
    for names, text in FIELDS.items():
        parts = (part.split() for part in text.split(","))
        fields = (Field(name, int(lsb), int(width)) for name, lsb, width in parts)
        table.update(dict.fromkeys(names.split(), tuple(sorted(fields, key=lambda field: field.lsb))))
    return MappingProxyType(table)


def fields_of(register: str, *, e2h: bool = False) -> tuple[Field, ...]:
    """Return the fields of a register by its name (no `cpu0/`), lowest bit first; empty where the table has none.

    `e2h` is HCR_EL2.E2H: CNTHCTL_EL2, CPTR_EL2 and TCR_EL2 have another layout while it is 1.
    """
    tables = (_preferred.get().fields, _field_table())
    names = (f"{register}+E2H", register) if e2h else (register,)
    return next((table[name] for name in names for table in tables if name in table), ())


@dataclass(frozen=True)
class Meaning:
    """What a field tells, in a few words (empty where the table has none), and how its number is to be read."""

    words: str = ""
    sign: Sign = Sign.ENUMERATED

    def number(self, value: int, width: int) -> int:
        """Return the number that a field of this width means: 0xf of a signed one is -1."""
        return value - (1 << width) if self.sign is Sign.SIGNED and value >> (width - 1) else value


_SIGNS = MappingProxyType({"-": Sign.SIGNED, "=": Sign.ENUMERATED})


@cache
def meanings() -> Mapping[str, Mapping[str, Meaning]]:
    """Return the whole table of meanings: register, field, meaning."""
    table: dict[str, dict[str, Meaning]] = {}
    for register, text in WORDS.items():
        for part in text.split(";"):
            field, words = part.strip().split(" ", 1)
            table.setdefault(register, {})[field.rstrip("-=")] = Meaning(words, _SIGNS.get(field[-1], Sign.UNSIGNED))
    return MappingProxyType(table)


def meaning_of(register: str, field: str) -> Meaning:
    """Return what a field of an ID register tells; no words, and enumerated, for a field that the table lacks.

    The kernel writes some names in capitals that the architecture does not, so case does not count.
    """
    known = next((each for name, each in meanings().get(register, {}).items() if name.lower() == field.lower()), Meaning())
    sign = _preferred.get().signs.get(register, {}).get(field)
    return replace(known, sign=sign) if sign else known


# QEMU's gdb stub leaves out the suffix of a few registers that its source names without one.
_NO_SUFFIX = re.compile(r"(?:ID_(?:PFR|DFR|AFR|MMFR|ISAR)\d|CLIDR|AIDR|CSSELR|L2ACTLR)")
_RESERVED_ID = re.compile(r"ID_AA64(PFR|DFR|AFR|ISAR|MMFR)(\d)_EL1_RESERVED")
_GENERIC = re.compile(r"RES_0_C0_C(\d+)_(\d)")
_LOWER = MappingProxyType({"cpsr": "PSTATE", "tpidr": "TPIDR_EL0", "tpidr2": "TPIDR2_EL0"})


def name_of_gdb(name: str) -> str:
    """Return our name for a register that QEMU's gdb stub calls `name` in its target XML."""
    if name in _LOWER:
        return _LOWER[name]
    if _NO_SUFFIX.fullmatch(name):
        return f"{name}_EL1"
    if match := _RESERVED_ID.fullmatch(name):
        kind, n = match[1], int(match[2])
        crm, first = {"PFR": (4, 0), "DFR": (5, 0), "AFR": (5, 4), "ISAR": (6, 0), "MMFR": (7, 0)}[kind]
        return name_of(3, 0, 0, crm, first + n)
    if match := _GENERIC.fullmatch(name):
        return name_of(3, 0, 0, int(match[1]), int(match[2]))
    return name.upper()
