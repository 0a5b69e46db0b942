"""`report.html`: one file that says what broke, for whom it is the first thing they read.

Everything in it comes from `out/` and the history, so `make_report` can be run again at any time. The templates are one file
for each section; this module says what each of them is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.errors import Verdict
from harness.report import measured, results
from harness.report.exhibit import read_exhibit
from harness.report.files import write_text
from harness.report.measured import Latencies
from harness.report.mismatches import mismatches
from harness.report.model import BROKEN, Case, Run, flatten
from harness.report.past import Past
from harness.report.plots import spread_plot
from harness.report.view import LETTERS, headline, kinds, leading, matrix, reasons, regressions

NAME = "report.html"
ROOM = 2_500_000
"""Characters of HTML for evidence; cases beyond that are shown in short, which keeps the report below 5 MB."""


def make_report(out: Path, past: Past | None = None) -> Path:
    """Write `out/report.html` from `out/results.json` and `out/bundles/`, with what the history says; give its path.

    Raises UsageError when `results.json` is missing or wrong, and OSError when the report cannot be written. A bundle
    that is missing or damaged is said to be so in the report.
    """
    run = results.read(out)
    template = _environment().get_template("evidence.html.j2")
    articles: dict[str, Markup] = {}
    room = ROOM
    lead = leading(run, past)
    for case in _telling(run, lead):
        shown = read_exhibit(out, case)
        article = Markup(template.render(shown=shown))  # noqa: S704  # it has been escaped
        if len(article) > room:
            break
        room -= len(article)
        articles[case.id] = article
    path = out / NAME
    write_text(path, render(run, articles, past=past, latencies=measured.read(out)))
    return path


def render(
    run: Run,
    articles: Mapping[str, Markup],
    *,
    past: Past | None = None,
    latencies: Latencies | None = None,
) -> str:
    """Return the report as HTML. `articles` holds the evidence to show by case id; other cases are shown in short."""
    past = past or Past()
    broken = run.having(*BROKEN)
    known: dict[str, list[Case]] = {}
    for case in run.having(Verdict.KNOWN):
        known.setdefault(str(case.known_issue), []).append(case)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            run=run,
            past=past,
            headline=headline(run, past),
            lead=leading(run, past),
            kinds=kinds(case for case in broken if not case.missing),
            missing=[case for case in broken if case.missing],
            known=known,
            untried={verdict: reasons(run.having(verdict)) for verdict in (Verdict.SKIP, Verdict.BLOCKED)},
            articles=articles,
            anchors=_anchors(run),
            regressed=kinds(regressions(run, past)),
            letters=LETTERS,
            provenance=list(flatten(run.provenance)),
            matrix=matrix(run),
            mismatches=mismatches(run),
            spreads=_spreads(run, latencies or {}),
        )
    )


@cache
def _environment() -> Environment:
    """Return what keeps the templates, each compiled once a process."""
    return Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _telling(run: Run, lead: Case | None) -> list[Case]:
    """Return the cases whose evidence is shown, what is most worth its room first: one of each kind, then the others."""
    telling = [case for case in run.having(*BROKEN, Verdict.KNOWN) if case.bundle]
    firsts = {each.first.id for each in kinds(telling)}
    return sorted(telling, key=lambda case: (case is not lead, case.id not in firsts))


def _anchors(run: Run) -> dict[str, str]:
    telling = [case for case in run.having(*BROKEN, Verdict.KNOWN) if not case.missing]
    numbered = {case.id: f"case-{number}" for number, case in enumerate(telling, 1)}
    return numbered | {case.id: "missing" for case in run.cases if case.missing}


def _spreads(run: Run, latencies: Latencies) -> list[dict[str, object]]:
    """Return the plots of distributions, each with its title and what it means, where there is anything to plot."""
    lifecycle = {case.id: case.lifecycle for case in run.cases}
    late: dict[str, list[float]] = {}
    for node, found in latencies.items():
        if node in lifecycle:
            late.setdefault(lifecycle[node], []).extend(found)
    took: dict[str, list[float]] = {}
    for case in run.having(Verdict.PASS, Verdict.KNOWN, Verdict.FAIL):
        took.setdefault(case.lifecycle, []).append(case.seconds)
    order = sorted({*late, *took}, key=lambda name: (name != "straight", name))
    plots = (
        (
            "How late interrupts came",
            "From the moment at which the guest could take it (CVAL, or its own unmasking) to its handler, on its own counter.",
            spread_plot({name: late.get(name, []) for name in order}, "us", 0.1),
        ),
        (
            "How long cases took",
            "Of those that were tried to the end.",
            spread_plot({name: took.get(name, []) for name in order}, "s", 1e-3),
        ),
    )
    return [{"title": title, "about": about, "plot": plot} for title, about, plot in plots if plot]
