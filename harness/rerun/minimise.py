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
    # The bundle of the smallest case so far, None before the first try.
    best: Path | None = None
    _kept: Path | None = None
    _tried: set[str] = field(default_factory=set)
    _runs: int = 0

    def smallest(self, found: Opened, plan: Plan) -> Plan | None:
        """Return the smallest plan that fails in the same way; None where the plan as it is does not. Raises Cannot."""
        if not self._fails(plan, "as it is"):
            return None
        while True:
            before = plan
            for kind in KINDS:
                plan = self._less(kind, found, plan, set())
            if plan == before:
                return plan

    def _less(self, kind: Kind, found: Opened, plan: Plan, seen: set[str]) -> Plan:
        """Return the plan with less of one kind of things, as much less as fails in the same way; no words twice."""
        for reduction in kind(plan, found.arguments):
            if reduction.words in seen:
                continue
            seen.add(reduction.words)
            key = json.dumps(replace(reduction.plan, dropped=()).to_data(), sort_keys=True)
            if key in self._tried:
                continue
            self._tried.add(key)
            smaller = replace(reduction.plan, dropped=(*plan.dropped, reduction.words))
            try:
                fails = self._fails(smaller, reduction.words)
            except Cannot as error:
                self.say(f"no       {reduction.words}: it cannot be run: {error}")
                continue
            if fails:
                return self._less(kind, found, smaller, seen)
        return plan

    def _fails(self, plan: Plan, words: str) -> bool:
        """Try a plan; keep its bundle where it fails in the same way. Raises Cannot."""
        self._runs += 1
        out = self.scratch / str(self._runs)
        try:
            outcome = self.run(plan, out)
        except Cannot:
            shutil.rmtree(out, ignore_errors=True)
            raise
        count = f"{len(outcome.same)} of {len(outcome.runs)} fail in the same way"
        if len(outcome.same) < self.require:
            self.say(f"no       {words}: {count}; {outcome.others()}")
            shutil.rmtree(out)
            return False
        self.say(f"smaller  {words}: {count}" if plan.dropped else f"{words}: {count}")
        if self._kept:
            shutil.rmtree(self._kept)
        self._kept, self.best = out, outcome.same[0].bundle
        return True


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
