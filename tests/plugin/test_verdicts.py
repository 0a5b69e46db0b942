"""From how a case ended to its verdict, its suspect and its one sentence."""

from __future__ import annotations

import pytest

from harness.errors import (
    Blocked,
    DeadlineExpired,
    GuestFailure,
    HarnessBug,
    HarnessError,
    InstantMissed,
    MissingError,
    NoEvidence,
    QemuFailure,
    StateDiffers,
    Suspect,
    TimerFailure,
    Unsupported,
    UsageError,
    Verdict,
)
from harness.plugin.verdicts import LEVELS, circumstances, conclude, subject_params
from harness.report.model import Case, Compared

PARAMS = {"lifecycle": "file", "timer": "cnthp", "instant": "armed", "level": "vhe", "vcpus": 2, "cpu": "max"}
WHERE = "timers: cnthp armed at EL2 with E2H=1 on max with 2 vCPUs through file"


def judged(error: BaseException | None, platform: str = "tcg") -> Case:
    return conclude("t.py::t[x]", "timers", platform, PARAMS, error, seconds=0.123456, compared=Compared(5, 1))


@pytest.mark.parametrize(
    ("kind", "verdict", "suspect"),
    [
        (HarnessError, Verdict.ERROR, Suspect.HARNESS),
        (UsageError, Verdict.ERROR, Suspect.CONFIGURATION),
        (MissingError, Verdict.ERROR, Suspect.CONFIGURATION),
        (HarnessBug, Verdict.ERROR, Suspect.HARNESS),
        (NoEvidence, Verdict.ERROR, Suspect.HARNESS),
        (GuestFailure, Verdict.FAIL, Suspect.GUEST),
        (QemuFailure, Verdict.FAIL, Suspect.QEMU),
        (TimerFailure, Verdict.FAIL, Suspect.QEMU),
        (StateDiffers, Verdict.FAIL, Suspect.QEMU),
        (DeadlineExpired, Verdict.FAIL, Suspect.QEMU),
    ],
)
def test_bad_ends(kind: type[HarnessError], verdict: Verdict, suspect: Suspect) -> None:
    case = judged(kind("it broke", where="source"))
    assert (case.verdict, case.suspect) == (verdict, suspect)
    assert case.message == f"{WHERE}: source: it broke; suspect {suspect}"
    assert judged(kind("x", suspect=Suspect.KERNEL_L0)).suspect is Suspect.KERNEL_L0


def test_a_missed_instant_proves_nothing() -> None:
    case = judged(InstantMissed("it came too soon", elapsed=0.1))
    assert (case.verdict, case.suspect) == (Verdict.ERROR, Suspect.HOST)


def test_not_tried() -> None:
    skipped, blocked = judged(Unsupported("no SVE", where="max")), judged(Blocked("nested virt is on", where="source"))
    assert (skipped.verdict, skipped.suspect, skipped.message) == (Verdict.SKIP, None, "max: no SVE")
    assert (blocked.verdict, blocked.suspect, blocked.message) == (Verdict.BLOCKED, Suspect.QEMU, "source: nested virt is on")


def test_pass() -> None:
    case = judged(None)
    assert (case.verdict, case.suspect, case.message, case.seconds) == (Verdict.PASS, None, "", 0.1235)
    assert (case.id, case.subject, case.platform, case.lifecycle) == ("t.py::t[x]", "timers", "tcg", "file")
    assert case.compared == Compared(5, 1)
    assert case.params == {"timer": "cnthp", "instant": "armed", "vcpus": 2, "cpu": "max", "el": 2, "e2h": 1}


def test_an_assertion_of_the_scenario() -> None:
    case = judged(AssertionError("one line\nand more"))
    assert (case.verdict, case.suspect) == (Verdict.FAIL, Suspect.QEMU)
    assert case.message == f"{WHERE}: one line; suspect QEMU"
    assert judged(AssertionError("one line"), "lab").suspect is Suspect.KERNEL_L0
    assert judged(AssertionError("one line"), "ssh:altra").suspect is Suspect.KERNEL_L0


def test_what_is_not_ours_is_the_harness_broken() -> None:
    case = judged(ZeroDivisionError("division by zero"))
    assert (case.verdict, case.suspect) == (Verdict.ERROR, Suspect.HARNESS)
    assert "ZeroDivisionError: division by zero; suspect harness" in case.message


@pytest.mark.parametrize(
    ("level", "words"), list(zip(LEVELS, ("at EL1", "at EL2 with E2H=0", "at EL2 with E2H=1"), strict=True))
)
def test_levels(level: str, words: str) -> None:
    assert circumstances({"lifecycle": "file", "level": level}) == f"{words} through file"
    assert subject_params({"lifecycle": "file", "level": level})["el"] == (1 if level == "el1" else 2)
    assert "e2h" in subject_params({"level": level}) or level == "el1"


def test_a_case_with_little_to_say() -> None:
    assert circumstances({"lifecycle": "file"}) == "through file"
    assert circumstances({"lifecycle": "file", "vcpus": 1}) == "with 1 vCPU through file"
    assert subject_params({"lifecycle": "file", "kinds": "all"}) == {"kinds": "all"}
