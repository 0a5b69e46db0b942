"""`results.json`: the contract with dashboards. Strict both ways."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from harness.errors import Suspect, UsageError, Verdict
from harness.report.files import write_text
from harness.report.model import SCHEMA, Case, Compared, Run
from harness.report.privacy import Redactor

NAME = "results.json"
BUNDLE = re.compile(r"bundles/[A-Za-z0-9_-][A-Za-z0-9._-]*")

RUN_KEYS = ("schema", "started", "seconds", "provenance", "cases", "totals")
CASE_KEYS = tuple(field.name for field in fields(Case))
COMPARED_KEYS = tuple(field.name for field in fields(Compared))

T = TypeVar("T")


def case_to_data(case: Case) -> dict[str, object]:
    """Return the case as JSON data, for `results.json`, for bundles and for the way from a worker to its controller."""
    return {**asdict(case), "params": dict(case.params)}


def run_to_data(run: Run) -> dict[str, object]:
    """Return the run as JSON data, with its totals."""
    return {
        "schema": SCHEMA,
        "started": run.started,
        "seconds": run.seconds,
        "provenance": dict(run.provenance),
        "cases": [case_to_data(case) for case in run.cases],
        "totals": dict(run.totals),
    }


def keyed(data: object, keys: tuple[str, ...], where: str) -> dict[str, object]:
    """Return `data` when it is an object with exactly `keys`; raises UsageError that names the first that is not so."""
    if not isinstance(data, dict):
        raise UsageError(f"expected an object, found {json.dumps(data)[:40]}", where=where)
    if missing := [key for key in keys if key not in data]:
        raise UsageError(f"key {missing[0]!r} is missing", where=where)
    if unknown := [key for key in data if key not in keys]:
        raise UsageError(f"unknown key {unknown[0]!r}", where=where, remedy=f"the keys are {', '.join(keys)}")
    return data


def typed(data: Mapping[str, object], key: str, kind: type[T], where: str) -> T:
    """Return `data[key]` when it is of `kind` (an integer passes for a float); raises UsageError otherwise."""
    value = data[key]
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UsageError(f"{key!r} must be {kind.__name__}, not {json.dumps(value)[:40]}", where=where)
    return value


def case_from_data(data: object, where: str) -> Case:
    """Return the case that `case_to_data` wrote; raises UsageError with `where` for anything else."""
    if isinstance(data, dict):
        data = {"arrangements": 1, **data}  # of results that were written before it was counted
    given = keyed(data, CASE_KEYS, where)
    where = f"{where} ({given['id']})"
    params = typed(given, "params", dict, where)
    for name, value in params.items():
        if not isinstance(value, str | int | float | bool | None):
            raise UsageError(f"parameter {name!r} must be one plain value", where=where)
    counts = keyed(given["compared"], COMPARED_KEYS, f"{where}, compared")
    case = Case(
        id=typed(given, "id", str, where),
        subject=typed(given, "subject", str, where),
        platform=typed(given, "platform", str, where),
        lifecycle=typed(given, "lifecycle", str, where),
        params=params,
        verdict=_verdict(typed(given, "verdict", str, where), where),
        suspect=_suspect(given["suspect"], where),
        seconds=typed(given, "seconds", float, where),
        known_issue=None if given["known_issue"] is None else typed(given, "known_issue", str, where),
        message=typed(given, "message", str, where),
        bundle=None if given["bundle"] is None else typed(given, "bundle", str, where),
        compared=Compared(**{key: typed(counts, key, int, where) for key in COMPARED_KEYS}),
        arrangements=typed(given, "arrangements", int, where),
    )
    if (case.known_issue is not None) != (case.verdict in (Verdict.KNOWN, Verdict.FIXED)):
        raise UsageError("'known_issue' goes with the verdicts known and fixed, and with no other", where=where)
    if case.bundle is not None and not BUNDLE.fullmatch(case.bundle):
        raise UsageError(f"{case.bundle!r} is not the path of a bundle", where=where)
    return case


def run_from_data(data: object, where: str) -> Run:
    """Return the run that `run_to_data` wrote; raises UsageError with `where` for anything else."""
    given = keyed(data, RUN_KEYS, where)
    if given["schema"] != SCHEMA:
        raise UsageError(f"schema {given['schema']!r}, but only {SCHEMA} is known", where=where)
    started = typed(given, "started", str, where)
    try:
        datetime.fromisoformat(started)
    except ValueError:
        raise UsageError(f"'started' is not a time: {started!r}", where=where) from None
    cases = typed(given, "cases", list, where)
    run = Run(
        started=started,
        seconds=typed(given, "seconds", float, where),
        provenance=typed(given, "provenance", dict, where),
        cases=tuple(case_from_data(case, f"{where}, case {number}") for number, case in enumerate(cases, 1)),
    )
    if given["totals"] != dict(run.totals):
        raise UsageError("the totals are not those of the cases", where=where)
    return run


def redacted(run: Run, redactor: Redactor | None = None) -> Run:
    """Return the run without the user's name and home, as `results.json` has it and each other format is made of it."""
    return run_from_data((redactor or Redactor.here()).data(run_to_data(run)), NAME)


def write(out: Path, run: Run, redactor: Redactor | None = None) -> Path:
    """Write `out/results.json` in one step, without the user's name and home; raises OSError."""
    data = (redactor or Redactor.here()).data(run_to_data(run))
    path = out / NAME
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return path


def read(out: Path) -> Run:
    """Read `out/results.json`; raises UsageError that says in one line what is wrong with it."""
    path = out / NAME
    return run_from_data(read_json(path), str(path))


def read_json(path: Path) -> object:
    """Return the JSON in `path`; raises UsageError when it cannot be read or is not JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise UsageError(f"is not JSON ({error})", where=str(path)) from error


def _verdict(text: str, where: str) -> Verdict:
    if text not in list(Verdict):
        raise UsageError(f"unknown verdict {text!r}", where=where, remedy=f"the verdicts are {', '.join(Verdict)}")
    return Verdict(text)


def _suspect(value: object, where: str) -> Suspect | None:
    if value is None:
        return None
    if value not in list(Suspect):
        raise UsageError(f"unknown suspect {value!r}", where=where, remedy=f"the suspects are {', '.join(Suspect)}")
    return Suspect(str(value))
