"""The report's table of mismatches: rows from cases, the worst first, and nothing where no case is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import Verdict
from harness.report import html, results
from harness.report.mismatches import mismatches
from harness.report.model import Case, Scalar
from tests.report.report_samples import PASSED, run_of


def case(name: str, outcome: str, *, silent: bool, verdict: Verdict = Verdict.PASS) -> Case:
    found: dict[str, Scalar] = {
        "differs": f"{name} -> default",
        "outcome": outcome,
        "cause": "",
        "culprit": "",
        "silent": silent,
    }
    known = "an-issue" if verdict is Verdict.KNOWN else None
    return replace(PASSED, id=name, subject="migration", params={"pair": name, **found}, verdict=verdict, known_issue=known)


CASES = (
    case("ok", "accepted", silent=True),
    PASSED,
    replace(case("<no>", "refused", silent=False), params={**case("<no>", "refused", silent=False).params, "cause": "size", "culprit": "mach-virt.ram"}),
    case("loud", "harmed", silent=False, verdict=Verdict.KNOWN),
    case("bad", "harmed", silent=True, verdict=Verdict.KNOWN),
)  # fmt: skip


def test_the_worst_is_first_and_other_cases_have_no_row() -> None:
    rows = mismatches(run_of(*CASES))
    assert [(row.case.id, row.outcome, row.silent, row.verdict) for row in rows] == [
        ("bad", "harmed", True, Verdict.KNOWN),
        ("loud", "harmed", False, Verdict.KNOWN),
        ("<no>", "refused", False, Verdict.PASS),
        ("ok", "accepted", True, Verdict.PASS),
    ]
    assert [row.why for row in rows] == ["", "", "size, mach-virt.ram", ""]


def test_the_report_has_the_table_through_results_json(tmp_path: Path) -> None:
    results.write(tmp_path, run_of(*CASES))
    text = html.make_report(tmp_path).read_text("utf-8")
    assert "Machines that differ in one thing" in text and "size, mach-virt.ram" in text
    assert "<code>&lt;no&gt;</code>" in text and "<no>" not in text
    assert text.index("bad</code>") < text.index("&lt;no&gt;</code>") < text.index("ok</code>")


def test_a_run_without_such_cases_has_no_table() -> None:
    assert "Machines that differ" not in html.render(run_of(PASSED), {})
