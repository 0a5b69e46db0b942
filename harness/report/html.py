"""`report.html`: one file that says what broke, for whom it is the first thing they read.

Everything in it comes from `out/` alone, so `make_report` can be run again at any time.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import escape

from harness.errors import HarnessError, UsageError, Verdict
from harness.events import Step
from harness.report import results
from harness.report.evidence import DifferenceRow
from harness.report.files import write_text
from harness.report.model import BROKEN, Case, Run, flatten
from harness.report.past import Past
from harness.report.view import LETTERS, Exhibit, Tail, headline, matrix, reasons

NAME = "report.html"
TAIL = 3000
"""Characters of each console that are shown; the bundle has the rest."""
ROOM = 2_500_000
"""Characters of HTML for evidence; cases beyond that are shown in short, which keeps the report below 5 MB."""
ROWS = 40
"""Registers that differ shown for each case."""


def make_report(out: Path, past: Past | None = None) -> Path:
    """Write `out/report.html` from `out/results.json` and `out/bundles/`, with what the history says; give its path.

    Raises UsageError when `results.json` is missing or wrong, and OSError when the report cannot be written. A bundle
    that is missing or damaged is said to be so in the report.
    """
    run = results.read(out)
    exhibits: dict[str, Exhibit] = {}
    room = ROOM
    for case in run.having(*BROKEN, Verdict.KNOWN):
        exhibit = read_exhibit(out, case)
        room -= len(escape(str(exhibit)))
        if room < 0:
            break
        exhibits[case.id] = exhibit
    path = out / NAME
    write_text(path, render(run, exhibits))
    return path


def render(run: Run, exhibits: dict[str, Exhibit]) -> str:
    """Return the report as HTML. `exhibits` holds the evidence to show by case id; other cases are shown in short."""
    environment = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    known: dict[str, list[Case]] = {}
    for case in run.having(Verdict.KNOWN):
        known.setdefault(str(case.known_issue), []).append(case)
    telling = run.having(*BROKEN, Verdict.KNOWN)
    return environment.get_template("report.html.j2").render(
        run=run,
        headline=headline(run),
        broken=run.having(*BROKEN),
        known=known,
        untried={verdict: reasons(run.having(verdict)) for verdict in (Verdict.SKIP, Verdict.BLOCKED)},
        exhibits=exhibits,
        anchors={case.id: f"case-{number}" for number, case in enumerate(telling, 1)},
        letters=LETTERS,
        provenance=list(flatten(run.provenance)),
        matrix=matrix(run),
    )


def read_exhibit(out: Path, case: Case) -> Exhibit:
    """Read what the case's bundle shows best; of a bundle that is absent or damaged, the exhibit says so."""
    if case.bundle is None:
        return Exhibit(note="No bundle was written for this case.")
    folder = out / case.bundle
    try:
        record = results.typed({"case.json": results.read_json(folder / "case.json")}, "case.json", dict, case.bundle)
        differences = [DifferenceRow(**row) for row in record["differences"]]
        return Exhibit(
            rerun=str(record["rerun"]),
            differences=tuple(differences[:ROWS]),
            omitted=len(differences[ROWS:]),
            steps=tuple(str(Step(**step)) for step in record["steps"]),
            tails=tuple(tail for side in record["sides"] for tail in _tails(folder, side)),
        )
    except (HarnessError, OSError, KeyError, TypeError, ValueError) as error:
        reason = error.what if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        return Exhibit(note=f"The bundle cannot be shown: case.json or a file that it names is damaged ({reason}).")


def _tails(folder: Path, side: dict[str, object]) -> list[Tail]:
    place = folder / "sides" / Path(str(side["folder"])).name
    status = "exit status not known" if side["exit_status"] is None else f"exit status {side['exit_status']}"
    about = f"QEMU {side['qemu_version'] or 'of unknown version'}, {status}"
    console = Tail(f"{side['name']}: console", about, _end(place / "console.log"))
    errors = Tail(f"{side['name']}: error output", about, _end(place / "stderr.log"))
    return [console, errors] if errors.text else [console]


def _end(path: Path) -> str:
    """Return the last `TAIL` characters, whole lines where there are any."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        text = file.read().decode("utf-8", "replace")
    if size <= TAIL:
        return text
    return f"[{size - TAIL} bytes before]\n" + (text.partition("\n")[2] or text)
