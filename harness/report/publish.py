"""All formats of one run, each written by the module of its name."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from harness.report import html, junit, kcidb, ktap, results
from harness.report.kcidb import Sender
from harness.report.model import Run
from harness.report.past import Past

_WRITERS: Mapping[str, Callable[[Path, Run, Sender, Past], Path]] = {
    "json": lambda out, run, _sender, _past: results.write(out, run),
    "junit": lambda out, run, _sender, _past: junit.write(out, run),
    "ktap": lambda out, run, _sender, _past: ktap.write(out, run),
    "kcidb": lambda out, run, sender, _past: kcidb.write(out, run, sender),
    "html": lambda out, _run, _sender, past: html.make_report(out, past),
}
FORMATS = tuple(_WRITERS)


def publish(
    out: Path, run: Run, *, formats: Collection[str] = FORMATS, sender: Sender | None = None, past: Past | None = None
) -> list[Path]:
    """Write the formats into `out`, `results.json` always and first: the others can be made again from it.

    Give the paths of what was asked for. Raises OSError, UsageError.
    """
    (sender or Sender()).check()
    results.write(out, run)
    return [_WRITERS[name](out, run, sender or Sender(), past or Past()) for name in FORMATS if name in formats]
