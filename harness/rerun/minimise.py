"""Makes a bundle smaller: takes away one thing after the other, as long as the case still fails in the same way.

Greedy, in passes over all kinds of reductions until a pass finds nothing more (1-minimal, as Zeller and Hildebrandt call it,
doi 10.1109/32.988498): what is left is needed, each thing by itself. Each try is a run of pytest, and what comes out is the
bundle that the last one which failed in the same way has written.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.errors import HarnessBug, UsageError
from harness.report.bundle import RECORD
from harness.report.files import replaced_directory
from harness.rerun import opened
from harness.rerun.attempt import Outcome
from harness.rerun.failure import Failure
from harness.rerun.needs import Cannot
from harness.rerun.opened import Opened
from harness.rerun.plan import Plan
from harness.rerun.reductions import KINDS, Kind

LOG = "minimised.txt"

Run = Callable[[Plan, Path], Outcome]
"""Runs a plan some times, leaving its results in a directory. Raises Cannot."""


@dataclass
class Search:
    """The search for less. `run` runs a plan, `require` of its runs have to fail as `wanted`, `say` hears of every try.

    `scratch` is where results of tries go, one directory each; all but the best are removed at once.
    """

    run: Run
    wanted: Failure
    require: int
    scratch: Path
    say: Callable[[str], None]
    # The smallest case so far, as its bundle says it, and where that is; None before the first try.
    found: Opened | None = None
    best: Path | None = None
    _kept: Path | None = None
    _tried: set[str] = field(default_factory=set)
    _runs: int = 0

    def smallest(self, plan: Plan) -> Plan | None:
        """Return the smallest plan that fails in the same way; None where the plan as it is does not. Raises Cannot."""
        if not self._fails(plan, "as it is") or self.found is None:
            return None
        plan = replace(plan, params=self.found.plan.params)  # on another platform than the bundle's, some may be others
        while True:
            before = plan
            for kind in KINDS:
                plan = self._less(kind, plan, self.found, set())
            if plan == before:
                return plan

    def _less(self, kind: Kind, plan: Plan, found: Opened, seen: set[str]) -> Plan:
        """Return the plan with less of one kind of things, as much less as fails in the same way; no words twice."""
        for reduction in kind(plan, found.arguments):
            key = json.dumps(replace(reduction.plan, dropped=()).to_data(), sort_keys=True)
            if reduction.words in seen or key in self._tried:
                continue
            seen.add(reduction.words)
            self._tried.add(key)
            smaller = replace(reduction.plan, dropped=(*plan.dropped, reduction.words))
            try:
                if self._fails(smaller, reduction.words):
                    return self._less(kind, smaller, self.found or found, seen)
            except Cannot as error:
                self.say(f"no       {reduction.words}: it cannot be run: {error}")
        return plan

    def _fails(self, plan: Plan, words: str) -> bool:
        """Try a plan; keep its bundle where it fails in the same way, and was run as it is. Raises Cannot."""
        self._runs += 1
        out = self.scratch / str(self._runs)
        try:
            outcome = self.run(plan, out)
            outcome.require_tried()
            bundle = next((run.bundle for run in outcome.same if run.bundle), None)
            found = opened.read(bundle) if bundle else None
            if found and self.found and (found.plan.params, found.plan.changes) != (plan.params, plan.changes):
                raise Cannot("it was run otherwise")
        except Cannot:
            shutil.rmtree(out, ignore_errors=True)
            raise
        count = f"{len(outcome.same)} of {len(outcome.runs)} fail in the same way"
        if found is None or len(outcome.same) < self.require:
            self.say(f"no       {words}: {count}; {outcome.others()}")
            shutil.rmtree(out)
            return False
        self.say(f"smaller  {words}: {count}" if self.found else f"{words}: {count}")
        if self._kept:
            shutil.rmtree(self._kept)
        self._kept, self.found, self.best = out, found, bundle
        return True


def shrink(search: Search, plan: Plan, target: Path, log: list[str]) -> int | None:
    """Search, and put the smallest bundle at `target`; return how many things are gone, None where nothing is reproduced.

    What there is by then is kept also where the search is interrupted. Raises Cannot, HarnessBug, OSError.
    """
    gone = 0
    try:
        smallest = search.smallest(plan)
    finally:
        if search.best and search.found and (gone := len(search.found.plan.dropped) - len(plan.dropped)):
            keep(search.best, target, search.wanted, log)
            search.say(f"{gone} thing{'s' * (gone > 1)} taken away: {target}")
    return None if smallest is None else gone


def target_of(bundle: Path, out: Path | None) -> Path:
    """Return where the smaller bundle goes: `out`, or beside the bundle. Raises UsageError for what is there and no bundle."""
    name = bundle.absolute().name
    stem = name if bundle.is_dir() else re.sub(r"(\.tar)?\.[a-z0-9]+$", "", name)
    target = out.absolute() if out else bundle.absolute().with_name(f"{stem}-smaller")
    if target.exists() and not (target / RECORD).is_file():
        raise UsageError("it is there, and no bundle", where=str(target), remedy="name another place with --out")
    return target


def keep(bundle: Path, target: Path, wanted: Failure, log: list[str]) -> None:
    """Put a bundle in its place, with the log of the search. Raises HarnessBug where it is not of the same failure, OSError."""
    if not opened.read(bundle).failure.same_as(wanted):
        raise HarnessBug("the smaller bundle is of another failure", where=str(bundle))
    with replaced_directory(target) as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        (folder / LOG).write_text("".join(f"{line}\n" for line in log), "utf-8")
