"""Whose fault it is when nobody has said why: whoever emulates the guest's CPU."""

from __future__ import annotations

from typing import Any, cast

import pytest

from harness.errors import (
    DeadlineExpired,
    Failure,
    GuestFailure,
    GuestSilent,
    QemuFailure,
    StateDiffers,
    Suspect,
    TimerFailure,
)
from harness.lab.ground import Ground
from harness.plugin.trial import Trial

NOTHING = cast(Any, None)


def blamed(accel: str, failure: Failure) -> Suspect:
    Trial(NOTHING, {}, _grounds=[Ground(NOTHING, NOTHING, accel)]).blame(failure)
    return failure.suspect


@pytest.mark.parametrize("kind", [GuestSilent, TimerFailure, StateDiffers])
def test_what_a_guest_sees_or_its_silence_is_the_fault_of_what_runs_its_cpu(kind: type[Failure]) -> None:
    assert blamed("tcg", kind("it")) is Suspect.QEMU
    assert blamed("kvm", kind("it")) is Suspect.KERNEL_L0


@pytest.mark.parametrize("failure", [QemuFailure("it"), DeadlineExpired("it"), TimerFailure("it", suspect=Suspect.HOST)])
def test_what_is_known_or_of_qemus_own_doing_stays(failure: Failure) -> None:
    known = failure.suspect
    assert blamed("kvm", failure) is known


def test_a_guest_that_finds_fault_with_itself_is_to_blame() -> None:
    assert blamed("kvm", GuestFailure("it")) is Suspect.GUEST
