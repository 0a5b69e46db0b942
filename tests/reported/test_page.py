"""docs/reported.md is what the generator gives, and no entry of the catalogue is forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest
from packaging.specifiers import SpecifierSet

from harness.plugin.reported import Kind, Report
from scenarios.reported import page
from scenarios.reported.page import Entry, Shown

CATALOGUE = [Entry("T1", "a timer is lost", "QEMU 11", ("https://example.org/1",))]
REPORTS = [
    Shown(Report("timer-lost", "T1", Kind.BUG, "fires"), "test_x.py::test_y", {"qemu-timer": ("QEMU", SpecifierSet(">=10"))})
]


def test_the_page_is_what_the_generator_gives() -> None:
    made = page.page(page.entries(), page.shown())
    assert page.PAGE.read_text("utf-8") == made, "run `python -m scenarios.reported.page`"


def test_every_entry_has_a_test_or_a_reason() -> None:
    catalogue = page.entries()
    assert page.complaints(catalogue, page.shown()) == []
    assert len({entry.id for entry in catalogue}) == len(catalogue) >= 97


@pytest.mark.parametrize(
    ("catalogue", "reports", "says"),
    [
        (CATALOGUE, [], "T1 has neither a test nor a reason"),
        ([replace(CATALOGUE[0], uncovered="hardware")], REPORTS, "T1 has a test and a reason why it has none"),
        ([], REPORTS, "T1 is not in the catalogue"),
    ],
)
def test_what_does_not_fit_together_is_told(catalogue: list[Entry], reports: list[Shown], says: str) -> None:
    assert page.complaints(catalogue, reports) == [says]


def test_the_page_says_how_and_whether_it_is_open() -> None:
    made = page.page(CATALOGUE, REPORTS)
    assert "Of 1 entries 1 are shown: 1 by a bug, 0 by a guard, 0 by a model; 1 of them are open" in made
    assert (
        "a timer is lost [1](https://example.org/1) | QEMU 11 | `timer-lost`: bug, TCG, open on QEMU >=10 (qemu-timer) | fires |"
        in made
    )
