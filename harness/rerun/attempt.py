"""Runs a plan by pytest, in a process of its own, and says how each run ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import Suspect, Verdict
from harness.host.local import LocalHost
from harness.report import results
from harness.report.bundle import RECORD
from harness.report.model import Case
from harness.rerun.failure import Failure
from harness.rerun.needs import Cannot
from harness.rerun.plan import Order, Plan

# What of the environment would make pytest run it otherwise.
_NOT_OURS = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS")


@dataclass(frozen=True)
class Ended:
    """How one run ended, and where its bundle is; a case that passed has none.

    `began` says whether there was a place to run it: a lab that booted, a host that answered.
    """

    failure: Failure
    bundle: Path | None = None
    began: bool = True

    @property
    def tried(self) -> bool:
        """Whether it came to a verdict on the system under test."""
        failed = self.failure.verdict is Verdict.FAIL and self.failure.suspect is not Suspect.HOST
        return self.began and (failed or self.failure.verdict is Verdict.PASS)


@dataclass(frozen=True)
class Outcome:
    """How all runs of a plan ended, against the failure that was to be seen."""

    wanted: Failure
    runs: Sequence[Ended]

    @property
    def same(self) -> list[Ended]:
        """The runs that failed in the same way."""
        return [run for run in self.runs if self.wanted.same_as(run.failure)]

    @property
    def passed(self) -> bool:
        """Whether all runs passed."""
        return all(run.failure.verdict is Verdict.PASS for run in self.runs)

    @property
    def tried(self) -> bool:
        """Whether any run came to a verdict on the system under test, or failed in the same way."""
        return bool(self.same) or any(run.tried for run in self.runs)

    def require_tried(self) -> None:
        """Raise Cannot where no run says anything of the failure that was to be seen."""
        if not self.tried:
            raise Cannot(f"needs a place where the case comes to a verdict; {self.others()}")

    def others(self) -> str:
        """Say what the runs did that did not fail in the same way."""
        others = [run.failure for run in self.runs if not self.wanted.same_as(run.failure)]
        counted = Counter("passed" if each.verdict is Verdict.PASS else f"{each.verdict}: {each}" for each in others)
        return "; ".join(f"{count} {words}" for words, count in counted.items())


def run(plan: Plan, wanted: Failure, runs: int, root: Path, out: Path) -> Outcome:
    """Run a plan `runs` times in one process of pytest, which leaves its results in `out`.

    `root` is where scenarios are. Raises Cannot with pytest's own line where no case came to an end.
    """
    out.mkdir(parents=True, exist_ok=True)
    order, nothing_known = out / "replay.json", out / "known_issues.toml"
    Order(plan, runs).write(order)
    nothing_known.write_text("")
    for old in out.glob(results.NAME):
        old.unlink()
    argv = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--color=no", f"--rootdir={root}"),
        *(plan.test, f"--replay={order}", f"--out={out}", f"--known-issues={nothing_known}"),
        *("--history=none", *plan.arguments()),
    ]
    env = {name: value for name, value in os.environ.items() if name not in _NOT_OURS}
    done = subprocess.run(argv, cwd=root, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    cases = [case for case in results.read(out).cases if not case.missing] if (out / results.NAME).is_file() else []
    if not cases:
        raise Cannot(_why(done.stdout, done.stderr) or f"pytest ended with status {done.returncode}")
    if len(cases) != runs:
        raise Cannot(f"pytest ended with status {done.returncode} after {len(cases)} of {runs} runs")
    return Outcome(wanted, [_ended(case, out) for case in cases])


def run_here(plan: Plan, wanted: Failure, runs: int, root: Path, out: Path | None) -> Outcome:
    """Run a plan as `run` does; without `out` its results go with this call, whatever ends it."""
    if out is not None:
        return run(plan, wanted, runs, root, out.absolute())
    with LocalHost() as desk:
        return run(plan, wanted, runs, root, desk.directory("rerun"))


def _ended(case: Case, out: Path) -> Ended:
    if case.bundle is None:
        return Ended(Failure(case.verdict, case.suspect, case.message))
    folder = out / case.bundle
    record = results.typed({RECORD: results.read_json(folder / RECORD)}, RECORD, dict, str(folder))
    return Ended(Failure.from_data(record["failure"], str(folder)), folder, record["began"] is True)


def _why(stdout: str, stderr: str) -> str:
    """Return the line in which pytest says why it has not run anything: collection, or else pytest itself."""
    for text, pattern in (
        (stdout, r"^E +pytest\.UsageError: (.+)"),
        (stderr, r"^ERROR: (.+)"),
        (stdout, r"outcomes\.Exit: (.+?) !+$"),
    ):
        if found := re.search(pattern, text, re.MULTILINE):
            return found[1]
    return next(iter([line for line in stdout.splitlines() if line.strip()][::-1]), "")
