"""`python -m scenarios.reported.page` writes docs/reported.md: all that has been reported, and which scenario shows it.

It is made from catalogue.toml, from the markers of the tests in this folder and from the list of known issues, and
tests/reported/test_page.py says when it is out of date.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

from packaging.specifiers import SpecifierSet

from harness.errors import UsageError
from harness.plugin.reported import Kind, Report
from harness.report.known import load
from harness.tables import only

FOLDER = Path(__file__).parent
CATALOGUE = FOLDER / "catalogue.toml"
KNOWN_ISSUES = FOLDER.parent / "known_issues.toml"
PAGE = FOLDER.parents[1] / "docs" / "reported.md"

_CLASSES = {
    "I": "ID registers and lists of registers",
    "T": "Timers and counters",
    "G": "GIC, ITS and LPIs",
    "F": "SVE, pointer authentication, MTE, PMU, FP",
    "V": "Versions of machines and devices",
    "M": "Memory, dirty pages, postcopy, multifd",
    "N": "EL2 and EL3",
    "E": "Errors and what follows",
}
_KEYS = ("id", "title", "affected", "links", "uncovered")
_OTHERS = "Others"
_NEWEST = "1000"  # newer than any QEMU and any Linux
_WHOSE = {"qemu": "QEMU", "kernel": "Linux"}
_HEAD = """# What people have reported

<!-- Made by `python -m scenarios.reported.page`; what is written here by hand is lost. -->

Failures of arm64 guests that were saved, restored, migrated or paused, as people have reported them, and the scenario in
`scenarios/reported` that shows each. To show one of your own: [reproduce-a-report.md](reproduce-a-report.md).

    pytest scenarios/reported -k NAME

| kind | what the scenario is |
|---|---|
| bug | the failure itself: it shows where it is not fixed, and the case has the verdict `known` while it is open |
| guard | it is fixed in what runs here; `tests/reported/test_guards.py` shows that the scenario fails if it comes back |
| model | the same symptom, brought about by properties, an edited stream or a register write |
"""


@dataclass(frozen=True)
class Entry:
    """One entry of the catalogue."""

    id: str
    title: str
    affected: str
    links: tuple[str, ...]
    uncovered: str = ""


@dataclass(frozen=True)
class Shown:
    """A report that a test shows, and the known issues that excuse it: by id, of whom the versions, and which."""

    report: Report
    test: str
    known: Mapping[str, tuple[str, SpecifierSet]] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it is not fixed in any version yet."""
        return any(versions.contains(_NEWEST) for _, versions in self.known.values())

    @property
    def how(self) -> str:
        """How it is shown, and where."""
        where = "TCG" if "tcg" in self.report.platforms else "lab"
        where += " and lab" if where == "TCG" and "lab" in self.report.platforms else ""
        known = [
            f"{'open' if versions.contains(_NEWEST) else 'seen'} on {whose} {versions} ({name})"
            for name, (whose, versions) in self.known.items()
        ]
        return ", ".join([str(self.report.kind), where, *known])


def entries() -> list[Entry]:
    """Return the catalogue. Raises UsageError."""
    found = []
    for number, data in enumerate(tomllib.loads(CATALOGUE.read_text("utf-8"))["entry"], 1):
        only(data, _KEYS, f"{CATALOGUE}: entry {number}")
        found.append(Entry(**{**data, "links": tuple(data["links"])}))
    return found


def tests() -> Iterator[tuple[Callable[..., None], Sequence[Report]]]:
    """Return the tests of this folder with the reports that each shows."""
    for path in sorted(FOLDER.glob("test_*.py")):
        for thing in vars(import_module(f"scenarios.reported.{path.stem}")).values():
            for mark in getattr(thing, "pytestmark", ()):
                if mark.name == "report":
                    yield thing, mark.args


def shown() -> list[Shown]:
    """Return every report that is shown. Raises UsageError where a name is given twice."""
    issues = load(KNOWN_ISSUES).issues
    found: dict[str, Shown] = {}
    for test, reports in tests():
        for report in reports:
            if report.name in found:
                raise UsageError(f"two reports are called {report.name!r}", where=test.__name__)
            known = {
                issue.id: next((_WHOSE[name], issue.versions[name]) for name in _WHOSE if name in issue.versions)
                for issue in issues
                if any(report.name in table.get("report", ()) for table in issue.when)
            }
            file = test.__module__.rpartition(".")[2]
            found[report.name] = Shown(report, f"{file}.py::{test.__name__}", known)
    return list(found.values())


def complaints(catalogue: Sequence[Entry], reports: Sequence[Shown]) -> list[str]:
    """Return what does not fit together: an entry with neither a test nor a reason, or with both, and a report of nothing."""
    covered = {each for report in reports for each in report.report.ids}
    said = [f"{each.id} has neither a test nor a reason" for each in catalogue if not each.uncovered and each.id not in covered]
    said += [
        f"{each.id} has a test and a reason why it has none" for each in catalogue if each.uncovered and each.id in covered
    ]
    return said + [f"{each} is not in the catalogue" for each in sorted(covered - {entry.id for entry in catalogue})]


def page(catalogue: Sequence[Entry], reports: Sequence[Shown]) -> str:
    """Return docs/reported.md."""
    by_id = {entry.id: [each for each in reports if entry.id in each.report.ids] for entry in catalogue}
    covered = [entry for entry in catalogue if by_id[entry.id]]
    kinds = {kind: len([e for e in covered if kind in {each.report.kind for each in by_id[e.id]}]) for kind in Kind}
    still = len([entry for entry in covered if any(each.open for each in by_id[entry.id])])
    counts = ", ".join(f"{number} by a {kind}" for kind, number in kinds.items())
    lines = [
        _HEAD,
        f"Of {len(catalogue)} entries {len(covered)} are shown: {counts}; {still} of them are open in the newest QEMU.",
    ]
    for letter, title in {**_CLASSES, "": _OTHERS}.items():
        own = [
            entry
            for entry in catalogue
            if (entry.id[0] if entry.id[0] in _CLASSES and entry.id[1:].isdigit() else "") == letter
        ]
        if own:
            lines += [f"\n## {title}\n", "| | reported | seen on | shown by | a fixed system |", "|---|---|---|---|---|"]
            lines += [_row(entry, by_id[entry.id]) for entry in own]
    return "\n".join(lines) + "\n"


def _class(entry: Entry) -> str:
    """Return the letter of an entry of the catalogue, nothing for one that somebody has added."""
    return entry.id[0] if entry.id[0] in _CLASSES and entry.id[1:].isdigit() else ""


def _row(entry: Entry, reports: Sequence[Shown]) -> str:
    links = " ".join(f"[{number}]({link})" for number, link in enumerate(entry.links, 1))
    where = "<br>".join(f"`{each.report.name}`: {each.how}" for each in reports) or f"not shown: {entry.uncovered}"
    fixed = "<br>".join(dict.fromkeys(each.report.fixed for each in reports))
    return f"| {entry.id} | {entry.title} {links} | {entry.affected} | {where} | {fixed} |"


def main() -> None:
    """Write the page, and say what does not fit together."""
    catalogue, reports = entries(), shown()
    PAGE.write_text(page(catalogue, reports), "utf-8")
    for complaint in complaints(catalogue, reports):
        print(f"scenarios/reported: {complaint}")  # a program of its own


if __name__ == "__main__":
    main()
