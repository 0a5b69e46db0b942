"""The timer oracle on readings written by hand: what passes for each instant, and each kind of finding with its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from harness.state.timers import EXPECTED, REGISTERS, Arrangement, Finding, Reading, find, instant_missed, lost, words

# 1000 ticks a second, so a tick is a ms and an interrupt 500 ticks behind is late.
MASKED, FIRED, ARMED, OFF = 7, 5, 1, 0


def asked(instant: str = "armed", timer: str = "cntv", vcpus: int = 1) -> Arrangement:
    return Arrangement(timer, instant, "cval", freq=1000, vcpus=vcpus, ticks=3 if instant == "periodic" else 0)


def arranged(cnt: int, cval: int, ctl: int, cpu: int = 0) -> Reading:
    return Reading("arranged", cpu, cval, cnt, ctl, before_go=True)


def irq(cnt: int, cval: int, n: int, *, ctl: int = FIRED, intid: int = 27, before_go: bool = False, since: int = 0) -> Reading:
    return Reading("irq", 0, cval, cnt, ctl, n, intid, before_go, since=since)


def timer(cnt: int, cval: int, ctl: int, n: int = 0, since: int = 0) -> Reading:
    return Reading("timer", 0, cval, cnt, ctl, n, since=since)


# What a guest reads when all is well, by instant.
GOOD: dict[str, list[Reading]] = {
    "armed": [arranged(100, 200, ARMED), timer(150, 200, ARMED), irq(205, 200, 1)],
    "armed-far": [arranged(100, 10**12, ARMED), timer(150, 10**12, ARMED)],
    "expired-masked": [arranged(210, 200, MASKED), timer(5000, 200, MASKED), irq(5001, 200, 1, since=5001)],
    "pending": [arranged(210, 200, FIRED), timer(5000, 200, FIRED), irq(5902, 200, 1, since=5900)],
    "active": [
        irq(201, 200, 1, before_go=True),
        arranged(210, 200, FIRED),
        timer(5000, 200, FIRED, 1),
        irq(5003, 5001, 2, since=5000),
    ],
    "disabled": [arranged(100, 120, OFF), timer(5000, 120, OFF), irq(5010, 120, 1, since=5009)],
    "periodic": [
        irq(101, 100, 1, before_go=True),
        irq(201, 200, 2, before_go=True),
        arranged(202, 300, ARMED),
        timer(250, 300, ARMED, 2),
        irq(301, 300, 3),
    ],
}


def beside(reading: Reading, run: int) -> Reading:
    """Return a reading with the counter that stands still whenever the machine does."""
    return replace(reading, run=run)


def kinds(instant: str, readings: Sequence[Reading]) -> list[str]:
    return [finding.kind for finding in find(asked(instant), readings)]


def test_the_table_is_complete() -> None:
    assert GOOD.keys() == {*EXPECTED, "periodic"}


@pytest.mark.parametrize("instant", GOOD)
def test_what_is_right_passes(instant: str) -> None:
    assert find(asked(instant), GOOD[instant]) == []
    assert instant_missed(asked(instant), GOOD[instant]) is None


@pytest.mark.parametrize("instant", GOOD)
def test_on_two_vcpus(instant: str) -> None:
    both = [*GOOD[instant], *(replace(reading, cpu=1, cnt=reading.cnt) for reading in GOOD[instant])]
    assert find(asked(instant, vcpus=2), both) == []
    (finding, *_) = find(asked(instant, vcpus=2), GOOD[instant])
    assert finding.cpu == 1


@pytest.mark.parametrize(("name", "intid"), [(name, intid) for name, (_, intid) in REGISTERS.items()])
def test_every_timer_by_its_own_interrupt(name: str, intid: int) -> None:
    good = [arranged(100, 200, ARMED), timer(150, 200, ARMED), irq(205, 200, 1, intid=intid)]
    assert find(asked(timer=name), good) == []
    wrong = [*good[:2], irq(205, 200, 1, intid=intid + 1)]
    assert [finding.text for finding in find(asked(timer=name), wrong)] == [f"interrupt 1 on vCPU 0 is INTID {intid + 1}"]


ARRANGED, ASKED, TAKEN = GOOD["armed"]
BAD: dict[str, tuple[str, list[Reading], str, str]] = {
    "lost without ISTATUS": (
        "armed",
        [ARRANGED, timer(150, 200, ARMED), timer(1700, 200, ARMED)],
        "lost",
        (
            r"interrupt lost on vCPU 0: PPI 27 came 0 times, expected 1; the counter has passed CVAL by 1500.0 ms, "
            r"CNTV_CTL_EL0.ISTATUS is missing \(CTL 0x1\)"
        ),
    ),
    "lost with ISTATUS": ("armed", [ARRANGED, timer(1700, 200, FIRED)], "lost", r"ISTATUS is set \(CTL 0x5\)"),
    "lost at the second": (
        "active",
        [*GOOD["active"][:3], timer(9000, 5001, FIRED, 1)],
        "lost",
        "PPI 27 came 1 times, expected 2; the counter has passed CVAL by 3999.0 ms",
    ),
    "lost in the middle": (
        "periodic",
        [*(reading for reading in GOOD["periodic"] if reading.n != 2 or reading.kind != "irq")],
        "lost",
        "PPI 27 came 2 times, expected 3",
    ),
    "twice": ("armed", [*GOOD["armed"], irq(206, 200, 2)], "surplus", "PPI 27 came 2 times on vCPU 0, expected 1"),
    "one number twice": ("armed", [*GOOD["armed"], irq(206, 200, 1)], "surplus", "came 2 times on vCPU 0"),
    "none may come": ("armed-far", [*GOOD["armed-far"], irq(160, 100, 1)], "surplus", "came 1 times on vCPU 0, expected 0"),
    "early": ("armed", [ARRANGED, ASKED, irq(180, 200, 1)], "early", "interrupt 1 on vCPU 0 came 20.0 ms before CVAL"),
    "late": ("armed", [ARRANGED, ASKED, irq(701, 200, 1)], "late", "interrupt 1 on vCPU 0 came 501.0 ms late"),
    "late after it was let go": (
        "pending",
        [*GOOD["pending"][:2], irq(6401, 200, 1, since=5900)],
        "late",
        "interrupt 1 on vCPU 0 came 501.0 ms late",
    ),
    "let go by nobody": (
        "pending",
        [*GOOD["pending"][:2], irq(5002, 200, 1)],
        "late",
        "interrupt 1 on vCPU 0 came 4802.0 ms late",
    ),
    "no ISTATUS in the handler": (
        "armed",
        [ARRANGED, ASKED, irq(205, 200, 1, ctl=ARMED)],
        "istatus",
        "interrupt 1 on vCPU 0: CNTV_CTL_EL0.ISTATUS is missing: CNTV_CTL_EL0 reads 0x1 in the handler, not 0x5",
    ),
    "no ISTATUS when asked": (
        "expired-masked",
        [GOOD["expired-masked"][0], timer(5000, 200, 3), irq(5001, 200, 1, since=5001)],
        "istatus",
        "CNTV_CTL_EL0.ISTATUS is missing 4800.0 ms after CVAL on vCPU 0",
    ),
    "another CVAL": (
        "armed",
        [ARRANGED, timer(150, 201, ARMED), irq(205, 201, 1)],
        "changed",
        "CVAL on vCPU 0 was 0xc8 and is 0xc9",
    ),
    "another CTL": (
        "armed",
        [ARRANGED, timer(150, 200, 3), TAKEN],
        "changed",
        "CNTV_CTL_EL0 on vCPU 0 was 0x1, is 0x3",
    ),
    "the counter goes back": (
        "armed",
        [ARRANGED, timer(90, 200, ARMED), TAKEN],
        "backwards",
        "the counter of vCPU 0 went back by 10.0 ms",
    ),
    "not arranged": (
        "armed",
        [arranged(100, 200, OFF), timer(150, 200, OFF), TAKEN],
        "wrong",
        "the instant was not arranged on vCPU 0: CNTV_CTL_EL0 0x0, the counter has not reached CVAL",
    ),
    "arranged too late": (
        "armed",
        [arranged(200, 200, ARMED), timer(201, 200, ARMED), TAKEN],
        "wrong",
        "0x1, the counter has reached CVAL",
    ),
    "arranged twice": ("armed", [ARRANGED, *GOOD["armed"]], "wrong", "2 arrangements on vCPU 0, expected 1"),
    "never asked": ("armed", [ARRANGED, TAKEN], "wrong", "vCPU 0 did not say what became of its timer"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_found(name: str) -> None:
    instant, readings, kind, words = BAD[name]
    findings = find(asked(instant), readings)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError("\n".join(finding.text for finding in findings if finding.kind == kind))


def answer(cnt: int, asked: float, heard: float) -> Reading:
    return replace(timer(cnt, 10**9, ARMED), asked=asked, heard=heard)


FIRST = answer(1000, asked=4.0, heard=5.0)


@pytest.mark.parametrize(
    ("second", "words"),
    [
        (answer(2950, asked=7.0, heard=9.0), None),  # the guest may have read it at any time from 7 to 9
        (answer(5950, asked=7.0, heard=9.0), None),
        (answer(2850, asked=7.0, heard=9.0), "the counter of vCPU 0 went on by 1850.0 ms in 2000.0 ms"),
        (answer(6150, asked=7.0, heard=9.0), "the counter of vCPU 0 went on by 5150.0 ms in 5000.0 ms"),
    ],
)
def test_the_counter_goes_on_as_this_computers_clock_does(second: Reading, words: str | None) -> None:
    found = find(asked("armed-far"), [arranged(100, 10**9, ARMED), FIRST, second])
    assert [finding.text for finding in found] == ([words] if words else [])


def test_what_is_worst_comes_first() -> None:
    assert kinds("armed", [ARRANGED, timer(90, 201, ARMED), timer(1700, 200, ARMED)])[0] == "lost"
    assert kinds("armed", [ARRANGED, timer(150, 201, 3), irq(180, 200, 1, ctl=0)])[:3] == ["early", "istatus", "changed"]


def test_the_first_of_each_kind_is_named_and_more_of_that_kind_are_counted() -> None:
    lost_twice = [Finding("lost", 0, "A"), Finding("lost", 1, "B")]
    back = [Finding("backwards", 0, "C"), Finding("backwards", 1, "D"), Finding("backwards", 1, "E")]
    assert words(lost_twice[:1]) == "A"
    assert words([*lost_twice, Finding("late", 1, "F"), *back]) == "A (and 1 more); F; C (and 2 more)"


def test_no_reading_at_all_is_not_well() -> None:
    assert kinds("armed-far", []) != []
    assert kinds("armed", [])[0] == "lost"


@pytest.mark.parametrize(
    ("instant", "early", "missed"),
    [("armed", 1, 0.1), ("periodic", 2, None), ("periodic", 3, 0.1), ("active", 2, None), ("pending", 1, None)],
)
def test_an_interrupt_that_comes_too_soon_proves_nothing(instant: str, early: int, missed: float | None) -> None:
    first = arranged(100, 200, ARMED)
    assert instant_missed(asked(instant), [first, irq(200, 200, early, before_go=True)]) == missed
    assert instant_missed(asked(instant), [first, irq(200, 200, early)]) is None


@pytest.mark.parametrize(("cnt", "is_lost"), [(199, False), (200, False), (700, False), (701, True)])
def test_lost_is_proven_by_the_guests_counter(cnt: int, is_lost: bool) -> None:
    assert lost(asked(), [ARRANGED, timer(cnt, 200, ARMED)]) is is_lost
    assert not lost(asked(), [ARRANGED, timer(cnt, 200, ARMED, n=1)])


@pytest.mark.parametrize(("cnt", "since", "is_lost"), [(9000, 0, False), (9000, 8500, False), (9001, 8500, True)])
def test_what_the_guest_holds_back_is_lost_once_it_has_let_it_go(cnt: int, since: int, is_lost: bool) -> None:
    assert lost(asked("pending"), [GOOD["pending"][0], timer(cnt, 200, FIRED, since=since)]) is is_lost


# CNTP at EL1 under KVM: the machine was stopped from 150 to 5000 on the physical counter, which went on.
STOPPED = [beside(arranged(100, 200, ARMED), 100), beside(irq(5003, 200, 1, before_go=True), 153)]


def test_a_counter_that_goes_on_while_the_machine_is_stopped_makes_no_interrupt_late() -> None:
    readings = [*STOPPED, beside(timer(5100, 200, OFF, 1), 250)]
    assert kinds("armed", readings) == []
    assert instant_missed(asked(), readings) is None


def test_running_too_long_is_late_however_long_the_machine_was_stopped() -> None:
    readings = [STOPPED[0], beside(timer(5010, 200, ARMED), 160), beside(irq(5800, 200, 1), 950)]
    assert kinds("armed", readings) == ["late"]
    assert lost(asked(), [STOPPED[0], beside(timer(5800, 200, ARMED), 950)])
    assert not lost(asked(), [STOPPED[0], beside(timer(5010, 200, ARMED), 160)])


def test_an_interrupt_that_the_running_machine_took_before_the_lifecycle_is_missed_on_any_counter() -> None:
    readings = [STOPPED[0], beside(irq(205, 200, 1, before_go=True), 205), beside(timer(5100, 200, OFF, 1), 250)]
    assert instant_missed(asked(), readings) == 0.105


def test_a_counter_that_jumped_beyond_the_deadline_says_how_far() -> None:
    jumped = [ARRANGED, irq(90_000, 200, 1, before_go=True), timer(90_001, 200, OFF, 1)]
    assert instant_missed(asked(), jumped) == 89.9


def test_istatus_is_missing_only_after_the_machine_ran() -> None:
    expired = [beside(arranged(210, 200, MASKED), 210)]
    assert (
        kinds("expired-masked", [*expired, beside(timer(5000, 200, 3), 215), beside(irq(5001, 200, 1, since=5001), 216)]) == []
    )
    late = [*expired, beside(timer(5000, 200, 3), 4000), beside(irq(5001, 200, 1, since=5001), 4001)]
    assert kinds("expired-masked", late) == ["istatus"]
