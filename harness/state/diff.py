"""Two states, compared name by name under rules, in both directions.

A register that only one side has is a difference too: QEMU keeps the reset value of one that only the destination
knows, and says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import NoEvidence, UsageError
from harness.state import kvm_ids, sysregs
from harness.state.model import State, Value
from harness.state.rules import DEFAULT, RULES, Kind, Rule, rule_for
from harness.state.sysregs import Meaning

# System registers by name or encoding, and KVM's firmware registers by id.
_REGISTER = r"cpu0/([A-Z][A-Z0-9_]+_EL[0-3]\w*|S\d_\d_C\d+_C\d+_\d|0x[0-9a-f]{16})"
_SHOWN = 3  # differences that a sentence spells out


@dataclass(frozen=True)
class FieldChange:
    """A field of a register whose value differs; one named `[63:40]` covers bits that no known field does."""

    name: str
    before: int
    after: int
    meaning: Meaning
    width: int

    def sentence(self, register: str) -> str:
        """Return the change in words; what is negative is shown so."""
        before, after = (_show(self.meaning.number(value, self.width)) for value in (self.before, self.after))
        return f"{register}.{self.name} {before} -> {after}"


@dataclass(frozen=True)
class Difference:
    """One name whose value differs; None where a side does not have it."""

    name: str
    before: Value | None
    after: Value | None
    rule: Rule
    allowed: bool
    fields: tuple[FieldChange, ...]

    def sentence(self) -> str:
        """Return the difference in words: `CNTHP_CTL_EL2.ISTATUS 1 -> 0 on cpu0`."""
        cpu, _, register = self.name.partition("/")
        if not cpu.startswith("cpu"):
            cpu, register = "", self.name
        if self.fields:
            text = ", ".join(field.sentence(register) for field in self.fields)
        else:
            text = f"{register} {_show(self.before)} -> {_show(self.after)}"
        return f"{text} on {cpu}" if cpu else text

    def meaning(self) -> str:
        """Return what the fields that differ tell, where the table knows; each after its name, but a single one."""
        told = [field for field in self.fields if field.meaning.words]
        if len(self.fields) == 1 and told:
            return told[0].meaning.words
        return "; ".join(f"{field.name}: {field.meaning.words}" for field in told)


@dataclass(frozen=True)
class Comparison:
    """What came of a comparison: how many names both sides had, and all differences, those not allowed first."""

    compared: int
    differences: tuple[Difference, ...]

    @property
    def failures(self) -> tuple[Difference, ...]:
        """The differences that no rule allows."""
        return tuple(difference for difference in self.differences if not difference.allowed)

    @property
    def same(self) -> bool:
        """True where everything that must survive did."""
        return not self.failures

    def sentence(self) -> str:
        """Return the outcome in one line."""
        failures = self.failures
        if not failures:
            return f"{self.compared} registers compared, all that must survive did"
        text = "; ".join(difference.sentence() for difference in failures[:_SHOWN])
        rest = len(failures) - _SHOWN
        return f"{text}; and {rest} more of {self.compared} compared" if rest > 0 else text


def compare(before: State, after: State, rules: Sequence[Rule] = RULES) -> Comparison:
    """Compare two states of one view. Raises UsageError for different views, NoEvidence where no name is shared."""
    if before.view != after.view:
        raise UsageError(f"a {before.view} view cannot be compared with a {after.view} view", remedy="use cross_check")
    return _compare(before, after, before.registers.keys() | after.registers.keys(), rules)


def cross_check(earlier: State, later: State, rules: Sequence[Rule] = RULES) -> Comparison:
    """Compare two views on the names they share. Raises NoEvidence where they share none."""
    return _compare(earlier, later, earlier.registers.keys() & later.registers.keys(), rules)


def between(source: State, destination: State) -> str:
    """Return in words what new machines on two hosts have that differs: registers of one side only, ID and firmware registers.

    Of the first vCPU, from streams; an empty text where all are alike. It is said of two machines that have not run, so
    other registers hold what they do at reset.
    """
    ours, theirs = ({name for name in state.registers if re.fullmatch(_REGISTER, name)} for state in (source, destination))
    words = [
        f"only the {side} has {', '.join(sorted(_bare(name) for name in names))}"
        for side, names in (("source", ours - theirs), ("destination", theirs - ours))
        if names
    ]
    alike = sorted(name for name in ours & theirs if re.match(r"cpu0/(ID_|0x)", name))
    changed = [
        Difference(_bare(name), old, new, DEFAULT, False, _changes(name, source, destination)).sentence()
        for name in alike
        if (old := source.registers[name]) != (new := destination.registers[name])
    ]
    return "".join(f"; {text}" for text in [*words, *changed])


def _bare(name: str) -> str:
    return kvm_ids.in_words(name.removeprefix("cpu0/"))


def _compare(before: State, after: State, names: Iterable[str], rules: Sequence[Rule]) -> Comparison:
    shared, differences = 0, []
    for name in names:
        old, new = before.registers.get(name), after.registers.get(name)
        if old is not None and new is not None:
            shared += 1
        if old != new:
            rule = rule_for(name, rules)
            fields = _changes(name, before, after)
            # A register that one side lacks has no fields that could differ.
            beyond = rule.fields and not (fields and {field.name for field in fields} <= {*rule.fields})
            rule = DEFAULT if beyond else rule
            differences.append(Difference(name, old, new, rule, rule.allows(old, new), fields))
    if not shared:
        raise NoEvidence("nothing was compared: the two states share no register")
    differences.sort(key=lambda each: (each.allowed, each.rule.kind is not Kind.MUST_SURVIVE, each.name))
    return Comparison(shared, tuple(differences))


def _changes(name: str, old: State, new: State) -> tuple[FieldChange, ...]:
    """Return the fields that differ, and one for the span of changed bits outside of all of them.

    None where the two sides have the register in different layouts, by HCR_EL2.E2H.
    """
    before, after, fields = old.registers.get(name), new.registers.get(name), old.fields_of(name)
    if not fields or fields != new.fields_of(name) or not isinstance(before, int) or not isinstance(after, int):
        return ()
    register = name.partition("/")[2]
    changes = [
        FieldChange(f.name, f.of(before), f.of(after), sysregs.meaning_of(register, f.name), f.width)
        for f in fields
        if f.of(before) != f.of(after)
    ]
    rest = (before ^ after) & ~sum(field.mask for field in fields)
    if rest:
        low = (rest & -rest).bit_length() - 1
        span = sysregs.Field(f"[{rest.bit_length() - 1}:{low}]", low, rest.bit_length() - low)
        changes.append(FieldChange(span.name, span.of(before), span.of(after), Meaning(), span.width))
    return tuple(changes)


def _show(value: Value | None) -> str:
    if value is None:
        return "absent"
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if -10 < value < 10 else f"{value:#x}"
