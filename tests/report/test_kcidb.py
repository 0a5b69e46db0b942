"""kcidb.json is valid by KernelCI's own library, and keeps apart what broke, what could not be told and what is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from kcidb_io.schema import V5_3

from harness.errors import Suspect, UsageError, Verdict
from harness.report import bundle, kcidb
from harness.report.kcidb import Sender, to_kcidb
from harness.report.model import Case, Run, lost
from harness.report.privacy import Redactor
from tests.report.report_samples import FAILED, LOST, PASSED, evidence_of, run_of, thousand

ALICE = Redactor(("/home/alice",), "alice")


def valid(data: Any) -> dict[str, Any]:
    """Return the data, once KernelCI's library has taken it."""
    plain = json.loads(json.dumps(data))
    V5_3.validate(plain)
    assert isinstance(plain, dict)
    return plain


def report(*cases: Case, sender: Sender | None = None) -> dict[str, Any]:
    return valid(to_kcidb(run_of(*cases), sender or Sender(), {}))


@pytest.mark.parametrize(
    ("case", "status"),
    [
        (PASSED, "PASS"),
        (FAILED, "FAIL"),
        (replace(FAILED, verdict=Verdict.ERROR, suspect=Suspect.HARNESS), "ERROR"),
        (lost(FAILED, "its worker died"), "MISS"),
        (replace(FAILED, verdict=Verdict.SKIP), "SKIP"),
        (replace(FAILED, verdict=Verdict.BLOCKED), "SKIP"),
        (replace(FAILED, verdict=Verdict.KNOWN, known_issue="timers-lost"), "FAIL"),
        (replace(FAILED, verdict=Verdict.FIXED, known_issue="timers-lost"), "PASS"),
    ],
)
def test_each_verdict_has_its_status(case: Case, status: str) -> None:
    (test,) = report(case)["tests"]
    assert test["status"] == status
    assert ("duration" in test) == ("number" in test) == (status in {"PASS", "FAIL", "ERROR"})


def test_a_case_says_where_and_on_what_it_ran() -> None:
    found = report(PASSED, FAILED)
    test = found["tests"][1]
    assert test["path"] == "timers.test_fire.test_fires_once.tcg-file-timer-cnthp-instant-armed-e2h-0"
    assert (test["duration"], test["number"]) == (0.21, {"value": 210.0, "unit": "ms"})
    assert test["log_excerpt"] == LOST
    assert test["environment"]["comment"] == "platform tcg, QEMU 11.1.3"
    assert test["environment"]["compatible"] == ["linux,dummy-virt"]
    assert test["misc"]["suspect"] == "QEMU"
    assert test["build_id"] == found["builds"][0]["id"]
    assert found["builds"][0]["checkout_id"] == found["checkouts"][0]["id"]
    assert len({each["id"] for each in found["tests"]}) == 2


def test_each_kernel_is_a_build() -> None:
    cases = [
        replace(PASSED, id=f"x.py::t[{name}]", platform="lab", params={"lab_kernel": name}) for name in ("good", "bad", "bad2")
    ]
    kernels = {"host": "6.1", "good": "7.3.3", "bad": "7.3.4", "bad2": "7.3.4"}
    run = replace(run_of(*cases), provenance={"kernels": kernels})
    found = valid(to_kcidb(run, Sender(), {}))
    assert [build["comment"] for build in found["builds"]] == ["Linux 7.3.3", "Linux 7.3.4"]
    first, second, third = (test["build_id"] for test in found["tests"])
    assert first != second == third


def test_a_kernel_that_is_not_known_is_not_that_of_the_desk() -> None:
    far = replace(FAILED, id="x.py::t[ssh]", platform="ssh:thunder")
    run = replace(run_of(PASSED, far), provenance={"qemu": {"version": "11.1.3"}, "kernels": {"host": "6.1.0-desk"}})
    found = valid(to_kcidb(run, Sender(), {}))
    said = ["no kernel is under test: guests run under emulation", "the kernel is not known here (platform ssh:thunder)"]
    assert [each["comment"] for each in found["checkouts"]] == [each["comment"] for each in found["builds"]] == said
    assert [test["build_id"] for test in found["tests"]] == [build["id"] for build in found["builds"]]
    assert found["tests"][1]["environment"]["comment"] == "platform ssh:thunder, versions not known"
    assert set(found["tests"][1]["environment"]["misc"]["versions"].values()) == {""}


def test_a_known_issue_is_an_incident() -> None:
    known = replace(FAILED, verdict=Verdict.KNOWN, known_issue="timers-lost")
    fixed = replace(FAILED, id="other", verdict=Verdict.FIXED, known_issue="timers-lost")
    found = report(PASSED, known, fixed)
    (issue,) = found["issues"]
    assert issue["culprit"] == {"code": True, "tool": False, "harness": False}
    assert [(each["issue_id"], each["test_id"], each["present"]) for each in found["incidents"]] == [
        (issue["id"], found["tests"][1]["id"], True),
        (issue["id"], found["tests"][2]["id"], False),
    ]


def test_files_have_addresses_where_the_ci_says_so(tmp_path: Path) -> None:
    case = replace(FAILED, bundle=bundle.write(tmp_path, evidence_of(FAILED, tmp_path), ALICE))
    sender = Sender("myci", "myci:4711", "https://ci.example/4711/out/")
    found = valid(json.loads(kcidb.write(tmp_path, run_of(PASSED, case), sender, ALICE).read_text()))
    assert "builds" not in found and "checkouts" not in found
    passed, failed = found["tests"]
    assert failed["build_id"] == "myci:4711"
    assert failed["log_url"] == f"https://ci.example/4711/out/{case.bundle}/README.txt"
    files = {each["name"]: each["url"] for each in failed["output_files"]}
    assert files["sides-source-console.log"].endswith("/sides/source/console.log")
    assert "case.json" in files
    assert "output_files" not in passed
    without = json.loads(kcidb.write(tmp_path, run_of(case), None, ALICE).read_text())
    assert "output_files" not in valid(without)["tests"][0]


@pytest.mark.parametrize(
    "sender", [Sender("My CI"), Sender(build="4711"), Sender(url="ci.example/out"), Sender(url="file:///home/alice/out")]
)
def test_what_the_schema_would_not_take_is_refused(sender: Sender) -> None:
    with pytest.raises(UsageError):
        to_kcidb(run_of(PASSED), sender, {})


def test_nothing_that_is_said_makes_it_invalid(tmp_path: Path) -> None:
    ugly = "\x00\ud800]\n\u2028" * 5000
    cases = [
        replace(
            FAILED,
            id=f"a/{ugly}.py::{ugly}[{ugly}]{number}",
            message=ugly,
            subject=ugly,
            platform=ugly,
            lifecycle=ugly,
            params={ugly: ugly},
            verdict=verdict,
            known_issue=ugly if verdict in (Verdict.KNOWN, Verdict.FIXED) else None,
        )
        for number, verdict in enumerate(Verdict)
    ]
    run = Run("2026-11-20T01:02:03Z", 1.0, {ugly: {ugly: ugly}}, tuple(cases))
    valid(json.loads(kcidb.write(tmp_path, run).read_text()))


def test_ids_agree_whatever_the_user_is_called(tmp_path: Path) -> None:
    known = replace(FAILED, verdict=Verdict.KNOWN, known_issue="timers-lost", message="by arm64")
    found = valid(json.loads(kcidb.write(tmp_path, run_of(known), None, Redactor((), "arm64")).read_text()))
    assert found["tests"][0]["build_id"] == found["builds"][0]["id"]
    assert found["incidents"][0]["issue_id"] == found["issues"][0]["id"]
    assert found["tests"][0]["log_excerpt"] == "by $USER"


def test_a_thousand_cases() -> None:
    assert len(valid(to_kcidb(thousand(), Sender(), {}))["tests"]) == 1000


def test_the_library_can_refuse() -> None:
    found = report(FAILED)
    found["tests"][0]["status"] = "KNOWN"
    with pytest.raises(Exception, match="KNOWN"):
        V5_3.validate(found)
