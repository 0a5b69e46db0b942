"""What is said while a run goes on: done, running where, slowest, and how long it will take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from harness.errors import Verdict
from harness.report.model import Case
from harness.report.progress import Progress, display, duration, line, sentence
from tests.report.report_samples import FAILED, LOST, PASSED


def case(number: int, seconds: float = 1.0, test: str = "t") -> Case:
    return replace(PASSED, id=f"a.py::{test}[{number}]", params={"n": number}, seconds=seconds)


def plan(count: int) -> dict[str, Case]:
    return {each.id: each for each in map(case, range(count))}


def after(done: int, of: int, seconds: float = 1.0, expected: Mapping[str, float] | None = None) -> Progress:
    progress = Progress(plan(of), 0.0, expected or {})
    for number in range(done):
        progress.end(case(number).id, case(number, seconds))
    return progress


def test_nothing_is_said_of_time_while_nothing_is_known() -> None:
    assert after(2, 10).left(2.0) is None
    assert line(after(0, 10), 0.0) == "0 of 10 done"


@pytest.mark.parametrize(("now", "left"), [(5.0, 5.0), (10.0, 10.0), (2.5, 2.5)])
def test_the_rest_takes_as_long_at_the_pace_so_far(now: float, left: float) -> None:
    """At 2.5 s, two workers have each done half."""
    assert after(5, 10).left(now) == pytest.approx(left)


def test_what_is_left_is_known_from_earlier_runs() -> None:
    slow = {case(number).key: 10.0 for number in range(5, 10)} | {case(number).key: 1.0 for number in range(5)}
    assert after(5, 10, expected=slow).left(5.0) == pytest.approx(50)


def test_a_slower_computer_takes_longer_for_what_is_known_too() -> None:
    known = {case(number).key: 1.0 for number in range(10)}
    assert after(5, 10, seconds=2.0, expected=known).left(10.0) == pytest.approx(10)


def test_what_runs_has_had_some_of_its_time() -> None:
    progress = after(5, 7)
    progress.start(case(5).id, 4.6)
    assert progress.left(5.0) == pytest.approx(1.6)
    progress.running[case(5).id] = 0.0  # it takes much longer than it should
    assert progress.left(5.0) == pytest.approx(1.0)


def test_a_case_of_a_slow_test_is_taken_to_be_slow() -> None:
    cases = [*map(case, range(4)), case(4, test="slow"), case(5, test="slow")]
    progress = Progress({each.id: each for each in cases}, 0.0)
    for each in cases[:-1]:
        progress.end(each.id, replace(each, seconds=9.0 if "slow" in each.id else 1.0))
    assert progress.left(13.0) == pytest.approx(9)


def test_a_line() -> None:
    progress = after(5, 7)
    progress.end(FAILED.id, replace(FAILED, seconds=6.14))
    progress.plan = {**progress.plan, FAILED.id: FAILED}
    progress.start(case(5).id, 5.0)
    progress.place(case(5).id, "gw1")
    assert line(progress, 12.3) == (
        "6 of 8 done, 1 fail; about 1 s left; slowest 6.1 s: timers file timer=cnthp instant=armed e2h=0; "
        "running: gw1 7.3 s timers file n=5"
    )


def test_lines_that_stay() -> None:
    progress = after(3, 14)
    for number in range(3, 14):
        progress.start(case(number).id, 0.0)
    lines = display(progress, 1.0, 8)
    assert lines[0].startswith("━━━━━┄") and "3 of 14 done" in lines[0]
    assert lines[1] == "  1.0 s timers file n=3"
    assert lines[9:] == ["  and 3 more", "  slowest so far 1.0 s  timers file n=0"]


def test_at_the_end_nothing_is_left() -> None:
    assert line(after(3, 3), 3.0).startswith("3 of 3 done; slowest")


def test_what_nobody_planned_is_not_counted() -> None:
    progress = after(0, 3)
    progress.start("other", 1.0)
    assert not progress.running


def test_what_broke_is_said_in_one_line() -> None:
    assert sentence(replace(FAILED, message=f"{LOST}\nmore")) == f"✗ fail: {LOST}"
    assert sentence(replace(FAILED, message="", verdict=Verdict.ERROR)) == f"! error: {FAILED.id}"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.6, "1 min 0 s"), (61, "1 min 1 s"), (3725, "1 h 2 min"), (-3, "0 s")]
)
def test_a_time_in_words(seconds: float, text: str) -> None:
    assert duration(seconds) == text
