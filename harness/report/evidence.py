"""All that is known of one failure, before it is put on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.events import Step
from harness.report.model import Case, Provenance
from harness.state.diff import Comparison
from harness.state.model import Value


@dataclass(frozen=True)
class Side:
    """One machine of the case: `source`, `destination`, `hop-2`. `exit_status` is None where it is not known."""

    name: str
    argv: tuple[str, ...]
    qemu_version: str = ""
    exit_status: int | None = None
    console: str = ""
    qmp: str = ""
    stderr: str = ""


@dataclass(frozen=True)
class DifferenceRow:
    """A register, or one field of it, that is not what it was; `rule` says what it should be and why."""

    name: str
    field: str
    before: str
    after: str
    rule: str = ""


@dataclass(frozen=True)
class Stream:
    """A migration stream on this computer, to be compressed into the bundle."""

    name: str
    path: Path


@dataclass(frozen=True)
class Evidence:
    """What `bundle.write` puts on disk.

    `options` are the pytest options that, with the node id, re-run the case; `rerun` is what `harness repro` needs to know:
    `plan`, `failure`, `inputs` and `sources` as data (harness/rerun). `states` are register states by name, as
    JSON text or as the data to write. `provenance` is that of the run.
    """

    case: Case
    options: tuple[str, ...] = ()
    sides: tuple[Side, ...] = ()
    states: Mapping[str, str | Mapping[str, object]] = field(default_factory=dict)
    streams: tuple[Stream, ...] = ()
    differences: tuple[DifferenceRow, ...] = ()
    steps: tuple[Step, ...] = ()
    provenance: Provenance = field(default_factory=dict)
    rerun: Mapping[str, object] = field(default_factory=dict)
    # What the hosts of its sides said of themselves (harness/plugin/hosts.py).
    hosts: tuple[Mapping[str, str], ...] = ()


def rows_of(comparison: Comparison) -> tuple[DifferenceRow, ...]:
    """Return what must survive and did not: a row for each field, or one for a register without known fields."""
    rows = []
    for failure in comparison.failures:
        rule = f"{failure.rule.kind}: {failure.rule.reason}"
        if failure.fields:
            rows += [
                DifferenceRow(failure.name, changed.name, f"{changed.before:#x}", f"{changed.after:#x}", rule)
                for changed in failure.fields
            ]
        else:
            rows.append(DifferenceRow(failure.name, "", _show(failure.before), _show(failure.after), rule))
    return tuple(rows)


def _show(value: Value | None) -> str:
    if value is None:
        return "absent"
    return value.hex() if isinstance(value, bytes) else f"{value:#x}"
