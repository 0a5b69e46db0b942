"""What is to be run again: a scenario, its parameters, the options, and what is to be otherwise than the scenario has it.

A plan comes out of a bundle, and a bundle comes by mail: nothing in it is believed. A scenario is a file below this checkout,
values are plain words, and of a machine only what `_MACHINE` names can be changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.qemu.spec import MachineSpec
from harness.tables import only

Value = str | int | None

LAB = ("lab_kernel", "lab_modules", "lab_cpu", "lab_qemu")
OPTIONS = ("platform", "qemu", "dst_qemu", *LAB, *(f"dst_{name}" for name in LAB), "hosts")
"""The options of pytest that a plan may name, in Python's spelling."""
MOST_RUNS = 1000

_TEST = re.compile(r"(?P<path>\w[\w./-]*\.py)::\w+")
_NAME = re.compile(r"[A-Za-z]\w*")
_WORD = re.compile(r"[\w.,=+:#-]*")


def _between(low: int, high: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


# Fields of MachineSpec, and what they may become.
_MACHINE: Mapping[str, Callable[[object], bool]] = {
    "memory_mib": _between(1, 1 << 20),
    "gic_version": _between(2, 4),
    "console": lambda value: value in ("pl011", "virtio"),
    "options": lambda value: value == "its=off",
}


@dataclass(frozen=True)
class Changes:
    """What is otherwise than scenario and matrix have it.

    `params` of the case and `arguments` of the payload by name, None where there is to be none of that name; `machine` are
    fields of MachineSpec.
    """

    params: Mapping[str, Value] = field(default_factory=dict)
    machine: Mapping[str, Value] = field(default_factory=dict)
    arguments: Mapping[str, Value] = field(default_factory=dict)

    def of_case(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters as they are to be."""
        return _merged(params, self.params)

    def of_payload(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments as they are to be."""
        return _merged(arguments, self.arguments)

    def of_machine(self, spec: MachineSpec) -> MachineSpec:
        """Return the machine as it is to be."""
        fields: dict[str, Any] = dict(self.machine)
        if options := fields.pop("options", None):
            fields["options"] = (*spec.options, options)
        return replace(spec, **fields)


def _merged(values: Mapping[str, Any], changed: Mapping[str, Value]) -> dict[str, Any]:
    return {name: value for name, value in {**values, **changed}.items() if value is not None or name not in changed}


@dataclass(frozen=True)
class Plan:
    """One case, to be run. `test` is the node id without parameters, `params` are the case's own, without those of a lab."""

    test: str
    params: Mapping[str, str | int]
    options: Mapping[str, str] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    # What `minimise` has taken away, in words.
    dropped: tuple[str, ...] = ()

    @property
    def platform(self) -> str:
        """Where guests run."""
        return self.options.get("platform", "tcg")

    @property
    def path(self) -> str:
        """The file of the scenario, below the checkout."""
        return self.test.partition("::")[0]

    def arguments(self) -> list[str]:
        """Return the options as pytest's, each one word."""
        return [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]

    def to_data(self) -> dict[str, object]:
        """Return it as JSON data."""
        return {**asdict(self), "dropped": list(self.dropped)}

    @classmethod
    def from_data(cls, data: object, where: str) -> Plan:
        """Return the plan that `to_data` wrote. Raises UsageError with `where` for anything else."""
        table = _table(data, where)
        only(table, ("test", "params", "options", "changes", "dropped"), where)
        test = table.get("test")
        found = _TEST.fullmatch(test) if isinstance(test, str) else None
        if found is None or ".." in Path(found["path"]).parts:
            raise UsageError(f"{test!r} is not the name of a scenario", where=where)
        params = _values(table, "params", where)
        if "lifecycle" not in params or None in params.values():
            raise UsageError("'params' names no lifecycle, or has a value that is none", where=where)
        options = _values(table, "options", where, any_text=True)
        only(options, OPTIONS, where)
        if wrong := [name for name, value in options.items() if not isinstance(value, str) or not value.isprintable()]:
            raise UsageError(f"option {wrong[0]!r} must be one line of text", where=where)
        changes = _table(table.get("changes", {}), where)
        only(changes, ("params", "machine", "arguments"), where)
        groups = {name: _values(changes, name, where) for name in ("params", "machine", "arguments")}
        if chosen := [name for name in groups["params"] if name in OPTIONS]:
            raise UsageError(f"{chosen[0]!r} is an option, and no parameter of a case", where=where)
        for name, value in groups["machine"].items():
            if name not in _MACHINE or not _MACHINE[name](value):
                raise UsageError(f"a machine cannot have {name} {value!r}", where=where)
        dropped = table.get("dropped", [])
        if not isinstance(dropped, list) or not all(isinstance(words, str) for words in dropped):
            raise UsageError("'dropped' must be a list of words", where=where)
        return cls(str(test), params, options, Changes(**groups), tuple(dropped))


@dataclass(frozen=True)
class Order:
    """A plan and how often it is to be run: what `pytest --replay FILE` reads."""

    plan: Plan
    runs: int = 1

    def write(self, path: Path) -> None:
        """Write the file. Raises OSError."""
        path.write_text(json.dumps({"plan": self.plan.to_data(), "runs": self.runs}))

    @classmethod
    def read(cls, path: Path) -> Order:
        """Return what `write` wrote. Raises UsageError."""
        try:
            table = _table(json.loads(path.read_text("utf-8")), str(path))
        except OSError as error:
            raise UsageError(f"cannot be read ({error.strerror})", where=str(path)) from error
        except ValueError as error:
            raise UsageError(f"is not JSON ({error})", where=str(path)) from error
        only(table, ("plan", "runs"), str(path))
        runs = table.get("runs", 1)
        if not isinstance(runs, int) or not 1 <= runs <= MOST_RUNS:
            raise UsageError(f"'runs' must be from 1 to {MOST_RUNS}", where=str(path))
        return cls(Plan.from_data(table.get("plan"), str(path)), runs)


def _table(data: object, where: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise UsageError(f"expected a table, found {json.dumps(data)[:40]}", where=where)
    return data


def _values(table: Mapping[str, Any], key: str, where: str, *, any_text: bool = False) -> dict[str, Any]:
    """Return a table of plain values by name."""
    values = _table(table.get(key, {}), f"{where}, {key}")
    for name, value in values.items():
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name", where=f"{where}, {key}")
        plain = value is None or (isinstance(value, int) and not isinstance(value, bool))
        if not plain and not (isinstance(value, str) and (any_text or _WORD.fullmatch(value))):
            raise UsageError(f"{name!r} must be a number or a plain word, not {value!r}", where=f"{where}, {key}")
    return values
