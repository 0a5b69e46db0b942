"""Since when, how often, flaky or not, and what changed between two runs, with how sure that is."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import Suspect, Verdict
from harness.report import past
from harness.report.compare import Comparison, compare, student
from harness.report.history import History, PastRun, Try
from harness.report.privacy import Redactor
from harness.report.repeats import base, fold, marked, wilson
from harness.report.results import redacted
from harness.report.trends import Rate, broken, flaky
from harness.report.versions import Versions, of_case
from harness.report.view import regressions
from tests.report.report_samples import FAILED, PASSED, run_of, thousand

OLD, NEW = Versions("11.1.3", "7.3.3"), Versions("11.1.3", "7.3.4")
RUNS = [PastRun(number, f"2026-11-{number:02}T00:00:00Z", None, 1.0, 1, {"harness": "v1"}, 1) for number in range(1, 20)]


def tried(run: int, verdict: str, versions: Versions = OLD, key: str = "a", seconds: float = 1.0, node: str = "") -> Try:
    suspect = Suspect.KERNEL_L0 if verdict == "fail" else None
    message = "lost" if verdict in {"fail", "error"} else ""
    return Try(run, RUNS[run - 1].started, key, node or key, Verdict(verdict), suspect, None, seconds, message, versions)


def test_first_bad_kernel() -> None:
    (found,) = broken([tried(1, "pass"), tried(2, "pass"), tried(3, "fail", NEW), tried(4, "fail", NEW)], RUNS)
    assert (found.since.run, found.before and found.before.run, found.first_bad_kernel) == (3, 2, "7.3.4")
    assert found.changed == "kernel 7.3.3 -> 7.3.4"
    assert found.rate == Rate(2, 2)
    assert "broken since run 3" in found.sentence() and "good until run 2" in found.sentence()


def test_what_is_mended_is_not_broken() -> None:
    assert broken([tried(1, "pass"), tried(2, "fail"), tried(3, "pass")], RUNS) == []


def test_a_skip_neither_breaks_nor_mends() -> None:
    (found,) = broken([tried(1, "pass"), tried(2, "skip"), tried(3, "fail"), tried(4, "skip")], RUNS)
    assert (found.since.run, found.before and found.before.run) == (3, 1)
    assert found.first_bad_kernel == ""
    assert "no version that is recorded changed" in found.sentence()


def test_broken_from_the_first() -> None:
    (found,) = broken([tried(1, "fail"), tried(2, "error")], RUNS)
    assert found.before is None and found.first_bad_kernel == "7.3.3"
    assert "the first that had it" in found.sentence()


@pytest.mark.parametrize(
    ("verdicts", "since", "before"),
    [
        ("pass error fail", 3, 1),
        ("pass error fail error", 3, 1),
        ("fail error fail", 1, None),
        ("fixed error fail", 1, None),
        ("known error fail", 3, 1),
        ("error fail", 2, None),
        ("pass error error", 2, 1),
        ("pass fail error", 2, 1),
    ],
)
def test_an_error_before_a_failure_is_not_where_it_began(verdicts: str, since: int, before: int | None) -> None:
    (found,) = broken([tried(run, verdict) for run, verdict in enumerate(verdicts.split(), 1)], RUNS)
    assert (found.since.run, found.before.run if found.before else None) == (since, before)


def test_each_of_several_kernels_has_a_past_of_its_own() -> None:
    """Both were good, and the last that ended was the older; then another QEMU breaks the newer."""
    other = replace(NEW, qemu="11.2.0")
    tries = [
        tried(1, "pass", NEW, node="t[new~1]"),
        tried(1, "pass", OLD, node="t[old~1]"),
        tried(2, "pass", OLD, node="t[old~1]"),
    ]
    (found,) = broken([*tries, tried(2, "pass", other, node="t[new~1]"), tried(2, "fail", other, node="t[new~2]")], RUNS)
    assert (found.last.node, found.before and found.before.versions) == ("t[new~2]", NEW)
    assert (found.changed, found.first_bad_kernel) == ("QEMU 11.1.3 -> 11.2.0", "")
    assert found.rate == Rate(1, 2)


def test_one_kernel_a_night_is_the_same_case_whatever_its_name() -> None:
    tries = [tried(1, "pass", node="t[7.1]"), tried(2, "fail", node="t[7.2]"), tried(3, "fail", node="t[7.3]"), tried(3, "pass", node="t[suite]")]  # fmt: skip
    (found,) = broken([*tries, tried(4, "fail", node="t[7.4]")], RUNS)
    assert (found.since.run, found.before and found.before.run) == (2, 1)


def test_a_kernel_with_another_name_each_night_beside_one_that_keeps_its_own() -> None:
    nights = [("fail", "pass"), ("fail", "pass"), ("fail", "fail")]
    tries = [
        each
        for run, (suite, image) in enumerate(nights, 1)
        for each in (tried(run, suite, node="t[suite]"), tried(run, image, node=f"t[7.{run}]"))
    ]
    assert {each.last.node: each.since.run for each in broken(tries, RUNS)} == {"t[suite]": 1, "t[7.3]": 3}


def test_another_harness_is_told() -> None:
    runs = [replace(run, provenance={"harness": f"v{run.id}"}) for run in RUNS]
    (found,) = broken([tried(1, "pass"), tried(2, "fail")], runs)
    assert found.changed == "harness v1 -> v2"


def test_one_bad_try_of_a_run_is_enough() -> None:
    (found,) = broken([tried(1, "pass"), tried(2, "pass"), tried(2, "fail"), tried(2, "pass")], RUNS)
    assert found.since.run == 2 and found.rate == Rate(1, 4)


def test_flaky_is_a_number() -> None:
    tries = [tried(1 + number // 5, "fail" if number % 7 == 3 else "pass") for number in range(20)]
    (found,) = flaky(tries)
    assert found.rate == Rate(3, 20)
    assert str(found.rate) == "3 of 20 tries (95 % interval of the share 0.05 to 0.36)"


@pytest.mark.parametrize(
    "tries",
    [
        [tried(1, "pass"), tried(2, "fail", NEW)],
        [tried(1, "fail"), tried(2, "fail")],
        [tried(1, "pass"), tried(2, "skip")],
        [tried(1, "fail"), tried(2, "known")],
    ],
    ids=["another kernel", "always broken", "skipped", "known by now"],
)
def test_what_is_not_flaky(tries: list[Try]) -> None:
    assert flaky(tries) == []


def test_a_known_issue_can_be_flaky() -> None:
    (found,) = flaky([tried(1, "known"), tried(2, "fixed"), tried(3, "known")])
    assert found.rate == Rate(2, 3)


def test_what_became_known_is_neither_mended_nor_broken() -> None:
    found = compare(
        [tried(1, "fail", key="a"), tried(1, "pass", key="b")], [tried(2, "known", key="a"), tried(2, "known", key="b")]
    )
    assert [each.key for each in found.known] == ["a", "b"]
    assert not (found.fixes or found.regressions or found.still or found.untried)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 10, 0.0179, 0.4042), (50, 100, 0.4038, 0.5962), (0, 0, 0.0, 1.0)],
)
def test_wilson(count: int, of: int, low: float, high: float) -> None:
    """The second to fourth from Brown, Cai, DasGupta 2001 by their formula (4)."""
    assert list(wilson(count, of)) == pytest.approx([low, high], abs=1e-4)


@pytest.mark.parametrize(
    ("confidence", "freedom", "quantile"),
    [
        (0.95, 1, 12.706),
        (0.95, 2, 4.303),
        (0.95, 3, 3.182),
        (0.95, 10.9, 2.228),
        (0.99, 30, 2.750),
        (0.999, 4, 8.610),
        (0.95, 120, 1.980),
    ],
)
def test_student(confidence: float, freedom: float, quantile: float) -> None:
    """Abramowitz and Stegun, table 26.10."""
    assert student(confidence, freedom) == pytest.approx(quantile, abs=5e-4)


# -- repeats


def case_of(verdict: str, number: int) -> object:
    return replace(
        FAILED,
        id=f"{marked(FAILED.id[:-1], number)}]",
        verdict=Verdict(verdict),
        message="" if verdict == "pass" else "lost",
        bundle=None if verdict == "pass" else f"bundles/b{number}",
    )


@pytest.mark.parametrize(
    ("verdicts", "require", "verdict", "words", "bundle"),
    [
        ("pass pass pass", None, "pass", "", None),
        ("pass fail pass", None, "fail", "lost; 2 of 3 tries went well (95 % interval 0.21 to 0.94)", "bundles/b2"),
        ("pass fail pass", 2, "pass", "2 of 3 tries went well (95 % interval 0.21 to 0.94), enough for --require 2; one that did not: lost", "bundles/b2"),
        ("fail fail pass", 2, "fail", "lost; 1 of 3 tries went well (95 % interval 0.06 to 0.79)", "bundles/b1"),
        ("error fail pass", 1, "pass", "1 of 3 tries", "bundles/b2"),
        ("known pass fail", 2, "known", "2 of 3 tries went well (95 % interval 0.21 to 0.94), enough for --require 2; one that did not: lost", "bundles/b3"),
        ("known pass known", 2, "known", "lost", "bundles/b1"),
        ("skip skip skip", 3, "skip", "lost", "bundles/b1"),
        ("fail skip blocked", 1, "fail", "lost; 2 of 3 tries went well", "bundles/b1"),
        ("fail skip pass", 1, "pass", "2 of 3 tries went well", "bundles/b1"),
        ("error error error", 1, "error", "lost; 0 of 3", "bundles/b1"),
    ],
)  # fmt: skip
def test_tries_are_one_case(verdicts: str, require: int | None, verdict: str, words: str, bundle: str | None) -> None:
    tries = [case_of(word, number) for number, word in enumerate(verdicts.split(), 1)]
    (case,) = fold(tries, require)  # type: ignore[arg-type]
    assert case.id == FAILED.id == base(case.id)
    assert case.verdict == verdict
    assert words in case.message if words else not case.message
    assert case.bundle == bundle


# -- two runs


def test_regressions_and_fixes() -> None:
    before = [
        tried(1, "pass", key="a"),
        tried(1, "fail", key="b"),
        tried(1, "fail", key="c"),
        tried(1, "pass", key="d"),
        tried(1, "fail", key="e"),
        tried(1, "error", key="f"),
        tried(1, "error", key="g"),
        tried(1, "fixed", key="h"),
        tried(1, "pass", key="gone"),
    ]
    after = [tried(2, "fail", key="a"), tried(2, "pass", key="b"), tried(2, "error", key="c"), tried(2, "skip", key="d"), tried(2, "skip", key="e"), tried(2, "fail", key="f"), tried(2, "error", key="g"), tried(2, "fail", key="h"), tried(2, "pass", key="new")]  # fmt: skip
    found = compare(before, after)
    assert [each.key for each in found.regressions] == ["a", "f"], "an error is no failure that was there before"
    assert (found.regressions[0].was, found.regressions[0].is_, found.regressions[0].suspect) == ("pass", "fail", "kernel (L0)")
    assert [each.key for each in found.fixes] == ["b"], "what is skipped is not mended"
    assert [each.key for each in found.still] == ["c", "g", "h"]
    assert [each.key for each in found.untried] == ["d", "e"]
    assert (found.gone, found.new) == (("gone",), ("new",))


def test_of_several_kernels_each_is_compared_with_itself() -> None:
    before = [tried(1, "fail", node="t[old]"), tried(1, "pass", node="t[new]"), tried(1, "pass", node="t[gone]")]
    after = [tried(2, "fail", node="t[old]"), tried(2, "fail", node="t[new]")]
    found = compare(before, after)
    assert [(each.key, each.was, each.is_) for each in found.regressions] == [("t[new]", "pass", "fail")]
    assert [each.node for each in found.still] == ["t[old]"]
    assert (found.gone, found.new, found.both) == (("t[gone]",), (), 2)
    assert compare(after, before).new == ("t[gone]",)


@pytest.mark.parametrize("suite", [[], ["pass"]], ids=["alone", "beside one that keeps its name"])
def test_a_kernel_with_another_name_is_compared_with_what_was_there_before(suite: list[str]) -> None:
    before = [tried(1, "fail", node="t[7.3]"), *(tried(1, each, node="t[suite]") for each in suite)]
    after = [tried(2, "fail", node="t[7.4]"), *(tried(2, each, node="t[suite]") for each in suite)]
    found = compare(before, after)
    assert [each.key for each in found.still] == ["t[7.4]" if suite else "a"]
    assert not (found.regressions or found.gone or found.new)


def test_one_bad_try_is_a_regression_with_its_number() -> None:
    (change,) = compare([tried(1, "pass")] * 5, [*[tried(2, "pass")] * 4, tried(2, "fail")]).regressions
    assert change.after == Rate(1, 5) and change.is_ == "4 pass, 1 fail"


def timed(factor: float, spread: float, cases: int, tries: int, seed: int = 1) -> Comparison:
    luck = random.Random(seed)

    def noise() -> float:
        return math.exp(luck.gauss(0, spread))

    keys = [f"k{number}" for number in range(cases)]
    before = [tried(1, "pass", key=key, seconds=noise()) for key in keys for _ in range(tries)]
    after = [tried(2, "pass", key=key, seconds=noise() * factor) for key in keys for _ in range(tries)]
    return compare(before, after)


def test_slower_over_all_with_its_uncertainty() -> None:
    found = timed(1.2, 0.3, 200, 1).overall
    assert found and found.sure and found.low < 1.2 < found.high and found.high / found.low < 1.2


def test_as_fast_is_said_to_be_chance_most_of_the_time() -> None:
    sure = [timed(1.0, 0.3, 50, 1, seed).overall for seed in range(200)]
    wrong = sum(bool(each and each.sure) for each in sure)
    assert 1 <= wrong <= 24, "one in twenty, by chance"


def test_single_cases_only_where_they_were_tried_often_enough() -> None:
    assert timed(3.0, 0.1, 20, 1).slower == ()
    assert timed(3.0, 0.1, 20, 1).judged == 0
    found = timed(3.0, 0.1, 20, 8)
    assert found.judged == 20 and len(found.slower) == 20
    sets = [timed(3.0, 0.1, 20, 8, seed).slower for seed in range(40)]
    assert sum(not all(each.low < 3 < each.high for each in one) for one in sets) <= 6, "one in twenty, by chance"


def test_of_many_cases_as_fast_as_ever_hardly_one_is_named() -> None:
    assert sum(bool(timed(1.0, 0.3, 50, 5, seed).slower) for seed in range(40)) <= 6


def test_what_is_slower_by_nothing_that_matters_is_not_named() -> None:
    before = [tried(1, "pass", seconds=0.0100 + number * 1e-5) for number in range(5)]
    after = [tried(2, "pass", seconds=0.0110 + number * 1e-5) for number in range(5)]
    assert compare(before, after).slower == ()


# -- what the history says of a run


def test_the_past_of_a_run(tmp_path: Path) -> None:
    run = replace(run_of(PASSED, FAILED), started="2026-11-30T00:00:00Z")
    with History(tmp_path / "h") as store:
        assert past.of_run(store, run).previous is None
        good = store.begin("2026-11-20T00:00:00Z", {"harness": "v0-1-gabc"})
        store.add(good, [(PASSED, Versions("11.1.3")), (replace(FAILED, verdict=Verdict.PASS), Versions("10.0.2"))])
        store.add(store.begin("2026-11-21T00:00:00Z", {}), [(replace(PASSED, id="other.py::t[x]"), Versions())])
        later = store.begin("2026-12-01T00:00:00Z", {})
        store.add(later, [(FAILED, Versions("11.1.3"))])
        found = past.of_run(store, run)
    assert found.previous and found.previous.id == good
    assert found.comparison and [each.key for each in found.comparison.regressions] == [FAILED.key]
    assert found.broken[FAILED.id].changed == "QEMU 10.0.2 -> 11.1.3"
    assert found.flaky == {}


def test_what_was_broken_before_an_error_is_broken_as_before(tmp_path: Path) -> None:
    run = replace(run_of(FAILED), started="2026-11-30T00:00:00Z")
    with History(tmp_path / "h") as store:
        for day, verdict in ((20, Verdict.FAIL), (21, Verdict.ERROR)):
            store.add(store.begin(f"2026-11-{day}T00:00:00Z", {}), [(replace(FAILED, verdict=verdict), OLD)])
        found = past.of_run(store, run).comparison
    assert found and not found.regressions and [(each.was, each.is_) for each in found.still] == [("error", "fail")]


def test_what_a_run_has_written_of_its_versions_counts(tmp_path: Path) -> None:
    """The provenance does not name the QEMU inside a lab: that is no other QEMU, and no other version that it is broken with."""
    lab = replace(FAILED, platform="lab", params={})
    run = replace(run_of(lab), started="2026-11-30T00:00:00Z", provenance={"kernels": {"lab": "7.3.4"}})
    with History(tmp_path / "h") as store:
        store.add(store.begin("2026-11-20T00:00:00Z", {}), [(replace(lab, verdict=Verdict.PASS), OLD)])
        store.add(store.begin("2026-11-29T00:00:00Z", {}), [(lab, NEW)])
        unwritten = past.of_run(store, run).broken[lab.id]
        store.add(store.begin(run.started, {}), [(lab, NEW)])
        written = past.of_run(store, run).broken[lab.id]
    assert unwritten.changed == written.changed == "kernel 7.3.3 -> 7.3.4"
    assert (written.rate.broken, written.rate.of) == (2, 2)


def test_the_past_of_two_kernels_in_one_run(tmp_path: Path) -> None:
    old, new = (
        replace(FAILED, id=f"t.py::t[lab-{name}]", platform="lab", params={"lab_kernel": name}) for name in ("old", "new")
    )
    run = replace(run_of(new, old), started="2026-11-30T00:00:00Z", provenance={})
    with History(tmp_path / "h") as store:
        good = replace(new, verdict=Verdict.PASS)
        store.add(store.begin("2026-11-20T00:00:00Z", {}), [(old, OLD), (good, NEW)])
        store.add(store.begin(run.started, {}), [(new, NEW), (old, OLD)])
        found = past.of_run(store, run)
    assert {node: each.last.versions for node, each in found.broken.items()} == {old.id: OLD, new.id: NEW}
    assert (found.broken[old.id].since.run, found.broken[new.id].changed) == (1, "")
    assert regressions(run, found) == [new]


def test_the_past_of_a_thousand_cases_is_quick(tmp_path: Path) -> None:
    run = thousand()
    with History(tmp_path / "h") as store:
        for day in range(1, 11):
            store.add(store.begin(f"2026-10-{day:02}T00:00:00Z", {}), [(case, Versions("11.1.3")) for case in run.cases])
        found = past.of_run(store, run)
    assert found.comparison and found.comparison.both and not found.comparison.regressions


def test_a_kernel_is_found_by_its_path_with_and_without_the_users_home() -> None:
    case = replace(PASSED, platform="lab", params={"lab_kernel": "/home/alice/Image"})
    run = replace(run_of(case), provenance={"kernels": {"/home/alice/Image": "7.3.4"}})
    kept = redacted(run, Redactor(("/home/alice",), "alice"))
    assert "alice" not in str(kept)
    for each in (run, kept):
        assert of_case(each.cases[0], each.provenance).kernel == "7.3.4"


def test_versions_of_a_case() -> None:
    provenance = {"qemu": {"version": "11.1.3"}, "kernels": {"host": "6.1", "new": "7.3.4", "lab": "6.12"}}
    lab = replace(PASSED, platform="lab", params={"lab_kernel": "new"})
    assert of_case(PASSED, provenance) == Versions("11.1.3", "")
    assert of_case(lab, provenance) == Versions("", "7.3.4")
    assert of_case(replace(lab, params={}), provenance) == Versions("", "6.12")
    assert of_case(replace(PASSED, platform="kvm"), provenance) == Versions("11.1.3", "6.1")
    far = replace(PASSED, platform="ssh:thunder")
    assert of_case(far, provenance) == of_case(replace(PASSED, platform="not known"), provenance) == Versions()
    told = {**provenance, "hosts": {"ssh:thunder": {"qemu": "10.0.2", "kernel": "6.12.9"}}}
    assert of_case(far, told) == Versions("10.0.2", "6.12.9")
    assert of_case(replace(far, platform="ssh:other"), told) == Versions()
    assert OLD.changes(NEW) == "kernel 7.3.3 -> 7.3.4" and OLD.changes(OLD) == ""
