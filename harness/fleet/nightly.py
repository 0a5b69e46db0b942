"""A night: get the kernel, run the scenarios on it, compare with last night, and say by the exit status what became of it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from harness.assets import cache, setup
from harness.assets.debian import SUITES
from harness.assets.progress import Progress
from harness.errors import MissingError, UsageError, Verdict
from harness.fleet import kernel
from harness.fleet.limit import GRACE_SECONDS, words_of
from harness.report import history, journal, junit, kcidb, ktap, past, results
from harness.report import html as reports
from harness.report import publish as formats
from harness.report.history import THIS_RUN
from harness.report.kcidb import Sender
from harness.report.model import Case, Run
from harness.report.past import Past
from harness.report.view import headline, leading

END_SECONDS = 180.0
"""What pytest may take, after the last case, to leave its labs and to write its reports."""
INTERRUPT_SECONDS = 60.0
"""What it may take to end after Ctrl-C."""


class Status(IntEnum):
    """The exit status of a night."""

    GOOD = 0
    REGRESSION = 1
    NOT_BEGUN = 2
    BROKEN = 3
    UNPROVEN = 4

    @property
    def words(self) -> str:
        """What it means."""
        return _WORDS[self]


_WORDS = {
    Status.GOOD: "all that was planned was run, and nothing broke",
    Status.REGRESSION: "something fails that did not fail last time",
    Status.NOT_BEGUN: "nothing was run",
    Status.BROKEN: "something fails, and all of it did so last time",
    Status.UNPROVEN: "nothing fails, but something is not proven",
}


@dataclass(frozen=True)
class Night:
    """What the user said. `kernel` is a suite, a path or an address; `seconds` are for all of it, set-up too."""

    out: Path
    seconds: float
    kernel: str | None = None
    sha256: str | None = None
    modules: Path | None = None
    platform: str = "lab"
    refresh: bool = True
    history: Path | None = None
    sender: Sender = field(default_factory=Sender)
    arguments: tuple[str, ...] = ()

    def check(self) -> None:
        """Refuse at once what cannot be meant. Raises UsageError."""
        self.sender.check()
        if self.kernel is not None and self.platform != "lab":
            raise UsageError("is for --platform lab", where=f"--kernel {self.kernel}")
        if self.kernel is None and (self.sha256 or self.modules):
            raise UsageError("goes with --kernel", where="--sha256" if self.sha256 else "--modules")
        if not Path("scenarios").is_dir():
            raise UsageError("there are no scenarios here", where=str(Path.cwd()), remedy="change to the harness's own folder")


def spend(night: Night, progress: Progress) -> int:
    """Spend the night, print what became of it, and return the exit status. Raises UsageError, MissingError: not begun."""
    began = time.monotonic()
    night.check()
    clear(night.out)
    said = _set_up(night, progress)
    left = max(0.0, night.seconds - (time.monotonic() - began))
    status = _pytest(night, said, left)
    try:
        run = journal.read(night.out)
    except UsageError as error:
        raise UsageError(f"pytest ended with status {status} before the first case", where=str(night.out)) from error
    before = _finish(night, run)
    for line in lines(night.out, run, before):
        progress.step(line)
    found = judge(run, before)
    if found is Status.GOOD and status != 0:
        found = Status.UNPROVEN
        progress.step(f"pytest {'did not end' if status is None else f'ended with status {status}'}, and no case says why")
    progress.step(f"exit status {int(found)}: {found.words}")
    return found


def clear(out: Path) -> None:
    """Remove the results of an earlier night, which nobody is to take for this one's; raises OSError."""
    for name in (results.NAME, journal.NAME, journal.PLANNED, junit.NAME, ktap.NAME, kcidb.NAME, reports.NAME):
        (out / name).unlink(missing_ok=True)


def judge(run: Run, before: Past) -> Status:
    """Return what the night comes to. Where there was none before, all that fails is new. Pure."""
    failed = run.having(Verdict.FAIL, Verdict.FIXED)
    if any(_is_new(case, before) for case in failed):
        return Status.REGRESSION
    if failed:
        return Status.BROKEN
    proven = run.totals[Verdict.PASS] + run.totals[Verdict.KNOWN]
    return Status.GOOD if proven and not run.having(Verdict.ERROR) else Status.UNPROVEN


def lines(out: Path, run: Run, before: Past) -> list[str]:
    """Return what a reader has to know, the most telling first. Pure."""
    said = [headline(run, before)]
    lead = leading(run, before)
    if lead is not None and not lead.missing:
        if (known := before.broken.get(lead.id)) is not None:
            first = f"; first bad kernel {known.first_bad_kernel}" if known.first_bad_kernel else ""
            said.append(f"first seen: {known.sentence()}{first}")
        said.append(f"suspect: {lead.suspect or 'nobody yet'}")
        if lead.bundle:
            said.append(f"again: harness repro {out / lead.bundle}")
    words = ", ".join(f"{count} {verdict}" for verdict, count in run.totals.items() if count)
    missing = sum(case.missing for case in run.cases)
    lost = f" ({missing} of them missing)" if missing else ""
    return [*said, f"verdicts: {words or 'none'}{lost}; report: {out / reports.NAME}"]


def _is_new(case: Case, before: Past) -> bool:
    """Say whether the case began to be broken with this run."""
    known = before.broken.get(case.id)
    return known is None or known.since.run == THIS_RUN


def _set_up(night: Night, progress: Progress) -> list[str]:
    """Bring all that the night needs; return what pytest has to be told of the kernel. Raises UsageError, MissingError."""
    if night.kernel is None:
        setup.run(setup.Wanted(), progress)
        return []
    said = kernel.fetch(night.kernel, night.sha256, night.out / "kernel", progress)
    again = night.refresh and said in SUITES
    setup.run(setup.Wanted(lab_kernels=(said,), lab_modules=night.modules), progress, again=again)
    return ["--lab-kernel", said, *(["--lab-modules", str(night.modules)] if night.modules else [])]


def _pytest(night: Night, kernel_words: Sequence[str], left: float) -> int | None:
    """Run pytest; return its exit status, None where it did not end in time and was killed."""
    words = ["scenarios", "--platform", night.platform, *kernel_words, "--out", str(night.out), "--time-limit", words_of(left)]
    words += ["--history", str(night.history)] if night.history else []
    if not any(word.startswith(("-n", "--numprocesses")) for word in night.arguments):
        words += ["-n", "auto"]
    if shutil.which("setpriv") is None:
        raise MissingError("setpriv is not installed", remedy="install util-linux")
    # Should we be killed, it ends as with Ctrl-C, and so in order.
    command = ["setpriv", "--pdeathsig", "INT", sys.executable, "-m", "pytest", *words, *night.arguments]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(left + GRACE_SECONDS + END_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    except BaseException:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(INTERRUPT_SECONDS)
        raise
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _finish(night: Night, run: Run) -> Past:
    """Write what pytest has not written, and return what the history says of the time before. Raises UsageError, OSError."""
    with history.History(night.history or cache.root() / history.NAME) as store:
        before = past.of_run(store, run)
    whole = (night.out / results.NAME).exists()
    chosen = ("kcidb",) if whole else formats.FORMATS
    formats.publish(night.out, run, formats=chosen, sender=night.sender, past=before)
    return before
