"""`harness known list`: how each entry of the list stands by what the history knows of the cases that it is about. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from harness.errors import UsageError, Verdict
from harness.report.history import Try
from harness.report.known import Issue, KnownIssues, parse_version
from harness.report.model import Case, Scalar

# A race stays away for so many times as many tries as it takes one of them to show it, one time in twenty: exp(-3).
_CHANCES = 3


@dataclass(frozen=True)
class Standing:
    """How one entry stands: how many tries it is about, how many it excused, when the last, and what speaks against it."""

    id: str
    tries: int
    excused: int
    last: str
    doubt: str


def standings(issues: KnownIssues, tries: Sequence[Try], today: date) -> list[Standing]:
    """Return how each entry stands, those in doubt first. Of one whose cases were never tried, nothing is known."""
    cases = [(each, _case(each)) for each in tries if each.tried]
    found = []
    for issue in issues.issues:
        about = [each for each, case in cases if each.known_issue == issue.id or _concerns(issue, each, case)]
        found.append(_standing(issue, about, today))
    return sorted(found, key=lambda each: not each.doubt)


def _standing(issue: Issue, about: Sequence[Try], today: date) -> Standing:
    excused = [each for each in about if each.known_issue == issue.id and each.verdict is Verdict.KNOWN]
    doubts = []
    if issue.expires and issue.expires < today:
        doubts.append(f"expired on {issue.expires}: it excuses nothing any more")
    if issue.rate:
        failed, tried = map(int, issue.rate.split(" of "))
        went_well = [each.verdict in (Verdict.FIXED, Verdict.PASS) for each in reversed(about)]
        away = [*went_well, False].index(False)
        if away * failed >= _CHANCES * tried:
            doubts.append(f"did not fail in the last {away} tries, and is said to in {issue.rate}")
    elif about and not excused:
        doubts.append("never seen, though its cases were tried")
    elif about and about[-1].verdict in (Verdict.FIXED, Verdict.PASS):
        doubts.append(f"did not fail in run {about[-1].run} ({about[-1].started})")
    return Standing(issue.id, len(about), len(excused), excused[-1].started if excused else "", "; ".join(doubts))


def _concerns(issue: Issue, each: Try, case: Case) -> bool:
    try:
        versions = {name: parse_version(text) for name, text in vars(each.versions).items() if text}
    except UsageError:
        return False  # a QEMU of one's own may call itself anything
    return issue.concerns(case, versions)


def _case(each: Try) -> Case:
    """Return a case with the parameters that its key names."""
    test, _, circumstances = each.key.partition("[")
    platform, lifecycle, *words = [*circumstances.removesuffix("]").split(" "), "", ""][: max(2, circumstances.count(" ") + 1)]
    params = {name: _value(value) for name, _, value in (word.partition("=") for word in words)}
    return Case(each.node, Path(test.partition("::")[0]).parent.name, platform, lifecycle, params, each.verdict)


def _value(text: str) -> Scalar:
    return int(text) if text.isdecimal() else text
