"""What a run leaves while it goes on, so that one that is killed has results too: what it planned, each end it heard of.

    out/planned.json     each case, written before the first one runs, in place of an earlier run's results
    out/journal.jsonl    a line for the run, then one for each case that began and for each that ended, and one where the host
                         was lost (written by whoever lost it); removed once `results.json` is there

A planned case without an end is `missing`: an error, never a pass.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from harness.errors import Suspect, UsageError, Verdict
from harness.report import results
from harness.report.files import write_text
from harness.report.model import Case, Provenance, Run, lost
from harness.report.privacy import Redactor
from harness.report.repeats import fold

PLANNED, NAME = "planned.json", "journal.jsonl"
KILLED = "the run was ended before it was begun"
RAN = "it ran when the run was ended"

Plan = Mapping[str, Case]


def plan(out: Path, cases: Iterable[Case]) -> None:
    """Write what is to be run, and remove what an earlier run found, which nobody is to take for this one's; raises OSError."""
    for old in (results.NAME, NAME):
        (out / old).unlink(missing_ok=True)
    data = Redactor.here().data([results.case_to_data(case) for case in cases])
    write_text(out / PLANNED, json.dumps(data, ensure_ascii=False) + "\n")


def planned(out: Path) -> Plan:
    """Return the planned cases by id, none where nothing was planned; raises UsageError."""
    path = out / PLANNED
    if not path.exists():
        return {}
    data = results.read_json(path)
    if not isinstance(data, list):
        raise UsageError("expected a list of cases", where=str(path))
    found = [results.case_from_data(each, f"{path}, case {number}") for number, each in enumerate(data, 1)]
    return {case.id: case for case in found}


def completed(
    plan: Plan, ended: Iterable[Case], require: int | None = None, why: Mapping[str, str] | None = None
) -> list[Case]:
    """Return every case that ended, and every one that was planned and did not as missing; tries of one case as one.

    `why` says of some ids why they are missing.
    """
    tries = {case.id: case for case in ended}
    absent = [case for node, case in plan.items() if node not in tries]
    return fold([*tries.values(), *(lost(case, (why or {}).get(case.id, KILLED)) for case in absent)], require)


class Journal:
    """The lines of a run that goes on; each is on disk before the next case can end."""

    def __init__(self, out: Path, started: str, provenance: Provenance, tell: int | None = None) -> None:
        """Begin it. `tell` is a descriptor that gets every line too, the plan first: for a run on another host (fleet)."""
        out.mkdir(parents=True, exist_ok=True)
        self._tell = tell
        self._path = out / NAME
        self._redactor = Redactor.here()
        self._file = self._path.open("w", encoding="utf-8", errors="backslashreplace")
        if tell is not None and (out / PLANNED).exists():
            self._told(json.dumps({"planned": results.read_json(out / PLANNED)}, ensure_ascii=False))
        self._line({"started": started, "provenance": dict(provenance)})

    def begun(self, node: str, at: float) -> None:
        """Say that a case was begun `at` seconds after the run; raises OSError."""
        self._line({"at": at, "begun": node})

    def add(self, case: Case, at: float) -> None:
        """Add a case that ended `at` seconds after the run began; raises OSError."""
        self._line({"at": at, "case": results.case_to_data(case)})

    def _line(self, data: Mapping[str, object]) -> None:
        line = json.dumps(self._redactor.data(data), ensure_ascii=False)
        self._file.write(f"{line}\n")
        self._file.flush()
        self._told(line)

    def _told(self, line: str) -> None:
        if self._tell is None:
            return
        try:
            with os.fdopen(os.dup(self._tell), "wb") as stream:
                stream.write(f"{line}\n".encode("utf-8", "backslashreplace"))
        except OSError:
            self._tell = None  # nobody listens any more; the run goes on

    def remove(self) -> None:
        """Remove it, with the plan: `results.json` is there, and says all that they do."""
        self._file.close()
        self._path.unlink(missing_ok=True)
        self._path.with_name(PLANNED).unlink(missing_ok=True)


def recovered(out: Path) -> Run:
    """Return what a run found that has left no `results.json`, what it did not get to as missing; raises UsageError."""
    path = out / NAME
    planned_cases = planned(out)
    head: Mapping[str, object] = {}
    ended: list[Case] = []
    why: dict[str, str] = {}
    lost_host = ""
    seconds = 0.0
    for number, data in enumerate(_lines(path), 1):
        if "case" in data:
            ended.append(results.case_from_data(data["case"], f"{path}, line {number}"))
            seconds = results.typed(data, "at", float, f"{path}, line {number}")
        elif "begun" in data:
            why[str(data["begun"])] = RAN
        elif "lost" in data:
            lost_host = str(data["lost"])
        else:
            head = results.keyed(data, ("started", "provenance"), f"{path}, line {number}")
    if not (ended or planned_cases):
        raise UsageError(
            f"neither {results.NAME} nor what a run that was killed leaves",
            where=str(out),
            remedy="name a directory that `pytest scenarios --out` has written",
        )
    started = str(head.get("started", "1970-01-01T00:00:00Z"))
    provenance = head.get("provenance", {})
    if lost_host:
        why = dict.fromkeys(why, f"it ran when its host was lost: {lost_host}")
    cases = completed(planned_cases, ended, why=why)
    if lost_host:
        cases = [replace(case, suspect=Suspect.HOST) if case.missing else case for case in cases]
    return Run(started, seconds, provenance if isinstance(provenance, dict) else {}, tuple(cases))


def read(out: Path) -> Run:
    """Return the run that left `out`: its results, or where it was killed, what can be recovered; raises UsageError."""
    return results.read(out) if (out / results.NAME).exists() else recovered(out)


def skeleton(node: str, platform: str) -> Case:
    """Return a planned case of which only the id is known."""
    file = node.partition("::")[0]
    return Case(node, Path(file).parent.name, platform, "not known", {}, Verdict.ERROR)


def _lines(path: Path) -> list[dict[str, object]]:
    """Return the whole lines; the last may have been cut when the run was killed."""
    if not path.exists():
        return []
    try:
        lines = path.read_text("utf-8").split("\n")[:-1]
        found = [json.loads(line) for line in lines]
    except (OSError, ValueError) as error:
        raise UsageError(f"is damaged ({error})", where=str(path)) from error
    if not all(isinstance(each, dict) for each in found):
        raise UsageError("is damaged: not all lines are objects", where=str(path))
    return found
