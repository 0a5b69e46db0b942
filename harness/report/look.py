"""`harness show` and `harness diff`: what is in a file, and how two differ, in words or as data.

A difference is judged by the rules of `harness.state.rules`: what no rule names must survive. What differs comes first, then
what only one side has, then what a rule allows, with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import NoEvidence, UsageError
from harness.kvm.audit import tolerated
from harness.report.seen import Seen, open_file
from harness.state import sysregs
from harness.state.diff import Comparison, Difference, compare, cross_check
from harness.state.model import Origin, State, Value
from harness.state.ram import Block
from harness.state.rules import FROM_KVM, RULES, Rule
from harness.state.views import unredirected

SAME, DIFFERS, NOT_COMPARED = 0, 1, 2
_TEXTS = ("configuration/",)


@dataclass(frozen=True)
class Pages:
    """How one block of memory differs: pages that do, and the address of the first within the block."""

    block: str
    differ: int
    first: int
    # Pages that cannot be judged, since they were sent as differences.
    opaque: int = 0


@dataclass(frozen=True)
class Outcome:
    """Two files compared. `stopped`: why not all of one could be."""

    before: Seen
    after: Seen
    comparison: Comparison
    memory: tuple[Pages, ...]
    stopped: tuple[str, ...]

    @property
    def status(self) -> int:
        """The exit status of `harness diff`."""
        if self.comparison.failures or any(pages.differ for pages in self.memory):
            return DIFFERS
        return NOT_COMPARED if self.stopped or any(pages.opaque for pages in self.memory) else SAME


SIDES = ("before", "after")


def of_bundle(folder: Path) -> list[tuple[Path, Path]]:
    """Return the states of a bundle that belong together, before and after. Raises UsageError where it is none."""
    if not (folder / "case.json").is_file():
        raise UsageError(
            "a directory, and no bundle: it has no case.json", where=str(folder), remedy="name a file, or a bundle"
        )
    states = sorted((folder / "states").glob("*-before-*.json*"))
    pairs = [(state, state.with_name(state.name.replace("-before-", "-after-"))) for state in states]
    return [pair for pair in pairs if pair[1].exists()]


def pairs(before: Path, after: Path | None, side: str = "") -> list[tuple[Path, Path]]:
    """Return the files to compare: two, or the two sides of a bundle, or what two bundles both have, or a bundle and a file.

    `side` takes of a bundle only what was seen `before` its lifecycle, or `after` it. Raises UsageError.
    """
    if after is None:
        if found := of_bundle(before) if before.is_dir() else []:
            return found
        remedy = "its case compared no states; say two files" if before.is_dir() else "say two files, or one bundle"
        raise UsageError("nothing to compare it with", where=str(before), remedy=remedy)
    match before.is_dir(), after.is_dir():
        case False, False:
            return [(before, after)]
        case True, True:
            ours, theirs = ({path.name: path for path in _states(folder, side)} for folder in (before, after))
            if both := [(ours[name], theirs[name]) for name in sorted(ours.keys() & theirs.keys())]:
                return both
            raise UsageError("the two bundles have no state of one name", where=f"{before}, {after}")
        case True, False:
            return [(state, after) for state in _of_view(before, after, side)]
        case _:
            return [(before, state) for state in _of_view(after, before, side)]


def _states(bundle: Path, side: str) -> list[Path]:
    """Return the states of a bundle, of one side where one is named."""
    wanted = [side] if side else SIDES
    return [path for pair in of_bundle(bundle) for name, path in zip(SIDES, pair, strict=True) if name in wanted]


def _of_view(bundle: Path, file: Path, side: str) -> list[Path]:
    """Return the states of a bundle that are of a file's view. Raises UsageError."""
    view = open_file(file).state.view
    if found := [state for state in _states(bundle, side) if f"-{view}.json" in state.name]:
        return found
    raise UsageError(f"the bundle has no state of a {view} view", where=str(bundle), remedy=f"{file} is one")


def compared(before: Seen, after: Seen) -> Outcome:
    """Compare two files; of two views what both show. Raises NoEvidence where they share nothing."""
    rules: Sequence[Rule] = (*FROM_KVM, *RULES) if _from_kvm(before.state) and _from_kvm(after.state) else RULES
    stopped = tuple(f"{seen.path}: {seen.stopped}" for seen in (before, after) if seen.stopped)
    # Of one that stopped, what was not read is not missing; nor what another view does not show.
    crossed = before.state.view != after.state.view
    partial = stopped or crossed
    ours, theirs = (
        unredirected(each.state) if crossed and each.state.view == "gdb" else each.state for each in (before, after)
    )
    comparison = (cross_check if partial else compare)(ours, theirs, rules)
    return Outcome(before, after, comparison, tuple(_memory(before, after)), stopped)


def _from_kvm(state: State) -> bool:
    return state.view == "kvm" or any(name.startswith("cpu0/0x60300000001400") for name in state.registers)


def _memory(before: Seen, after: Seen) -> Iterator[Pages]:
    for name in sorted(before.memory.keys() & after.memory.keys()):
        ours, theirs = before.memory[name], after.memory[name]
        opaque = ours.opaque + theirs.opaque
        if ours.pages == theirs.pages and not opaque:  # the size is compared as a value
            continue
        differ = [number for number, (a, b) in enumerate(zip(ours.pages, theirs.pages, strict=False)) if a != b]
        if differ or opaque:
            yield Pages(name, len(differ), differ[0] * ours.page_size if differ else 0, opaque)


# -- in words


def words_of(outcome: Outcome) -> Iterator[str]:
    """Yield the lines of `harness diff`."""
    both, before_only, after_only, allowed = _sorted(outcome.comparison)
    for difference in both:
        yield f"{_sentence(difference)}{_refusal(difference, outcome.after.state.origin)}"
    for pages in outcome.memory:
        if pages.differ:
            many = "1 page differs" if pages.differ == 1 else f"{pages.differ} pages differ"
            yield f"memory {pages.block}: {many}, the first at {pages.first:#x}"
        if pages.opaque:
            yield f"memory {pages.block}: {pages.opaque} pages were sent as differences (XBZRLE) and cannot be compared"
    for what, found in (("the first", before_only), ("the second", after_only)):
        if found:
            yield f"only {what} has: {', '.join(_short(difference.name) for difference in found)}"
    for difference in allowed:
        yield f"allowed: {_sentence(difference)}: {difference.rule.kind}: {difference.rule.reason} ({difference.rule.source})"
    for reason in outcome.stopped:
        yield f"not all could be compared: {reason}"
    yield _summary(outcome)


def _summary(outcome: Outcome) -> str:
    failures = len(outcome.comparison.failures)
    pages = sum(each.differ for each in outcome.memory)
    compared_pages = sum(len(outcome.before.memory[name].pages) for name in outcome.before.memory.keys() & outcome.after.memory)
    of_memory = f", {pages} of {compared_pages} pages" if compared_pages else ""
    word = {SAME: "same", DIFFERS: "differ", NOT_COMPARED: "cannot be told"}[outcome.status]
    views = [seen.state.view for seen in (outcome.before, outcome.after)]
    both = f" that the {views[0]} view and the {views[1]} view both show" if views[0] != views[1] else ""
    return f"{word}: {failures} of {outcome.comparison.compared} values{both}{of_memory} that must survive did not"


def _sorted(comparison: Comparison) -> tuple[list[Difference], list[Difference], list[Difference], list[Difference]]:
    """Return differences with fields first, then other values; what only the first has, only the second; what is allowed."""
    failures = sorted(comparison.failures, key=lambda each: (not each.fields, not each.name.startswith("cpu"), each.name))
    both = [each for each in failures if each.before is not None and each.after is not None]
    before_only = [each for each in failures if each.after is None]
    after_only = [each for each in failures if each.before is None]
    return both, before_only, after_only, [each for each in comparison.differences if each.allowed]


def _sentence(difference: Difference) -> str:
    if difference.name.startswith(_TEXTS) and isinstance(difference.before, bytes) and isinstance(difference.after, bytes):
        return f"{difference.name} {_text(difference.before)} -> {_text(difference.after)}"
    words = difference.meaning()
    return f"{difference.sentence()} ({words})" if words else difference.sentence()


def _refusal(difference: Difference, there: Origin) -> str:
    """Return whether the second's kernel says that it will not take what the first has: where that is known, and is so."""
    register = difference.name.partition("/")[2]
    masks = {each.name: (each.before ^ each.after) for each in difference.fields}
    spans = {each.name: each for each in (*sysregs.fields_of(register),)}
    fixed = [name for name, bits in masks.items() if name in spans and there.fixed(difference.name, bits << spans[name].lsb)]
    if not fixed:
        return ""
    which = "" if len(fixed) == len(difference.fields) else f"{', '.join(fixed)} "
    # There are fields whose older values a kernel takes, and goes on with its own.
    so = "" if any(tolerated(register, name) for name in fixed) else ", so KVM_SET_ONE_REG refuses it"
    return f"; {which}not writable on {there.release}{so}"


def _text(value: bytes) -> str:
    return value.decode("ascii", "backslashreplace") or "nothing"


def _short(name: str) -> str:
    return name.removeprefix("cpu0/")


# -- one file


def lines_of(seen: Seen, pattern: str = "") -> Iterator[str]:
    """Yield the lines of `harness show`; `pattern` is a regular expression that names have to hold. Raises UsageError."""
    try:
        wanted = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UsageError(f"not a regular expression: {error}", where=pattern) from None
    yield f"{seen.kind}: {seen.path}"
    for name, fact in seen.facts.items():
        yield f"  {name}: {fact}"
    for name, block in seen.memory.items():
        filled = sum(1 for page in block.pages if page)
        yield f"  memory {name}: {block.size} bytes, {filled} of {len(block.pages)} pages hold something but zeros"
    shown = 0
    for name, value in seen.state.registers.items():
        if wanted.search(name):
            shown += 1
            yield f"{name} = {_value(name, value)}{_fields(seen.state, name, value)}"
    if not shown:
        yield f"no name of {len(seen.state.registers)} holds {pattern!r}" if pattern else "no registers"
    if seen.stopped:
        yield f"it ends here: {seen.stopped}"


def _value(name: str, value: Value) -> str:
    if isinstance(value, bytes):
        return _text(value) if name.startswith(_TEXTS) else value.hex() or "nothing"
    return f"{value:#x}"


def _fields(state: State, name: str, value: Value) -> str:
    fields = state.fields_of(name)
    if not fields or not isinstance(value, int):
        return ""
    register = name.partition("/")[2]
    shown = (_field(field, field.of(value), sysregs.meaning_of(register, field.name)) for field in fields)
    told = ", ".join(text for text in shown if text)
    return f"  {told}" if told else ""


def _field(field: sysregs.Field, value: int, meaning: sysregs.Meaning) -> str:
    """Return a field with its value and what it tells; nothing where it is 0, but for a signed one: -1 is "not there"."""
    signed = meaning.sign is sysregs.Sign.SIGNED
    if not value and not signed:
        return ""
    number = f"{meaning.number(value, field.width)}" if signed else f"{value:#x}"
    return f"{field.name} {number}" + (f" ({meaning.words})" if meaning.words else "")


# -- as data


def data_of(seen: Seen) -> dict[str, Any]:
    """Return what `harness show --json` prints: the state as `State.save` writes it, with what is said of the file."""
    return {
        "path": seen.path,
        "kind": seen.kind,
        "facts": dict(seen.facts),
        "stopped": seen.stopped or None,
        "memory": {name: _block(block) for name, block in seen.memory.items()},
        **seen.state.to_data(),
    }


def _block(block: Block) -> dict[str, int]:
    filled = sum(1 for page in block.pages if page)
    return {"bytes": block.size, "page_size": block.page_size, "pages_filled": filled, "pages_opaque": block.opaque}


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """Return what `harness diff --json` prints for one pair of files."""
    return {
        "before": outcome.before.path,
        "after": outcome.after.path,
        "status": outcome.status,
        "compared": outcome.comparison.compared,
        "differences": [_difference(each) for each in outcome.comparison.differences],
        "memory": [vars(pages) for pages in outcome.memory],
        "stopped": list(outcome.stopped),
    }


def _difference(difference: Difference) -> Mapping[str, Any]:
    def plain(value: Value | None) -> str | None:
        return None if value is None else value.hex() if isinstance(value, bytes) else f"{value:#x}"

    return {
        "name": difference.name,
        "before": plain(difference.before),
        "after": plain(difference.after),
        "fields": [
            {"name": f.name, "before": f"{f.before:#x}", "after": f"{f.after:#x}", "meaning": f.meaning.words}
            for f in difference.fields
        ],
        "allowed": difference.allowed,
        "rule": {"kind": str(difference.rule.kind), "reason": difference.rule.reason, "source": difference.rule.source},
    }


def diff(before: Path, after: Path | None, side: str = "") -> list[Outcome]:
    """Compare two files, or the states of bundles, as `pairs`. Raises UsageError."""
    outcomes = []
    for ours, theirs in pairs(before, after, side):
        try:
            outcomes.append(compared(open_file(ours), open_file(theirs)))
        except NoEvidence as error:
            raise UsageError(error.what, where=f"{ours}, {theirs}") from None
    return outcomes
