"""Two failures are the same but for what was measured, and different where anything else differs."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from harness.errors import Suspect, UsageError, Verdict
from harness.rerun.failure import Failure, without_accidents

LOST = Failure(
    Verdict.FAIL,
    Suspect.QEMU,
    "interrupt lost on vCPU 0: PPI 26 came 0 times, expected 1; the counter has passed CVAL by 502.7 ms, "
    "CNTHP_CTL_EL2.ISTATUS is missing (CTL 0x1)",
)


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("passed CVAL by 502.7 ms", "passed CVAL by 1003.25 ms"),
        ("waited 90.0 s for it", "waited 5 s for it"),
        ("on vCPU 0: lost", "on vCPU 1: lost"),
        ("cpu0/X1 was 0x12345 and is 0xffff80001234", "cpu1/X1 was 0x99999 and is 0xffff8000aaaa"),
        ("lost (and 3 more); suspect", "lost; suspect"),
        ("registers differ: cpu0/Z#, cpu1/Z#", "registers differ: cpu0/Z#"),
        (
            "lost; the guest found: vCPU 0: 0 interrupts | vCPU 0: clear | vCPU 1: 0 interrupts | vCPU 1: clear; registers differ: X1",
            "lost; the guest found: vCPU 0: 0 interrupts | vCPU 0: clear; registers differ: X1",
        ),
        (
            "WARNING: CPU: 1 PID: 231 at arch/arm64/kvm/nested.c:41 f+0x12/0x34",
            "WARNING: CPU: 0 PID: 7 at arch/arm64/kvm/nested.c:44 f+0x8/0x34",
        ),
        ("[   12.345678] kvm [231]: it", "[    1.000001] kvm [9]: it"),
        ("/tmp/armvirt-abc/1-x/stream: no", "/run/user/1000/armvirt-x/2-y/stream: no"),
    ],
)
def test_what_is_measured_is_no_difference(here: str, there: str) -> None:
    assert replace(LOST, words=here).same_as(replace(LOST, words=there))


@pytest.mark.parametrize(
    ("here", "there"),
    [
        ("CTL 0x1", "CTL 0x7"),
        ("cpu0/X1 was # and is #", "cpu0/X2 was # and is #"),
        ("CNTHP_CTL_EL2.ISTATUS is missing", "CNTHV_CTL_EL2.ISTATUS is missing"),
        ("ID_AA64MMFR1_EL1.XNX was 0x1 and is 0x0", "ID_AA64MMFR1_EL1.XNX was 0x0 and is 0x1"),
        ("ID_AA64MMFR1_EL1 differs", "ID_AA64MMFR2_EL1 differs"),
        ("interrupt lost", "interrupt late"),
        ("registers differ: cpu0/X1", "registers differ: cpu0/X2"),
        ("lost", "lost; registers differ: cpu0/X1"),
        ("lost; the guest found: vCPU 0: clear", "lost; the guest found: vCPU 0: clear | vCPU 0: set"),
    ],
)
def test_what_else_differs_is_another_failure(here: str, there: str) -> None:
    assert not replace(LOST, words=here).same_as(replace(LOST, words=there))


@pytest.mark.parametrize(
    "other",
    [
        replace(LOST, verdict=Verdict.PASS),
        replace(LOST, verdict=Verdict.ERROR),
        replace(LOST, suspect=Suspect.KERNEL_L0),
        replace(LOST, suspect=None),
    ],
)
def test_verdict_and_suspect_belong_to_it(other: Failure) -> None:
    assert LOST.same_as(LOST)
    assert not LOST.same_as(other)
    assert not other.same_as(LOST)


def test_no_two_passes_are_the_same_failure() -> None:
    passed = Failure(Verdict.PASS, None, "")
    assert not passed.same_as(passed)


def test_words_of_a_lost_interrupt() -> None:
    assert without_accidents(LOST.words) == (
        "interrupt lost on vCPU #: PPI # came # times, expected #; the counter has passed CVAL by # ms, "
        "CNTHP_CTL_EL2.ISTATUS is missing (CTL 0x1)"
    )


def test_as_data() -> None:
    assert Failure.from_data(json.loads(json.dumps(LOST.to_data())), "x") == LOST


@pytest.mark.parametrize(
    "data", [None, {}, {"verdict": "fail", "suspect": "me", "words": ""}, {"verdict": 1, "suspect": None, "words": ""}]
)
def test_what_is_no_failure(data: object) -> None:
    with pytest.raises(UsageError, match="'failure'"):
        Failure.from_data(data, "x")
