"""An entry made from a bundle excuses that failure and no other; entries that nothing bears out are listed."""

from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from harness.errors import Suspect, UsageError, Verdict
from harness.report import bundle, known, known_add
from harness.report.history import Try
from harness.report.known_list import standings
from harness.report.model import Case
from harness.report.privacy import Redactor
from harness.report.versions import Versions
from tests.report.report_samples import FAILED, evidence_of

MESSAGE = "timers: cnthp armed at EL2 through file: interrupt lost: PPI 26 came 0 times; CVAL passed by 502.7 ms (CTL 0x1); suspect QEMU"
CASE = replace(FAILED, message=MESSAGE)
NOBODY = Redactor((), "")
HEAD = "# A comment that stays.\n"


def of(folder: Path, case: Case, kernels: dict[str, str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    evidence = replace(evidence_of(case, folder), case=case, provenance={"harness": "v1", "kernels": kernels or {}})
    return folder / bundle.write(folder, evidence, NOBODY)


def added(folder: Path, case: Case = CASE, name: str = "lost") -> known.KnownIssues:
    path = folder / "known.toml"
    if not path.exists():
        path.write_text(HEAD)
    known_add.add(path, *known_add.propose(of(folder, case), name, "it isn't saved"))
    return known.load(path)


def test_it_excuses_its_own_failure_with_other_numbers(tmp_path: Path) -> None:
    issues = added(tmp_path)
    for message in (MESSAGE, MESSAGE.replace("502.7", "498").replace("0x1", "0x5")):
        judged = issues.judge(replace(CASE, message=message), "11.1.4")
        assert (judged.verdict, judged.known_issue) == (Verdict.KNOWN, "lost")
    assert (tmp_path / "known.toml").read_text().startswith(HEAD)


@pytest.mark.parametrize(
    "other",
    [
        replace(CASE, message=MESSAGE.replace("lost", "late")),
        replace(CASE, message=MESSAGE.replace("; suspect", "; registers differ: cpu0/X1; suspect")),
        replace(CASE, lifecycle="live"),
        replace(CASE, platform="lab"),
        replace(CASE, subject="gic"),
        replace(CASE, params={**CASE.params, "timer": "cnthv"}),
    ],
    ids=["sentence", "another register", "lifecycle", "platform", "subject", "timer"],
)
def test_it_excuses_no_other(tmp_path: Path, other: Case) -> None:
    assert added(tmp_path).judge(other, "11.1.3") == other


def test_another_release_is_not_excused(tmp_path: Path) -> None:
    assert added(tmp_path).judge(CASE, "11.2.0") == CASE


def test_what_passes_is_fixed(tmp_path: Path) -> None:
    assert added(tmp_path).judge(replace(CASE, verdict=Verdict.PASS, message=""), "11.1.3").verdict is Verdict.FIXED


def test_a_kernels_failure_is_about_the_kernel(tmp_path: Path) -> None:
    case = replace(
        CASE,
        platform="lab",
        suspect=Suspect.KERNEL_L0,
        message=MESSAGE.replace("QEMU", "kernel (L0)"),
        params={"lab_kernel": "/x/Image", "timer": "cnthp"},
    )
    proposal, _, versions = known_add.propose(of(tmp_path, case, {"/x/Image": "7.3.4-arm64"}), "lost", "why")
    (entry,) = tomllib.loads(proposal.text)["issue"]
    assert (entry["kernel"], entry["seen"], "qemu" in entry) == ("==7.3.*", ["7.3.4"], False)
    assert "lab_kernel" not in entry["when"], "the next night's has another name"
    (tmp_path / "known.toml").write_text("")
    known_add.add(tmp_path / "known.toml", proposal, case, versions)


def test_the_kernel_is_that_of_the_host_and_not_of_the_desk(tmp_path: Path) -> None:
    message = MESSAGE.replace("QEMU", "kernel (L0)")
    case = replace(CASE, platform="ssh:thunder", suspect=Suspect.KERNEL_L0, message=message)
    hosts = ({"name": "thunder", "kernel": "6.12.9-arm64"}, {"name": "thunder", "kernel": "6.13.1"})
    evidence = replace(evidence_of(case, tmp_path), provenance={"kernels": {"host": "6.1.0-desk"}}, hosts=hosts)
    folder = tmp_path / bundle.write(tmp_path, evidence, NOBODY)
    proposal, _, versions = known_add.propose(folder, "lost", "why")
    assert versions == Versions("11.1.3", "6.12.9-arm64", "11.1.3", "6.13.1")
    (tmp_path / "known.toml").write_text("")
    known_add.add(tmp_path / "known.toml", proposal, case, versions)
    issues = known.load(tmp_path / "known.toml")
    assert issues.judge(case, "10.0.2", "6.12.9-arm64").verdict is Verdict.KNOWN


@pytest.mark.parametrize("verdict", [each for each in Verdict if each is not Verdict.FAIL])
def test_only_what_fails_can_be_known(tmp_path: Path, verdict: Verdict) -> None:
    issue = "x" if verdict in {Verdict.KNOWN, Verdict.FIXED} else None
    with pytest.raises(UsageError, match="only what fails can be known"):
        known_add.propose(of(tmp_path, replace(CASE, verdict=verdict, known_issue=issue)), "lost", "why")


def test_nothing_is_excused_twice(tmp_path: Path) -> None:
    added(tmp_path)
    before = (tmp_path / "known.toml").read_text()
    with pytest.raises(UsageError, match="already"):
        added(tmp_path)
    with pytest.raises(UsageError, match="the entry 'lost' excuses it already"):
        added(tmp_path, name="again")
    assert (tmp_path / "known.toml").read_text() == before


@pytest.mark.parametrize("spoil", ["{", "{}", "[]", None])
def test_what_is_no_bundle_is_one_line(tmp_path: Path, spoil: str | None) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    if spoil is not None:
        (folder / "case.json").write_text(spoil)
    with pytest.raises(UsageError, match=r"case\.json"):
        known_add.propose(folder, "lost", "why")


def test_strange_words_stay_what_they_are(tmp_path: Path) -> None:
    strange = "a'b\"c\\d\te: f.(g)* [h]"
    case = replace(CASE, message=f"timers: x: {strange}; suspect QEMU", params={"sp ace": strange, "on": True, "f": 1.5})
    added(tmp_path, case)
    (entry,) = tomllib.loads((tmp_path / "known.toml").read_text())["issue"]
    assert entry["what"] == strange and entry["when"]["sp ace"] == [strange]


# -- entries that nothing bears out

KEY = "scenarios/timers/test_fire.py::test_fires_once[tcg file timer=cnthp instant=armed e2h=0]"
assert CASE.key == KEY


def tried(verdict: str, run: int = 1, key: str = KEY, issue: str | None = "lost", qemu: str = "11.1.3") -> Try:
    return Try(run, f"2026-11-{run:02}T00:00:00Z", key, key, Verdict(verdict), None, issue, 1.0, "", Versions(qemu))


def entries(tmp_path: Path, more: str = "") -> known.KnownIssues:
    added(tmp_path)
    path = tmp_path / "known.toml"
    path.write_text(path.read_text().replace("\n[issue.when]", f"{more}\n[issue.when]"))
    return known.load(path)


TODAY = datetime.now(UTC).date()
UNSEEN = "never seen, though its cases were tried"


@pytest.mark.parametrize(
    ("tries", "count", "doubt"),
    [
        ([], 0, ""),
        ([tried("pass", key=KEY.replace("cnthp", "cntv"), issue=None)], 0, ""),
        ([tried("pass", issue=None, qemu="10.0.2")], 0, ""),
        ([tried("pass", issue=None, qemu="my own")], 0, ""),
        ([tried("skip", issue=None)], 0, ""),
        ([tried("fixed")], 1, UNSEEN),
        ([tried("fail", issue=None)], 1, UNSEEN),
        ([tried("known")], 1, ""),
        ([tried("known"), tried("fixed", 2)], 2, "did not fail in run 2 (2026-11-02T00:00:00Z)"),
        ([tried("fixed"), tried("known", 2)], 2, ""),
    ],
)
def test_how_an_entry_stands(tmp_path: Path, tries: list[Try], count: int, doubt: str) -> None:
    (found,) = standings(entries(tmp_path), tries, TODAY)
    assert (found.tries, found.doubt) == (count, doubt)


def test_an_entry_expires(tmp_path: Path) -> None:
    yesterday, tomorrow = TODAY - timedelta(days=1), TODAY + timedelta(days=1)
    assert entries(tmp_path, f"expires = {tomorrow}").judge(CASE, "11.1.3").verdict is Verdict.KNOWN
    (tmp_path / "known.toml").unlink()
    old = entries(tmp_path, f"expires = {yesterday}")
    judged = old.judge(CASE, "11.1.3")
    assert judged.verdict is Verdict.FAIL and judged.message.endswith(f"; known issue lost expired on {yesterday}")
    (found,) = standings(old, [tried("known")], TODAY)
    assert found.doubt == f"expired on {yesterday}: it excuses nothing any more"


def test_a_race_may_not_fail(tmp_path: Path) -> None:
    passed = replace(CASE, verdict=Verdict.PASS, message="")
    assert entries(tmp_path).judge(passed, "11.1.3").verdict is Verdict.FIXED
    (tmp_path / "known.toml").unlink()
    race = entries(tmp_path, "rate = '3 of 5'")
    assert race.judge(passed, "11.1.3").verdict is Verdict.PASS
    assert race.judge(CASE, "11.1.3").verdict is Verdict.KNOWN


@pytest.mark.parametrize("value", ["'often'", "'0 of 5'", "'5 of 5'"])
def test_a_rate_is_a_figure(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="'rate' is how often its cases failed"):
        entries(tmp_path, f"rate = {value}")


@pytest.mark.parametrize("value", ['"2027-01-31"', "2027", "2027-01-31T00:00:00Z"])
def test_a_day_is_a_day(tmp_path: Path, value: str) -> None:
    with pytest.raises(UsageError, match="'expires' must be a day"):
        entries(tmp_path, f"expires = {value}")


def test_the_bundle_that_is_read_is_the_one_that_is_written(tmp_path: Path) -> None:
    record = json.loads((of(tmp_path, CASE) / "case.json").read_text())
    assert {"case", "sides", "provenance"} <= record.keys()


@pytest.mark.parametrize(
    ("verdicts", "doubt"),
    [
        (["known", "pass"], ""),
        (["pass"] * 4, ""),
        (["known", *["pass"] * 5], "did not fail in the last 5 tries, and is said to in 3 of 5"),
        (["pass"] * 5, "did not fail in the last 5 tries, and is said to in 3 of 5"),
        ([*["pass"] * 9, "known"], ""),
    ],
)
def test_a_race_may_stay_away_for_as_long_as_chance_explains(tmp_path: Path, verdicts: list[str], doubt: str) -> None:
    race = entries(tmp_path, "rate = '3 of 5'")
    tries = [tried(verdict, run, issue="lost" if verdict == "known" else None) for run, verdict in enumerate(verdicts, 1)]
    (found,) = standings(race, tries, TODAY)
    assert found.doubt == doubt
