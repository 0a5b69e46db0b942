"""A known issue excuses its own failure, nothing else, and must fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from harness.errors import Suspect, UsageError, Verdict
from harness.report import known
from harness.report.known import KnownIssues
from tests.report.report_samples import FAILED, LOST, PASSED

ENTRY = """
[[issue]]
id = "timers-lost"
what = "the timers are lost"
suspect = "QEMU"
qemu = ">=10.0,<12"
seen = ["10.0.2", "11.1.3"]
message = 'cnthp .*ISTATUS'
reason = "not in the stream"
evidence = "a run"
when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}
"""

SHIPPED = Path(__file__).parents[2] / "scenarios/known_issues.toml"


@pytest.fixture
def issues(tmp_path: Path) -> KnownIssues:
    return load(tmp_path, ENTRY)


def load(folder: Path, text: str) -> KnownIssues:
    (folder / "known.toml").write_text(text)
    return known.load(folder / "known.toml")


def test_its_own_failure_is_known(issues: KnownIssues) -> None:
    judged = issues.judge(FAILED, "11.1.3")
    assert judged == replace(FAILED, verdict=Verdict.KNOWN, known_issue="timers-lost")


@pytest.mark.parametrize(
    "other",
    [
        replace(FAILED, message="cnthp fired twice"),
        replace(FAILED, message=""),
        replace(FAILED, params={**FAILED.params, "timer": "cntv"}),
        replace(FAILED, params={**FAILED.params, "e2h": 1}),
        replace(FAILED, params={"timer": "cnthp"}),
        replace(FAILED, lifecycle="pause"),
    ],
    ids=["another sentence", "no sentence", "another timer", "another e2h", "no e2h", "another lifecycle"],
)
def test_another_failure_stays_a_failure(issues: KnownIssues, other: Any) -> None:
    assert issues.judge(other, "11.1.3") is other


@pytest.mark.parametrize("version", ["9.2.4", "12.0.0", "1:7.2+dfsg-7+deb12u18", "10.0.0-rc1"])
def test_a_failure_on_another_version_stays_a_failure(issues: KnownIssues, version: str) -> None:
    assert issues.judge(FAILED, version) is FAILED


def test_a_pass_where_it_should_fail_is_fixed(issues: KnownIssues) -> None:
    judged = issues.judge(replace(FAILED, verdict=Verdict.PASS, message="", suspect=None), "11.1.3")
    assert (judged.verdict, judged.known_issue, judged.suspect) == (Verdict.FIXED, "timers-lost", Suspect.QEMU)
    assert judged.message.startswith("known issue timers-lost did not fail on QEMU 11.1.3 (the timers are lost)")


def test_another_pass_stays_a_pass(issues: KnownIssues) -> None:
    assert issues.judge(PASSED, "11.1.3") is PASSED
    right = replace(FAILED, verdict=Verdict.PASS)
    assert issues.judge(right, "9.2.0") is right


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.SKIP, Verdict.BLOCKED, Verdict.FIXED, Verdict.KNOWN])
def test_what_was_not_tried_is_never_excused(issues: KnownIssues, verdict: Verdict) -> None:
    case = replace(FAILED, verdict=verdict)
    assert issues.judge(case, "11.1.3") is case


def test_of_two_entries_the_one_with_the_sentence_excuses(tmp_path: Path) -> None:
    other = ENTRY.replace("timers-lost", "timers-late").replace("cnthp .*ISTATUS", "late")
    assert load(tmp_path, other + ENTRY).judge(FAILED, "11.1.3").known_issue == "timers-lost"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("11.1.3", "11.1.3"),
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)", "10.0.2"),
        ("1:7.2+dfsg-7+deb12u18", "7.2"),
        ("1:11.2.0~rc1+ds-1", "11.2.0rc1"),
        ("v11.2.0-rc0-45-g0123abc", "11.2.0rc0"),
        ("11.1.50", "11.1.50"),
    ],
)
def test_versions_as_they_are_written(text: str, version: str) -> None:
    assert known.parse_version(text) == Version(version)


def test_no_version_is_said_so(issues: KnownIssues) -> None:
    with pytest.raises(UsageError, match="no version in 'unknown'"):
        issues.judge(FAILED, "unknown")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("reason =", "resaon =", "entry 1 (timers-lost): unknown key 'resaon'; did you mean 'reason'?"),
        ("[[issue]]", "[[isue]]", "unknown key 'isue'; did you mean 'issue'?"),
        ("[[issue]]", "[issue]", "must be a list of tables; write [[issue]]"),
        ("lifecycle =", "lifecyle =", "unknown key 'lifecyle' in 'when'; did you mean 'lifecycle'?"),
        ('timer = ["cnthp", "cnthv"]', 'timer = "cnthp"', "'timer' must be a list of one or more plain values"),
        ('timer = ["cnthp", "cnthv"]', "timer = []", "'timer' must be a list of one or more plain values"),
        ('when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}', "when = {}", "at least one parameter"),
        ('suspect = "QEMU"', 'suspect = "QMEU"', "unknown suspect 'QMEU'; did you mean 'QEMU'?"),
        ('qemu = ">=10.0,<12"', 'qemu = "10 or so"', "is no range of versions"),
        ('qemu = ">=10.0,<12"', 'qemu = ">=11"', "seen on 10.0.2, which '>=11' leaves out"),
        ('seen = ["10.0.2", "11.1.3"]', "seen = []", "'seen' must be a list"),
        ("'cnthp .*ISTATUS'", "'('", "is not a regular expression"),
        ("'cnthp .*ISTATUS'", "'.*'", "matches every failure"),
        ("'cnthp .*ISTATUS'", "''", "'message' must be given, in words"),
        ('evidence = "a run"', "", "'evidence' must be given, in words"),
        ('reason = "not in the stream"', "reason = 1", "'reason' must be given, in words"),
        ("[[issue]]", "[[issue]", "is not TOML"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_one_clear_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in ENTRY
    with pytest.raises(UsageError) as caught:
        load(tmp_path, ENTRY.replace(old, new))
    assert str(caught.value).startswith(str(tmp_path / "known.toml"))
    assert words in str(caught.value)


def test_an_id_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'timers-lost' is given twice"):
        load(tmp_path, ENTRY + ENTRY)


def test_a_missing_file_is_an_error_and_an_empty_one_knows_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        known.load(tmp_path / "none.toml")
    assert load(tmp_path, "").judge(FAILED, "unknown") is FAILED


def test_the_shipped_list_loads() -> None:
    issue = known.load(SHIPPED).issues[0]
    assert issue.id == "qemu-el2-timers-lost"
    assert issue.message.search(LOST)
    assert not issue.message.search(LOST.replace("cnthp", "cntp"))
