"""What the report shows, worked out from a run: the headline, the matrix, the reasons. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import Verdict
from harness.report.model import BROKEN, Case, Run
from harness.report.past import Past
from harness.report.sentences import core, kind

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
class Cell:
    """The cases of one row under one lifecycle: counts for each verdict, worst first, and the first telling case."""

    counts: tuple[tuple[Verdict, int], ...] = ()
    first: str | None = None


@dataclass(frozen=True)
class Row:
    """One scenario on one platform, under all lifecycles."""

    subject: str
    name: str
    platform: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Matrix:
    """Scenarios and platforms down, lifecycles across."""

    lifecycles: tuple[str, ...]
    rows: tuple[Row, ...]
    platforms: tuple[str, ...]


@dataclass(frozen=True)
class Kind:
    """Cases that broke in the same way: one verdict, one suspect, one sentence but for its numbers."""

    cases: tuple[Case, ...]

    @property
    def first(self) -> Case:
        """The one that speaks for all."""
        return self.cases[0]

    @property
    def sentence(self) -> str:
        """What went wrong in the first of them."""
        return core(self.first.message) or "No reason was given."

    @property
    def where(self) -> str:
        """Subjects and lifecycles, with how many."""
        return "; ".join(
            ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())
            for names in ((case.subject for case in self.cases), (case.lifecycle for case in self.cases))
        )


def kinds(cases: Iterable[Case]) -> list[Kind]:
    """Return the cases by the way in which they broke, worst verdict first, then the most frequent."""
    groups: dict[tuple[str, str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.verdict, str(case.suspect), kind(case.message)), []).append(case)
    order = list(LETTERS)
    found = [Kind(tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda each: (order.index(each.first.verdict), -len(each.cases)))


def headline(run: Run, past: Past | None = None) -> str:
    """Say in one sentence how the run ended: what is new since the last one, or what broke first, and who is suspected."""
    count = len(run.cases)
    if not count:
        return "Nothing was run, so nothing is proven."
    broken = run.having(*BROKEN)
    told = leading(run, past)
    if told is None:
        return _unbroken(run)
    first = told.message.partition("\n")[0].strip() or told.id
    suspects = Counter(str(case.suspect) for case in broken if case.suspect and "suspect" not in first)
    suspected = f", suspect {' and '.join(name for name, _ in suspects.most_common(2))}" if suspects else ""
    new = regressions(run, past)
    if new and past and past.previous:
        plural = "regression" if len(new) == 1 else "regressions"
        rest = len(broken) - len(new)
        also = f" ({rest} more {'was' if rest == 1 else 'were'} broken before)" if rest else ""
        return f"{len(new)} {plural} since {past.previous.started[:10]}{also}{suspected}: {first.rstrip('.')}."
    return f"Of {_cases(count)}, {_ways(run)}{suspected}: {first.rstrip('.')}."


def leading(run: Run, past: Past | None = None) -> Case | None:
    """Return the broken case that a reader should look at first: what is new, or the worst; None where nothing broke."""
    broken = regressions(run, past) or run.having(*BROKEN)
    told = kinds(case for case in broken if not case.missing) or kinds(broken)
    return told[0].first if told else None


def regressions(run: Run, past: Past | None) -> list[Case]:
    """Return the broken cases that broke since the last run."""
    if not past or not past.comparison:
        return []
    new = {change.node for change in past.comparison.regressions}
    return [case for case in run.having(*BROKEN) if case.id in new]


def _ways(run: Run) -> str:
    missing = sum(case.missing for case in run.cases)
    words = {Verdict.FAIL: "failed", Verdict.ERROR: "ended in an error", Verdict.FIXED: "did not fail as known"}
    counts = {verdict: run.totals[verdict] - (missing if verdict is Verdict.ERROR else 0) for verdict in BROKEN}
    parts = [f"{counts[verdict]} {words[verdict]}" for verdict in BROKEN if counts[verdict]]
    parts += [f"{missing} {'is' if missing == 1 else 'are'} missing"] if missing else []
    return " and ".join(parts)


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
    """Sum the cases up by scenario, platform and lifecycle. `straight` comes first: every other column is read against it."""
    lifecycles = sorted({case.lifecycle for case in run.cases}, key=lambda name: (name != "straight", name))
    grouped: dict[tuple[str, str, str], dict[str, list[Case]]] = {}
    for case in run.cases:
        name = " ".join(form.format(case.params[key]) for key, form in ROW_PARAMS.items() if key in case.params) or "all"
        grouped.setdefault((case.subject, name, case.platform), {}).setdefault(case.lifecycle, []).append(case)
    rows = [
        Row(subject, name, platform, tuple(_cell(columns.get(lifecycle, [])) for lifecycle in lifecycles))
        for (subject, name, platform), columns in sorted(grouped.items())
    ]
    return Matrix(tuple(lifecycles), tuple(rows), tuple(sorted({case.platform for case in run.cases})))


def _cell(cases: list[Case]) -> Cell:
    counted = Counter(case.verdict for case in cases)
    telling = (case.id for verdict in (*BROKEN, Verdict.KNOWN) for case in cases if case.verdict is verdict)
    return Cell(tuple((verdict, counted[verdict]) for verdict in LETTERS if counted[verdict]), next(telling, None))


def reasons(cases: Iterable[Case]) -> list[tuple[str, int]]:
    """Return the distinct messages of `cases` with how often each was given, the most frequent first."""
    return Counter(case.message or "no reason was given" for case in cases).most_common()


def _cases(count: int) -> str:
    return f"{count} case" if count == 1 else f"{count} cases"
