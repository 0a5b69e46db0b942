"""Every interrupt of every generic timer arrives: once, not before CVAL, soon after, with ISTATUS as the Arm ARM says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harness.guest import timers
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from scenarios.places import CPUS, LEVELS, WITHOUT_VHE, place_exists

# Which timers a guest can name at each level (Arm ARM D12.2; with E2H=1 the EL0 names of EL2 mean CNTHP and CNTHV, and
# the EL1 timers are reached by their _EL02 names).
OF_LEVEL = {
    "el1": ("cntp", "cntv"),
    "nvhe": ("cntp", "cntv", "cnthp", "cnthv"),
    "vhe": ("cnthp", "cnthv", "cntp_el02", "cntv_el02"),
}


def exists(row: Row) -> bool:
    """Say whether a CPU has the level, and the level the timer."""
    level, timer, cpu = row.get("level"), row.get("timer"), row.get("cpu")
    if cpu in WITHOUT_VHE and timer in ("cnthv", "cntp_el02", "cntv_el02"):
        return False
    if not place_exists(row) or (level == "el1" and row.get("offset") == "none"):
        return False
    return level is None or timer is None or timer in OF_LEVEL[level]


EL2_TIMER_ARMED = {"instant": "armed", "by": "cval", "offset": "far", "vcpus": 1, "cpu": "max"}


def tells_under_kvm(row: Row) -> bool:
    """Say whether a case tells anything: stopping a guest at vEL2 moves its counters by CNTVOFF_EL2: once is enough."""
    lifecycle, instant = row.get("lifecycle"), row.get("instant")
    if row.get("level") == "nvhe" and row.get("by") == "tval" and row.get("timer") in ("cntp", "cntv"):
        # On a CPU without FEAT_ECV, TVAL is the hardware's and CVAL is not (known issue kvm-e2h0-tval): once is enough.
        return lifecycle in (None, "kvm-straight") and instant in (None, "disabled")
    if row.get("level") == "nvhe" and row.get("offset") == "far" and row.get("timer") == "cntv":
        # Likewise, its counter is read without CNTVOFF_EL2 and compared with it (known issue kvm-e2h0-cntvoff).
        return lifecycle in (None, "kvm-straight") and instant in (None, "armed")
    if row.get("offset") != "far" or row.get("level") != "vhe":
        return True
    if lifecycle and LIFECYCLES[lifecycle].needs_kvm:  # which puts the counters back as they were
        return True
    return lifecycle in (None, "straight") or (lifecycle == "pause" and instant in (None, "armed"))


# The EL2 timers, whose loss over restore began all this, through every lifecycle, and as a control where nothing is restored.
EL2_TIMERS_THROUGH_EVERYTHING = [
    {"timer": timer, "lifecycle": lifecycle, "level": level} | EL2_TIMER_ARMED
    for timer in ("cnthp", "cnthv")
    for level in ("nvhe", "vhe")
    for lifecycle in LIFECYCLES
]

INSTANTS = ("armed", "armed-far", "expired-masked", "pending", "active", "disabled", "periodic")

# Each timer of each level in each instant, through a save and restore by /dev/kvm itself, and a rewrite in place.
THROUGH_KVM = [
    {"timer": timer, "instant": instant, "level": level, "lifecycle": lifecycle, "by": "cval", "vcpus": 1, "cpu": "max"}
    | {"offset": "none" if level == "nvhe" else "far"}
    for lifecycle in ("kvm-restore", "kvm-rewrite")
    for level in LEVELS
    for timer in OF_LEVEL[level]
    for instant in INSTANTS
]

MATRIX = Matrix(
    {
        "lifecycle": tuple(LIFECYCLES),
        "timer": ("cntp", "cntv", "cnthp", "cnthv", "cntp_el02", "cntv_el02"),
        "instant": INSTANTS,
        "level": LEVELS,
        "by": ("cval", "tval"),
        # Of the virtual counter, in a guest at EL2: CNTVOFF_EL2.
        "offset": ("far", "none"),
        "vcpus": (1, 2),
        "cpu": CPUS,
    },
    valid=exists,
    valid_under_kvm=tells_under_kvm,
    also=[*EL2_TIMERS_THROUGH_EVERYTHING, *THROUGH_KVM],
)


@pytest.mark.matrix(MATRIX)
def test_each_interrupt_comes_once_and_in_time(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    asked: dict[str, Any] = {"timer": case.timer, "instant": case.instant, "by": case.by, "offset": case.offset}
    guest = boot("timers", **asked, **timers.times(case.instant, trial.ahead_us))
    put_through(guest)
    timers.hear_out(guest)
    counts(interrupts=timers.judge(guest, interrupted=trial.lifecycle.interrupts), registers=timers.compared(guest))
    guest.finish()
    trial.stayed_calm()
