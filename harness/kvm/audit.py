"""What a kernel promises of a vCPU's registers, tried on a sample of it; each promise is a function that counts what it tried.

Promises are of Documentation/virt/kvm: api.rst (KVM_GET_REG_LIST, KVM_SET_ONE_REG, KVM_ARM_VCPU_INIT,
KVM_ARM_GET_REG_WRITABLE_MASKS) and arm/vcpu-features.rst. One that is broken is a StateDiffers that names register and field.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import KernelFailure, NoEvidence, StateDiffers, Suspect
from harness.kvm.registers import is_feature
from harness.kvm.sample import Answer, Sample, Samples
from harness.state import sysregs
from harness.state.diff import compare
from harness.state.model import State
from harness.state.rules import FROM_KVM, RULES, Kind, Rule
from harness.state.sysregs import Field

_SHOWN = 6  # broken promises that a sentence spells out


# Of a vCPU that runs nothing.
_STANDING = (*FROM_KVM, *RULES)

UNTIL_ENTERED: tuple[Rule, ...] = (
    Rule(
        r"AFSR[01]_EL[12]",
        Kind.UNKNOWN_AT_RESET,
        "KVM fills what is unknown at reset with a pattern; where the CPU has no such register it reads 0 after an entry",
        "reset_unknown in arch/arm64/kvm/sys_regs.h",
    ),
    Rule(
        r"HCRX?_EL2|SCTLR2?_EL[12]|TCR2?_EL[12]|VTTBR_EL2|VTCR_EL2|VMPIDR_EL2|MDCR_EL2|CNTHCTL_EL2|ICH_HCR_EL2|VNCR_EL2|Z?CPTR_EL2|"
        r"H[DA]?FG[RWI]TR2?_EL2|ZCR_EL2",
        Kind.DERIVED,
        "at the first entry KVM settles which bits of registers of EL2 are RES0 and RES1, by the ID registers that user space "
        "may have changed until then",
        "kvm_init_nv_sysregs in arch/arm64/kvm/nested.c",
    ),
)
"""What may change by the first entry of a vCPU. No ID register may."""


# The first Linux whose KVM offers guests EL2 (KVM_CAP_ARM_EL2, Documentation/virt/kvm/api.rst).
OFFERS_EL2 = (6, 16)


def el2_is_offered(samples: Samples) -> int:
    """Say that the kernel offers vCPUs EL2, and makes one that has it; for a host where nothing else stands against it.

    Raises KernelFailure.
    """
    if not samples.offered["el2"]:
        raise KernelFailure("KVM_CAP_ARM_EL2 is 0: it offers guests no EL2")
    return len(samples.at("vhe").registers())


def settled(sample: Sample) -> int:
    """Say that no register changes by another KVM_ARM_VCPU_INIT, nor by the first entry but as UNTIL_ENTERED says."""
    first = _state(sample.registers())
    if number := sample.init_again(*sample.kinds[0]):
        raise _broken([f"a second KVM_ARM_VCPU_INIT with the same features fails: {_name(number)}"])
    again = _state(sample.registers())
    sample.enter()
    entered = _state(sample.registers())
    compared = 0
    by_init, by_entry = (first, again, _STANDING), (again, entered, (*UNTIL_ENTERED, *_STANDING))
    for since, pair in (("a second KVM_ARM_VCPU_INIT", by_init), ("the first entry", by_entry)):
        comparison = compare(*pair)
        if not comparison.same:
            raise _broken([f"{difference.sentence()} by {since}" for difference in comparison.failures])
        compared += comparison.compared
    return compared


# Immutable once KVM_ARM_VCPU_FINALIZE has been called, without which there is nothing to read (api.rst, KVM_ARM_VCPU_INIT).
SETTLED_FOR_GOOD = ("KVM_SVE_VLS",)


def taken_back(sample: Sample) -> int:
    """Say that each register takes back the value that was read, and all have it then, before the first entry and after it."""
    tried = 0
    for when in ("before the first entry", "after it"):
        read = sample.registers()
        held = {name: value for name, value in read.items() if name not in SETTLED_FOR_GOOD}
        answers = sample.write(held)
        wrong = [
            f"{name} does not take back {value:#x} {when}: {_name(answer.errno)}"
            for (name, value), answer in zip(held.items(), answers, strict=True)
            if answer.errno
        ]
        changed = compare(_state(read), _state(sample.registers()), _STANDING).failures
        wrong += [f"{difference.sentence()} by taking back what was read {when}" for difference in changed]
        if wrong:
            raise _broken(wrong)
        tried += len(held)
        sample.enter()
    return tried


@dataclass(frozen=True)
class Tolerance:
    """A field that takes a value without holding it, or none below its own though it can be written; and why."""

    register: str
    field: str
    why: str
    source: str


TOLERATED = tuple(
    Tolerance(register, field, why, f"{function} in arch/arm64/kvm/sys_regs.c")
    for register, field, why, function in (
        ("ID_AA64PFR0_EL1", "MPAM", "older kernels showed the host's, so it is taken and stays 0", "set_id_aa64pfr0_el1"),
        ("ID_AA64PFR1_EL1", "MPAM_frac", "as ID_AA64PFR0_EL1.MPAM", "set_id_aa64pfr1_el1"),
        (
            "ID_AA64DFR0_EL1",
            "PMUVer",
            "older kernels showed 0xf for no PMU, so it is taken as 0",
            "set_id_aa64dfr0_el1",
        ),
        ("ID_DFR0_EL1", "PerfMon", "as ID_AA64DFR0_EL1.PMUVer", "set_id_dfr0_el1"),
        ("ID_AA64DFR0_EL1", "DoubleLock", "older kernels showed 0 at vEL2 whatever the host has", "ignore_feat_doublelock"),
        ("ID_AA64MMFR2_EL1", "NV", "older kernels showed the host's, so it is taken and stays 0", "set_id_aa64mmfr2_el1"),
        *(("ID_AA64PFR0_EL1", f"EL{n}", "a guest has AArch64 at each of its levels", "set_id_aa64pfr0_el1") for n in range(3)),
    )
)


def masks_are_true(sample: Sample) -> int:
    """Say that the announced masks of writable bits tell the truth, bit by bit, of every feature ID register there is.

    A bit outside of the mask cannot be changed: EINVAL, and the register is as it was. A field inside that has anything below
    takes some of it, holds what it took, and can be what it was again. Which values are safe is the kernel's to say.
    """
    held, masks = sample.registers(), sample.masks()
    if not any(masks.values()):
        raise NoEvidence("the kernel announces no writable bit at all")
    wrong = [f"{name} is announced as writable and does not exist" for name, mask in masks.items() if mask and name not in held]
    tried = 0
    for name, mask in masks.items():
        if name in held and is_feature(name):
            wrong += _fixed(sample, name, held[name], mask)
            wrong += _open(sample, name, held[name], mask)
            tried += 64
    if wrong:
        raise _broken(wrong)
    return tried


def tolerated(register: str, field: str) -> bool:
    """Say whether some kernel takes a value of a field without holding it."""
    return any((each.register, each.field) == (register, field) for each in TOLERATED)


def _tolerated(name: str, part: Field) -> bool:
    return tolerated(name, part.name)


def _fixed(sample: Sample, name: str, value: int, mask: int) -> Iterator[str]:
    """Tell of bits outside of the mask that can be written."""
    bits = [bit for bit in range(64) if not mask >> bit & 1]
    for bit, (answer, _) in zip(bits, _tries(sample, name, value, [value ^ 1 << bit for bit in bits]), strict=True):
        (part,) = _fields(name, 1 << bit)
        where = f"{name}.{part.name}"
        if answer.errno == 0 and not (_tolerated(name, part) and answer.value == value):
            yield f"{where} is announced as fixed and was taken with its bit {bit} flipped"
        elif answer.errno not in (0, errno.EINVAL):
            yield f"{where} is refused with {_name(answer.errno)}, not EINVAL"
        elif answer.value != value:
            yield f"{where} is refused, and yet the register is {_shown(answer.value)} after it, not {value:#x}"


def _open(sample: Sample, name: str, value: int, mask: int) -> Iterator[str]:
    """Tell of fields in the mask that take nothing below what they have, or hold another value than they took."""
    for part in _fields(name, mask):
        others = [part.put(other, value) for other in _values(part) if other != part.of(value)]
        answers = list(_tries(sample, name, value, others))
        for other, (answer, back) in zip(others, answers, strict=True):
            if answer.errno not in (0, errno.EINVAL):
                yield f"{name}.{part.name} is refused with {_name(answer.errno)}, not EINVAL"
            elif answer.errno == 0 and answer.value != other and not (_tolerated(name, part) and _holds(answer, part, value)):
                held = None if answer.value is None else part.of(answer.value)
                yield f"{name}.{part.name} took {part.of(other):#x} and holds {_shown(held)}"
            elif answer.errno == 0 and (back.errno or back.value != value):
                yield f"{name}.{part.name} took {part.of(other):#x} and then not {part.of(value):#x}: {_name(back.errno)}"
        if part.of(value) and all(answer.errno for answer, _ in answers) and not _tolerated(name, part):
            yield f"{name}.{part.name} is announced as writable and takes nothing but {part.of(value):#x}"


def _holds(answer: Answer, part: Field, value: int) -> bool:
    """Say whether a register holds what it had, or 0 in the field that was written."""
    return answer.value in (value, part.put(0, value))


def _tries(sample: Sample, name: str, value: int, others: Sequence[int]) -> Iterator[tuple[Answer, Answer]]:
    """Write other values to a register that has `value`, and this again after each; yield both answers."""
    answers = iter(sample.write([(name, each) for other in others for each in (other, value)]))
    yield from zip(answers, answers, strict=True)


# What a payload can do without; others decide on the memory, levels and devices that it is made for.
_DISPENSABLE = re.compile(r"ID_AA64(ISAR[0-2]|MMFR[12])_EL1")


def lowered(sample: Sample) -> dict[str, int]:
    """Return registers with each writable field at a lower value that it takes: what a guest then has to read.

    Of instructions and of memory management. Raises StateDiffers where the fields are taken one by one and not together,
    NoEvidence where there is none.
    """
    held, masks = sample.registers(), sample.masks()
    found: dict[str, int] = {}
    for name in (name for name in held if _DISPENSABLE.fullmatch(name)):
        value = held[name]
        for part in _fields(name, masks.get(name, 0)):
            others = [part.put(lower, held[name]) for lower in range(part.of(held[name]) - 1, -1, -1)]
            taken = zip(others, _tries(sample, name, held[name], others), strict=True)
            lower = next((part.of(other) for other, (answer, _) in taken if answer.value == other and not answer.errno), None)
            if lower is not None:
                value = part.put(lower, value)
        if value != held[name]:
            found[name] = value
    if not found:
        raise NoEvidence("no field of an ID register takes a lower value")
    answers = zip(found.items(), sample.write(found), strict=True)
    refused = [f"{name} does not take {value:#x}: {_name(answer.errno)}" for (name, value), answer in answers if answer.errno]
    if refused:
        raise _broken(refused)
    return found


def never_writable(sample: Sample, register: str, *fields: str) -> int:
    """Say that fields are in no mask, and that no value but their own is taken."""
    held, mask = sample.registers()[register], sample.masks()[register]
    wrong, tried = [], 0
    for part in (part for part in sysregs.fields_of(register) if part.name in fields):
        if mask & part.mask:
            wrong.append(f"{register}.{part.name} is announced as writable")
        others = [part.put(value, held) for value in _values(part) if value != part.of(held)]
        for other, (answer, _) in zip(others, _tries(sample, register, held, others), strict=True):
            tried += 1
            if answer.errno != errno.EINVAL or answer.value != held:
                said = f"{part.of(held):#x} to {part.of(other):#x}: {_name(answer.errno)}"
                wrong.append(f"{register}.{part.name} was written from {said}")
    if wrong:
        raise _broken(wrong)
    if not tried:
        raise NoEvidence(f"{register} has no field {' or '.join(fields)}")
    return tried


def writable_only(sample: Sample, register: str, *fields: str) -> int:
    """Say that no bit of a register is announced as writable but those of some fields."""
    allowed = sum(part.mask for part in sysregs.fields_of(register) if part.name in fields)
    if beyond := sample.masks()[register] & ~allowed:
        raise _broken([f"{register}.{part.name} is announced as writable" for part in _fields(register, beyond)])
    return 1


def field(registers: Mapping[str, int], register: str, name: str) -> int:
    """Return a field of a register that is there. Raises StateDiffers where it is not."""
    if register not in registers:
        raise _broken([f"KVM_GET_REG_LIST lacks {register}"])
    (found,) = (each for each in sysregs.fields_of(register) if each.name == name)
    return found.of(registers[register])


def refusals(sample: Sample, foreign: Mapping[str, int]) -> list[str]:
    """Write another vCPU's ID registers, and return the fields that are refused, as `REGISTER.FIELD`."""
    held = sample.registers()
    wanted = {name: value for name, value in foreign.items() if name.startswith("ID_") and name in held}
    found = []
    for (name, value), answer in zip(wanted.items(), sample.write(wanted), strict=True):
        if answer.errno:
            found += [f"{name}.{part.name}" for part in _fields(name, value ^ held[name])]
    return found


def _state(registers: Mapping[str, int]) -> State:
    return State("kvm", {f"cpu0/{name}": value for name, value in registers.items()})


def _fields(name: str, bits: int) -> list[Field]:
    """Return the fields of a register that have one of these bits, and each other bit as a field of its own."""
    fields = [each for each in sysregs.fields_of(name) if each.mask & bits]
    rest = bits & ~sum(each.mask for each in fields)
    return fields + [Field(f"[{bit}]", bit, 1) for bit in range(64) if rest >> bit & 1]


def _values(part: Field) -> range:
    return range(min(1 << part.width, 16))


def _shown(value: int | None) -> str:
    return "not there" if value is None else f"{value:#x}"


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number)) if number else "taken"


def _broken(promises: Sequence[str]) -> StateDiffers:
    more = f"; and {len(promises) - _SHOWN} more" if len(promises) > _SHOWN else ""
    return StateDiffers("; ".join(promises[:_SHOWN]) + more, suspect=Suspect.KERNEL_L0)
