"""Says, from what two hosts are (facts.py), what will become of a guest that goes from the one to the other. Pure.

It is about a save and restore through /dev/kvm that writes back every register of KVM_GET_REG_LIST, as `vmm.py` does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from harness.preflight.facts import HostFacts, LevelFacts, parts
from harness.state.sysregs import fields_of

# Guest physical addresses of a guest's VM, as `vmm.py` makes it.
IPA_BITS = 40
# Arm IHI 0069, ICC_CTLR_EL1: what an implementation has, of which KVM takes no other (set_gic_ctlr in vgic-sys-reg-v3.c).
_ICC_CTLR_FIXED = 0xFF00
_LENGTHS = "KVM_SVE_VLS"
_VQS = 16  # vectors of 128 to 2048 bits
VM = "vm"
"""What is hindered where no feature of vCPUs is to blame."""


@dataclass(frozen=True)
class Forecast:
    """What will become of a guest of one level.

    `hindered`: what keeps the destination from making such a VM, by the feature of vCPUs that it lacks, or `vm`;
    `refused`: registers that it does not take, and why;
    `changed`: those that will have another value; `lacking`: those that only the destination has, which stay as at reset.
    """

    level: str
    hindered: Mapping[str, str] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    changed: Mapping[str, str] = field(default_factory=dict)
    lacking: tuple[str, ...] = ()

    @property
    def fails(self) -> bool:
        """Whether the destination will not take the guest."""
        return bool(self.hindered or self.refused)

    def sentence(self) -> str:
        """Return it in words, the outcome first."""
        only = f"only the destination has {', '.join(self.lacking)}" if self.lacking else ""
        if self.fails:
            return "will fail: " + "; ".join([*self.hindered.values(), *self.refused.values()])
        words = [*self.changed.values(), *([only] if only else [])]
        if self.changed:
            return "will succeed and change " + "; ".join(words)
        return "will succeed" + (f" ({only})" if only else "")


def forecast(source: HostFacts, destination: HostFacts, level: str) -> Forecast:
    """Say what will become of a guest of a level that runs on the source. There has to be such a level on the source."""
    here = source.levels[level][0]
    there = alike(here, destination, level)
    missing = [name for name in here.features if not destination.offered.get(name)]
    hindered = {name: f"the destination offers no {name} for vCPUs" for name in missing}
    if destination.ipa_bits < IPA_BITS:
        hindered[VM] = f"the destination has {destination.ipa_bits} bits of guest physical addresses, not {IPA_BITS}"
    if there is None or hindered:
        return Forecast(level, hindered or {VM: f"the destination makes no vCPUs with {', '.join(here.features)}"})
    if lengths := _lengths(here, there):
        # Refused before the rest can be tried.
        return Forecast(level, {}, {_LENGTHS: lengths})
    refused: dict[str, str] = {}
    changed: dict[str, str] = {}
    gone = _gone(here, there)
    for name, value in here.registers.items():
        if name in gone:
            refused[name] = f"{name} is hidden there from a guest with such ID registers"
        else:
            _judge(name, value, there, refused, changed)
    _judge_interface(here.interface, there.interface, refused)
    if source.counter_hz != destination.counter_hz:
        changed["CNTFRQ_EL0"] = f"CNTFRQ_EL0 {source.counter_hz} -> {destination.counter_hz}: the guest's time has another pace"
    return Forecast(level, {}, refused, changed, tuple(sorted(there.registers.keys() - here.registers.keys() - gone)))


def alike(here: LevelFacts, destination: HostFacts, level: str) -> LevelFacts | None:
    """Return vCPUs of a destination with the features of those of the source, None where it makes none."""
    kinds = destination.levels.get(level, ())
    return next((kind for kind in kinds if {*kind.features} == {*here.features}), None)


def _gone(here: LevelFacts, there: LevelFacts) -> set[str]:
    """Return the registers that the destination hides once it has taken the guest's ID registers, which are written first."""
    return {
        register
        for name, taken in there.takes.items()
        if name in here.registers
        for part in parts(name)
        if (came := taken.get(part.lsb, {}).get(part.of(here.registers[name])))
        for register in came.gone
    }


def _judge(name: str, value: int, there: LevelFacts, refused: dict[str, str], changed: dict[str, str]) -> None:
    """Say of one register of the source whether the destination takes it, and holds it."""
    if name == _LENGTHS:
        return
    if name not in there.registers:
        refused[name] = f"{name} is unknown there"
        return
    own, taken = there.registers[name], there.takes.get(name, {})
    held = own
    for part in parts(name):
        wanted = part.of(value)
        if wanted == part.of(own):
            continue
        answer = taken.get(part.lsb, {}).get(wanted)
        if answer is None:
            refused[name] = f"{_words(name, own, value)}, which it does not take"
            return
        held = part.put(answer.held, held)
    if parts(name) and any(part.of(held) != part.of(value) for part in parts(name)):
        changed[name] = _words(name, value, held)


def _words(name: str, before: int, after: int) -> str:
    """Return what differs, by field."""
    pairs = [(part.name, part.of(before), part.of(after)) for part in fields_of(name)]
    words = [f"{name}.{part} {old:#x} -> {new:#x}" for part, old, new in pairs if old != new]
    return ", ".join(words) or f"{name} {before:#x} -> {after:#x}"


def _lengths(here: LevelFacts, there: LevelFacts) -> str:
    """Say why the destination cannot have the source's vector lengths: those up to the longest have to be the same.

    (set_sve_vls in arch/arm64/kvm/guest.c.)
    """
    ours, theirs = (level.registers.get(_LENGTHS, 0) & (1 << _VQS) - 1 for level in (here, there))
    longest = ours.bit_length()
    if theirs & (1 << longest) - 1 == ours:
        return ""
    return f"{_LENGTHS}: the guest has vectors of {_bits(ours)} bits, the destination of {_bits(theirs)}"


def _bits(lengths: int) -> str:
    return ", ".join(str(128 * (n + 1)) for n in range(_VQS) if lengths >> n & 1) or "no"


def _judge_interface(ours: Mapping[str, int], theirs: Mapping[str, int], refused: dict[str, str]) -> None:
    for name, value in ours.items():
        if name not in theirs:
            refused[name] = f"{name} is unknown there"
        elif name == "ICC_CTLR_EL1" and (value ^ theirs[name]) & _ICC_CTLR_FIXED:
            refused[name] = f"{_words(name, theirs[name], value)}, which it does not take"
