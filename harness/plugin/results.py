"""The controller's side: gather the cases that workers report, and write out/ at the end, however the end came."""

from __future__ import annotations

import json
import platform
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.assets import cache
from harness.assets import qemu as assets_qemu
from harness.errors import HarnessError, Suspect, UsageError, Verdict
from harness.lab.ground import SSH
from harness.plugin import platforms
from harness.plugin.limit import of_run as limit_of
from harness.plugin.progress import Reporter
from harness.report import bundle, history, journal, measured, past
from harness.report.history import History
from harness.report.journal import Journal
from harness.report.model import BROKEN, MISSING, Case, Run, lost
from harness.report.publish import publish
from harness.report.repeats import base
from harness.report.results import case_from_data
from harness.report.versions import Versions

NO_HISTORY = "none"
_PROVENANCE = pytest.StashKey[Mapping[str, object]]()


class Recorder:
    """Cases by node id, in the order in which they ended; of one that ends twice the worker has put both into the later."""

    def __init__(self, config: pytest.Config, out: Path, reporter: Reporter) -> None:
        self._config = config
        self._reporter = reporter
        self._out = out
        self._cases: dict[str, Case] = {}
        self._uncollected: dict[str, Case] = {}
        self._failed: list[str] = []
        self._why: dict[str, str] = {}
        self._latencies: dict[str, list[float]] = {}
        # What hosts that are reached by SSH said of themselves, by the platform's name.
        self._hosts: dict[str, dict[str, str]] = {}
        self._ids: list[str] = []
        self.collected = False
        """Whether this process has left word of what is to be run."""
        self._shown = False
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()
        self._planned: journal.Plan = {}
        self._journal: Journal | None = None
        self._past = _Past(config)
        self.run: Run | None = None

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Know what is to be run where no worker can leave word of it here."""
        self._ids = list(ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Keep in mind, should the run be killed, that a case has begun.

        Show what is going on from the first one on: until then, pytest-xdist writes of its workers.
        """
        if not self._shown:
            self._shown = True
            self._planned = self._plan()
            self._reporter.begin(self._planned, self._past.seconds())
            if self._planned:
                self._take_uncollected()
        if nodeid in self._planned:
            self._opened().begun(nodeid, self._seconds)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep what could not be collected: with pytest-xdist all else is run, and the cases in it are in no plan."""
        if text := getattr(report, "harness_case", None):
            self._uncollected[report.nodeid] = case_from_data(json.loads(text), report.nodeid)

    def _take_uncollected(self) -> None:
        """Take it over, where this is a run of scenarios, once it is known what was planned.

        No case of a later run mends it, so it is not in the history.
        """
        for node, case in self._uncollected.items():
            if node not in self._cases:
                self._take(case)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take over the case that a worker has judged."""
        if report.failed:
            self._failed.append(report.nodeid)
        if (text := getattr(report, "harness_case", None)) is None:
            if report.failed and report.when not in ("setup", "call", "teardown"):  # pytest-xdist's word of a worker that died
                self._died(report.nodeid, str(report.longrepr))
            return
        case = case_from_data(json.loads(text), report.nodeid)
        self._latencies[base(case.id)] = getattr(report, "harness_latencies", [])
        self._take(case)
        versions = Versions(*getattr(report, "harness_versions", ()))
        if case.platform.startswith(SSH) and versions.kernel:
            self._hosts[case.platform] = {"qemu": versions.qemu, "kernel": versions.kernel}
        self._past.add(case, versions)

    def _died(self, node: str, words: str) -> None:
        """Note that a worker died of a case: in the teardown of one that has an end, which only what broke it before stays."""
        case = self._cases.get(node)
        if case is None:
            self._why[node] = words
        elif case.verdict in (Verdict.FAIL, Verdict.ERROR):
            self._take(replace(case, message=f"{case.message}; in its teardown: {words}"))
        else:
            self._take(lost(replace(case, known_issue=None), f"{words}, in its teardown"))

    def _take(self, case: Case) -> None:
        self._cases[case.id] = case
        self._opened().add(case, self._seconds)

    def _opened(self) -> Journal:
        """Return the journal, begun with the first case that is heard of."""
        if self._journal is None:
            said = provenance(self._config)
            self._journal = Journal(self._out, self._stamp, said, self._config.getoption("--journal-fd"))
            self._past.begin(self._stamp, said, len(self._plan()))
        return self._journal

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write what is there, and what was planned and is not as missing. A known issue that did not fail fails the run."""
        limit = limit_of(self._config)
        plan = self._plan() if self._shown or self._uncollected or (limit and limit.reached) else {}
        if not (self._cases or plan):
            return
        self._take_uncollected()
        late = {node: said for node in plan if (said := limit.why_missing(node))} if limit else {}
        cases = journal.completed(plan, self._cases.values(), self._config.getoption("--require"), late | self._why)
        told = {f"{MISSING}{said}" for said in late.values()}
        cases = [replace(case, suspect=Suspect.CONFIGURATION) if case.message in told else case for case in cases]
        seconds = self._seconds
        about = {**provenance(self._config), **({"hosts": self._hosts} if self._hosts else {})}
        run = self.run = Run(self._stamp, seconds, about, tuple(cases))
        self._out.mkdir(parents=True, exist_ok=True)
        self._clear(run)
        measured.write(self._out, self._latencies)
        publish(self._out, run, past=self._past.of(run))
        self._past.finish(seconds)
        self._opened().remove()
        self._conclude(session, run)

    def _conclude(self, session: pytest.Session, run: Run) -> None:
        """Have the exit status say what the verdicts do, where pytest has nothing worse to say."""
        if run.having(*BROKEN) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self._config.getoption("--require") is None or session.exitstatus != pytest.ExitCode.TESTS_FAILED:
            return
        good = {case.id for case in run.cases if case.verdict not in BROKEN}
        # All that failed are tries of cases of which enough went well; a module that cannot be collected fails too.
        excused = len(self._failed) == session.testsfailed and {base(node) for node in self._failed} <= good
        if excused and not run.having(*BROKEN):  # what is missing has failed nowhere
            session.exitstatus = pytest.ExitCode.OK

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many cases had which verdict, what is new, and where the report is."""
        if self.run is None:
            return
        words = ", ".join(f"{count} {verdict}" for verdict, count in self.run.totals.items() if count)
        missing = sum(case.missing for case in self.run.cases)
        lost = f" ({missing} of them missing: planned, and not heard of)" if missing else ""
        again = sum(case.arrangements > 1 for case in self.run.cases)
        slow = f"; {again} arranged anew, the computer being too slow" if again else ""
        terminalreporter.write_line(f"verdicts: {words}{lost}{slow}; report: {self._out / 'report.html'}")
        if self._past.trouble:
            terminalreporter.write_line(f"the history was not written: {self._past.trouble}")

    @property
    def _stamp(self) -> str:
        # To the millisecond: of two runs in one second the history has to know which came first.
        return self._started.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    @property
    def _seconds(self) -> float:
        return round(time.monotonic() - self._clock, 1)

    def _plan(self) -> journal.Plan:
        """Return the cases that were to be run; none where pytest runs something else, whatever an earlier run has left."""
        if not self._ids:
            return journal.planned(self._out) if self.collected else {}
        plan = journal.planned(self._out)
        if plan and plan.keys() <= set(self._ids):
            return plan
        if not self._cases:
            return {}
        name = self._config.getoption("--platform")
        return {node: journal.skeleton(node, name) for node in self._ids}

    def _clear(self, run: Run) -> None:
        """Remove the bundles of earlier runs. At the end: workers have written this run's before the first case is heard of."""
        cases = (*run.cases, *self._cases.values())
        own = {self._out / case.bundle for case in cases if case.bundle}
        for old in {*(self._out / bundle.FOLDER).glob("*")} - own:
            shutil.rmtree(old, ignore_errors=True)


class _Past:
    """The run's row in the history. A history that cannot be written spoils no run; `trouble` says why."""

    def __init__(self, config: pytest.Config) -> None:
        said = config.getoption("--history")
        self._path = None if said == NO_HISTORY else Path(said) if said else cache.root() / history.NAME
        self._history: History | None = None
        self._number = 0
        self.trouble = ""

    def begin(self, started: str, said: Mapping[str, object], planned: int) -> None:
        """Open the history, and add the run."""

        def open_it() -> None:
            assert self._path is not None
            self._history = History(self._path)
            self._number = self._history.begin(started, said, planned or None)

        if self._path is not None:
            self._tried(open_it)

    def add(self, case: Case, versions: Versions) -> None:
        """Add a try that ended."""

        def add_it() -> None:
            if self._history:
                self._history.add(self._number, [(case, versions)])

        self._tried(add_it)

    def seconds(self) -> dict[str, float]:
        """Return how long cases took in earlier runs, by their key."""
        found: dict[str, float] = {}

        def look() -> None:
            if self._path and self._path.exists():
                with History(self._path) as store:
                    found.update(store.seconds())

        self._tried(look)
        return found

    def of(self, run: Run) -> past.Past | None:
        """Return what earlier runs say of this one."""
        found: list[past.Past] = []

        def look() -> None:
            if self._history:
                found.append(past.of_run(self._history, run))

        self._tried(look)
        return found[0] if found else None

    def finish(self, seconds: float) -> None:
        """Say that the run has ended, and close the history."""

        def close_it() -> None:
            if self._history:
                self._history.finish(self._number, seconds)
                self._history.close()

        self._tried(close_it)

    def _tried(self, work: Callable[[], object]) -> None:
        if self.trouble:
            return
        try:
            work()
        except (sqlite3.Error, UsageError, OSError) as error:
            self.trouble = str(error)


def provenance(config: pytest.Config) -> Mapping[str, object]:
    """Return what a reader needs to know of the run, found out once a process."""
    if _PROVENANCE not in config.stash:
        config.stash[_PROVENANCE] = _found_out(config)
    return config.stash[_PROVENANCE]


def _found_out(config: pytest.Config) -> Mapping[str, object]:
    """Find out about harness, QEMU, kernel and CPU of the host, Python."""
    try:
        found = assets_qemu.resolve(config.getoption("--qemu"))
        qemu: dict[str, object] = {"version": found.version_text, "origin": found.origin}
        kernels = platforms.lab_kernels(config.getoption)
    except HarnessError as error:
        qemu, kernels = {"missing": str(error)}, {}
    return {
        "harness": _describe(config.rootpath),
        "qemu": qemu,
        "kernels": {"host": platform.release(), **kernels},
        "cpu": _cpu(),
        "python": platform.python_version(),
        "options": " ".join(config.invocation_params.args),
    }


def _describe(root: Path) -> str:
    """Return `git describe` of the harness, or its lack."""
    git = shutil.which("git")
    if git is None:
        return "unknown (no git)"
    argv = [git, "-C", str(root), "describe", "--always", "--dirty"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown (no checkout)"


def _cpu() -> str:
    """Return the host CPU's name from /proc/cpuinfo, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
