"""What a kernel promises of a vCPU's registers, tried on a sample of it; each promise is a function that counts what it tried.

Promises are of Documentation/virt/kvm: api.rst (KVM_GET_REG_LIST, KVM_SET_ONE_REG, KVM_ARM_VCPU_INIT,
KVM_ARM_GET_REG_WRITABLE_MASKS) and arm/vcpu-features.rst. One that is broken is a StateDiffers that names register and field.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence

from harness.errors import NoEvidence, StateDiffers, Suspect
from harness.kvm.sample import Answer, Sample
from harness.state import sysregs
from harness.state.diff import compare
from harness.state.model import State
from harness.state.rules import FROM_KVM, RULES, Rule
from harness.state.sysregs import Field

_SHOWN = 6  # broken promises that a sentence spells out


def settled(sample: Sample, rules: Sequence[Rule] = (*FROM_KVM, *RULES)) -> int:
    """Say that no register changes by another KVM_ARM_VCPU_INIT nor by the first entry into the guest."""
    first = _state(sample)
    if number := sample.init_again(*sample.kinds[0]):
        raise _broken([f"a second KVM_ARM_VCPU_INIT with the same features fails: {_name(number)}"])
    again = _state(sample)
    sample.enter()
    entered = _state(sample)
    compared = 0
    for since, before, after in (("a second KVM_ARM_VCPU_INIT", first, again), ("the first entry", again, entered)):
        comparison = compare(before, after, rules)
        if not comparison.same:
            raise _broken([f"{difference.sentence()} by {since}" for difference in comparison.failures])
        compared += comparison.compared
    return compared


def taken_back(sample: Sample) -> int:
    """Say that each register may be written with the value that was read, before the first entry and after it."""
    tried = 0
    for when in ("before the first entry", "after it"):
        held = sample.registers()
        answers = sample.write(held)
        refused = [
            f"{name} does not take back {value:#x} {when}: {_name(answer.errno)}"
            for (name, value), answer in zip(held.items(), answers, strict=True)
            if answer.errno
        ]
        if refused:
            raise _broken(refused)
        tried += len(held)
        sample.enter()
    return tried


def masks_are_true(sample: Sample) -> int:
    """Say that the announced masks of writable bits tell the truth, bit by bit, of every feature ID register there is.

    A bit outside of the mask cannot be changed: EINVAL, and the register is as it was. A field inside takes at least one value
    other than the one that it has; which values are safe is the kernel's to say.
    """
    held, masks = sample.registers(), sample.masks()
    if not any(masks.values()):
        raise NoEvidence("the kernel announces no writable bit at all")
    wrong = [f"{name} is announced as writable and does not exist" for name, mask in masks.items() if mask and name not in held]
    tried = 0
    for name, mask in masks.items():
        if name in held:
            wrong += _fixed(sample, name, held[name], mask)
            wrong += _open(sample, name, held[name], mask)
            tried += 64
    if wrong:
        raise _broken(wrong)
    return tried


def _fixed(sample: Sample, name: str, value: int, mask: int) -> Iterator[str]:
    """Tell of bits outside of the mask that can be written."""
    bits = [bit for bit in range(64) if not mask >> bit & 1]
    for bit, (answer, _) in zip(bits, _tries(sample, name, value, [value ^ 1 << bit for bit in bits]), strict=True):
        where = _bit(name, bit)
        if answer.errno == 0:
            yield f"{where} is announced as fixed and was taken with its bit {bit} flipped"
        elif answer.errno != errno.EINVAL:
            yield f"{where} is refused with {_name(answer.errno)}, not EINVAL"
        elif answer.value != value:
            yield f"{where} is refused, and yet the register is {answer.value:#x} after it, not {value:#x}"


def _open(sample: Sample, name: str, value: int, mask: int) -> Iterator[str]:
    """Tell of fields in the mask that take no other value, or hold another one than they took."""
    for part in _fields(name, mask):
        others = [part.put(other, value) for other in _values(part) if other != part.of(value)]
        answers = list(_tries(sample, name, value, others))
        for other, (answer, back) in zip(others, answers, strict=True):
            if answer.errno not in (0, errno.EINVAL):
                yield f"{name}.{part.name} is refused with {_name(answer.errno)}, not EINVAL"
            elif answer.errno == 0 and answer.value != other:
                yield f"{name}.{part.name} took {part.of(other):#x} and holds {_held(answer, part)}"
            elif back.errno or back.value != value:
                yield f"{name}.{part.name} took {part.of(other):#x} and then not {part.of(value):#x}: {_name(back.errno)}"
        if all(answer.errno for answer, _ in answers):
            yield f"{name}.{part.name} is announced as writable and takes nothing but {part.of(value):#x}"


def _tries(sample: Sample, name: str, value: int, others: Sequence[int]) -> Iterator[tuple[Answer, Answer]]:
    """Write other values to a register that has `value`, and this again after each; yield both answers."""
    answers = iter(sample.write([(name, each) for other in others for each in (other, value)]))
    yield from zip(answers, answers, strict=True)


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
        bits = [bit for bit in range(64) if beyond >> bit & 1]
        raise _broken([f"{_bit(register, bit)} (bit {bit}) is announced as writable" for bit in bits])
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


def _state(sample: Sample) -> State:
    return State("kvm", {f"cpu0/{name}": value for name, value in sample.registers().items()})


def _fields(name: str, bits: int) -> list[Field]:
    """Return the fields of a register that have one of these bits, and each other bit as a field of its own."""
    fields = [each for each in sysregs.fields_of(name) if each.mask & bits]
    rest = bits & ~sum(each.mask for each in fields)
    return fields + [Field(f"[{bit}]", bit, 1) for bit in range(64) if rest >> bit & 1]


def _values(part: Field) -> range:
    return range(min(1 << part.width, 16))


def _bit(name: str, bit: int) -> str:
    return f"{name}.{_fields(name, 1 << bit)[0].name}"


def _held(answer: Answer, part: Field) -> str:
    return "nothing" if answer.value is None else f"{part.of(answer.value):#x}"


def _name(number: int) -> str:
    return errno.errorcode.get(number, str(number)) if number else "taken"


def _broken(promises: Sequence[str]) -> StateDiffers:
    more = f"; and {len(promises) - _SHOWN} more" if len(promises) > _SHOWN else ""
    return StateDiffers("; ".join(promises[:_SHOWN]) + more, suspect=Suspect.KERNEL_L0)
