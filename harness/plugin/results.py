"""The controller's side: gather the cases that workers report, and write out/ at the end, however the end came."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from harness.assets import qemu as assets_qemu
from harness.errors import HarnessError, Verdict
from harness.plugin import platforms
from harness.report import bundle, html, junit, results
from harness.report.model import Case, Run
from harness.report.results import case_from_data


class Recorder:
    """Cases by node id, in the order in which they ended; a case that ends twice (in its teardown) keeps the later end."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._cases: dict[str, Case] = {}
        self._started = datetime.now(UTC)
        self._clock = time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take over the case that a worker has judged."""
        if (text := getattr(report, "harness_case", None)) is not None:
            case = case_from_data(json.loads(text), report.nodeid)
            self._cases[case.id] = case

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write what is there. A known issue that did not fail fails the run."""
        if not self._cases:
            return
        run = Run(
            started=self._started.strftime("%Y-%m-%dT%H:%M:%SZ"),
            seconds=round(time.monotonic() - self._clock, 1),
            provenance=provenance(session.config),
            cases=tuple(self._cases.values()),
        )
        self._out.mkdir(parents=True, exist_ok=True)
        self._clear(run)
        results.write(self._out, run)
        junit.write(self._out, run)
        html.make_report(self._out)
        if run.having(Verdict.FAIL, Verdict.ERROR, Verdict.FIXED) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say how many cases had which verdict, and where the report is."""
        if self._cases:
            counted = Run("", 0.0, {}, tuple(self._cases.values())).totals
            words = ", ".join(f"{count} {verdict}" for verdict, count in counted.items() if count)
            again = sum(case.arrangements > 1 for case in self._cases.values())
            slow = f"; {again} arranged anew, the computer being too slow" if again else ""
            terminalreporter.write_line(f"verdicts: {words}{slow}; report: {self._out / 'report.html'}")

    def _clear(self, run: Run) -> None:
        """Remove the bundles of earlier runs. At the end: workers have written this run's before the first case is heard of."""
        own = {self._out / case.bundle for case in run.cases if case.bundle}
        for old in {*(self._out / bundle.FOLDER).glob("*")} - own:
            shutil.rmtree(old, ignore_errors=True)


def provenance(config: pytest.Config) -> Mapping[str, object]:
    """Return what a reader needs to know of the run: harness, QEMU, kernel and CPU of the host, Python."""
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
