"""A row of the table of mismatches is wrong in one thing: it disagrees, and says in what. The table and the known issues fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import GuestFailure
from harness.plugin.mismatch import Came, Outcome, Pair
from harness.report.known import load
from harness.state.causes import Cause, Finding
from scenarios.migration.mismatches import PAIRS, table

ROOT = Path(__file__).parents[2]
KNOWN = load(ROOT / "scenarios" / "known_issues.toml").issues

REFUSED = Pair(
    "sve-off",
    {"cpu": "max"},
    {"cpu": "max,sve=off", "options": ("its=off",), "vcpus": 2},
    Outcome.REFUSED,
    Cause.REGISTER_MISSING,
    "ZCR_EL1",
)
CAME_REFUSED = Came(Outcome.REFUSED, Finding(Cause.REGISTER_MISSING, "VNCR_EL2, ZCR_EL1 and 9 more"), words="what QEMU said")
ACCEPTED = Pair("its-on", {"options": ("its=off",)}, {}, Outcome.ACCEPTED, silent=True)
CAME_ACCEPTED = Came(Outcome.ACCEPTED, silent=True)
HARMED = Pair("cntfrq", {}, {"cpu": "max,cntfrq=1"}, Outcome.HARMED, silent=True)
CAME_HARMED = Came(Outcome.HARMED, failure=GuestFailure("it hurts"), silent=True)


@pytest.mark.parametrize(
    ("pair", "came"),
    [(REFUSED, CAME_REFUSED), (ACCEPTED, CAME_ACCEPTED), (HARMED, CAME_HARMED)],
    ids=["refused", "accepted", "harmed"],
)
def test_what_comes_as_expected_agrees(pair: Pair, came: Came) -> None:
    assert pair.disagreement(came) == ""


@pytest.mark.parametrize(
    ("pair", "came", "words"),
    [
        (REFUSED, CAME_ACCEPTED, "outcome accepted, expected refused; cause none, expected register missing; culprit nobody, "),
        (REFUSED, CAME_HARMED, "outcome harmed, expected refused"),
        (ACCEPTED, CAME_REFUSED, "outcome refused, expected accepted; cause register missing, expected none"),
        (ACCEPTED, CAME_HARMED, "outcome harmed, expected accepted"),
        (HARMED, CAME_ACCEPTED, "outcome accepted, expected harmed"),
        (HARMED, CAME_REFUSED, "outcome refused, expected harmed"),
        (replace(REFUSED, cause=Cause.REGISTER_REFUSED), CAME_REFUSED, "cause register missing, expected register refused"),
        (replace(REFUSED, cause=None), CAME_REFUSED, "cause register missing, expected none"),
        (REFUSED, replace(CAME_REFUSED, finding=Finding(Cause.UNKNOWN, text="new")), "cause unknown, expected register missing"),
        (replace(REFUSED, culprit="ZCR_EL2"), CAME_REFUSED, "culprit VNCR_EL2, ZCR_EL1 and 9 more, expected ZCR_EL2"),
        (replace(REFUSED, culprit="ZCR_EL"), CAME_REFUSED, "culprit VNCR_EL2, ZCR_EL1 and 9 more, expected ZCR_EL"),
        (replace(REFUSED, silent=True), CAME_REFUSED, "said something, expected nothing"),
        (replace(ACCEPTED, silent=False), CAME_ACCEPTED, "said nothing, expected something"),
        (HARMED, replace(CAME_HARMED, silent=False), "said something, expected nothing"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_told(pair: Pair, came: Came, words: str) -> None:
    said = pair.disagreement(came)
    assert words in said and said.startswith(f"{pair.differs}: ")


def test_what_differs_is_said_in_qemus_words() -> None:
    assert REFUSED.differs == "max -> max,sve=off, its=off, vcpus 2"
    assert ACCEPTED.differs == "its=off -> default"
    assert Pair("q", {"el2": True}, {"el2": True}, Outcome.ACCEPTED, qemu=("trixie", "")).differs == "QEMU of trixie -> default"


def test_the_table_is_large_enough_and_each_row_is_possible() -> None:
    assert len(PAIRS) >= 60
    for pair in PAIRS.values():
        assert (pair.source, *pair.qemu[:1]) != (pair.destination, *pair.qemu[1:]), f"{pair.name} differs in nothing"
        assert (pair.outcome is Outcome.REFUSED) <= (pair.cause is not None), f"{pair.name} is refused for no cause"
        assert not (pair.silent and pair.cause), f"{pair.name} is silent, and yet somebody said why"
        assert pair.cause or not pair.culprit, f"{pair.name} has a culprit and no cause"
    assert len({(repr(pair.source), repr(pair.destination), pair.qemu) for pair in PAIRS.values()}) == len(PAIRS)


def test_each_harm_and_each_crash_is_a_known_issue_and_no_issue_names_another_pair() -> None:
    named = {str(name) for issue in KNOWN for table in issue.when for name in table.get("pair", ())}
    harmful = {name for name, pair in PAIRS.items() if pair.outcome is Outcome.HARMED or pair.source == pair.destination}
    crashing = {name for name, pair in PAIRS.items() if pair.cause is Cause.CRASH} | {"no-configuration"}  # of a new machine
    assert named == harmful | crashing


def test_the_page_has_the_table() -> None:
    page = (ROOT / "docs" / "mismatches.md").read_text("utf-8")
    assert table() in page, "put the output of `python -m scenarios.migration.mismatches` into docs/mismatches.md"
