"""What is done with the merged results of many runs: all formats, a row in the history, the lines that a reader sees first."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.assets import cache
from harness.report import history, past
from harness.report import publish as formats
from harness.report.model import BROKEN, Run
from harness.report.versions import of_case

_PARTS = "parts"


@contextmanager
def parts(out: Path) -> Iterator[Path]:
    """Give `out/parts`, empty, for what the parts of a run leave; at the end only what they said is left there."""
    folder = out / _PARTS
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        for part in folder.iterdir():
            if part.is_dir():
                shutil.rmtree(part, ignore_errors=True)


def publish(out: Path, run: Run, place: Path | None) -> list[str]:
    """Write all formats to `out`, add the run to the history at `place` (None: in the cache), and say what it found.

    Raises UsageError, OSError.
    """
    out.mkdir(parents=True, exist_ok=True)
    with history.History(place or cache.root() / history.NAME) as store:
        before = past.of_run(store, run)
        number = store.begin(run.started, run.provenance, len(run.cases))
        store.add(number, [(case, of_case(case, run.provenance)) for case in run.cases if not case.missing])
        store.finish(number, run.seconds)
    formats.publish(out, run, past=before)
    words = ", ".join(f"{count} {verdict}" for verdict, count in run.totals.items() if count)
    missing = [case for case in run.cases if case.missing]
    lost = f" ({len(missing)} of them missing)" if missing else ""
    lines = [f"{case.id}: {case.message}" for case in missing]
    return [*lines, f"verdicts: {words}{lost}; report: {out / 'report.html'}"]


def status(run: Run) -> int:
    """Return the exit status: 0 where nothing broke and nothing is missing, 1 where something did, or nothing was run."""
    return int(bool(run.having(*BROKEN)) or not run.cases)
