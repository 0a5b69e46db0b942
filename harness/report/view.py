"""What the report shows, worked out from a run: the headline, the matrix, the reasons. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import Verdict
from harness.report.evidence import DifferenceRow
from harness.report.model import BROKEN, Case, Run

ROW_PARAMS = {"timer": "{}", "instant": "{}", "sets": "{}", "el": "EL{}", "e2h": "E2H={}"}
"""Parameters that make a row of the matrix, and how they are written; the others are summed up in its cells."""

LETTERS = {
    Verdict.FAIL: "✗",
    Verdict.ERROR: "!",
    Verdict.FIXED: "F",
    Verdict.KNOWN: "K",
    Verdict.BLOCKED: "B",
    Verdict.PASS: "✓",
    Verdict.SKIP: "-",
}
"""A sign for each verdict, worst first, so that colour is never the only hint."""


@dataclass(frozen=True)
class Tail:
    """The end of one log of one side."""

    title: str
    about: str
    text: str


@dataclass(frozen=True)
class Exhibit:
    """What of a bundle is shown; `omitted` counts the differences left out, `note` says why there is nothing."""

    rerun: str = ""
    differences: tuple[DifferenceRow, ...] = ()
    omitted: int = 0
    steps: tuple[str, ...] = ()
    tails: tuple[Tail, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Cell:
    """The cases of one row under one lifecycle: counts for each verdict, worst first, and the first telling case."""

    counts: tuple[tuple[Verdict, int], ...] = ()
    first: str | None = None


@dataclass(frozen=True)
class Row:
    """One scenario under all lifecycles."""

    subject: str
    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """Scenarios down, lifecycles across."""

    lifecycles: tuple[str, ...]
    rows: tuple[Row, ...]


def headline(run: Run) -> str:
    """Say in one sentence how the run ended, who is suspected, and what broke first."""
    totals, count = run.totals, len(run.cases)
    if not count:
        return "Nothing was run, so nothing is proven."
    broken = run.having(*BROKEN)
    if not broken:
        return _unbroken(run)
    words = {Verdict.FAIL: "failed", Verdict.ERROR: "ended in an error", Verdict.FIXED: "did not fail as known"}
    parts = [f"{totals[verdict]} {words[verdict]}" for verdict in BROKEN if totals[verdict]]
    first = broken[0].message.partition("\n")[0].strip() or broken[0].id
    suspects = Counter(str(case.suspect) for case in broken if case.suspect and "suspect" not in first)
    suspected = f", suspect {' and '.join(name for name, _ in suspects.most_common(2))}" if suspects else ""
    return f"Of {_cases(count)}, {' and '.join(parts)}{suspected}: {first.rstrip('.')}."


def _unbroken(run: Run) -> str:
    totals = run.totals
    passed, known = totals[Verdict.PASS], totals[Verdict.KNOWN]
    untried = totals[Verdict.SKIP] + totals[Verdict.BLOCKED]
    rest = f"; {_cases(untried)} could not be tried" if untried else ""
    if not passed and not known:
        return f"Nothing is proven: none of {_cases(len(run.cases))} could be tried."
    if not known:
        return f"Nothing broke: {_cases(passed)} passed{rest}."
    issues = sorted({str(case.known_issue) for case in run.having(Verdict.KNOWN)})
    names = ", ".join(issues[:3]) + (f" and {len(issues) - 3} more" if len(issues) > 3 else "")
    return f"Nothing new broke: {_cases(passed)} passed, {known} failed as known ({names}){rest}."


def matrix(run: Run) -> Matrix:
    """Sum the cases up by scenario and lifecycle. `straight` comes first: every other column is read against it."""
    lifecycles = sorted({case.lifecycle for case in run.cases}, key=lambda name: (name != "straight", name))
    grouped: dict[tuple[str, str], dict[str, list[Case]]] = {}
    for case in run.cases:
        name = " ".join(form.format(case.params[key]) for key, form in ROW_PARAMS.items() if key in case.params) or "all"
        grouped.setdefault((case.subject, name), {}).setdefault(case.lifecycle, []).append(case)
    rows = [
        Row(subject, name, tuple(_cell(columns.get(lifecycle, [])) for lifecycle in lifecycles))
        for (subject, name), columns in sorted(grouped.items())
    ]
    return Matrix(tuple(lifecycles), tuple(rows))


def _cell(cases: list[Case]) -> Cell:
    counted = Counter(case.verdict for case in cases)
    telling = (case.id for verdict in (*BROKEN, Verdict.KNOWN) for case in cases if case.verdict is verdict)
    return Cell(tuple((verdict, counted[verdict]) for verdict in LETTERS if counted[verdict]), next(telling, None))


def reasons(cases: Iterable[Case]) -> list[tuple[str, int]]:
    """Return the distinct messages of `cases` with how often each was given, the most frequent first."""
    return Counter(case.message or "no reason was given" for case in cases).most_common()


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"
