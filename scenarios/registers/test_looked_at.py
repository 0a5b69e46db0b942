"""A machine that was looked at while it stood still goes on as if nobody had looked."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.deadline import Deadline
from harness.errors import GuestSilent, QemuFailure
from harness.faults.late import hold_back
from harness.guest.payload import Guest
from harness.plugin.matrix import Matrix, Params
from harness.plugin.reported import WITH_KVM
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine

HELD_SECONDS = 10.0
# For a guest that needs a tenth of a second of an idle computer's time to switch its second vCPU on and arrange everything.
BOOT_SECONDS = 30.0
MATRIX = Matrix(
    {
        "lifecycle": ("reset",),
        "level": ("el1",),
        "thread": ("prompt", "late"),
        "look": ("looked-at", "unseen"),
        "vcpus": (2,),
        "cpu": ("host",),
    },
    platforms=WITH_KVM,
)


@pytest.mark.matrix(MATRIX)
def test_a_vcpu_that_was_switched_on_stays_on(
    case: Params, trial: Trial, boot: Callable[..., Guest], counts: Callable[..., None]
) -> None:
    guest = boot("registers", sets="gpr,fp")
    machine = guest.machine
    assert isinstance(machine, Machine)
    deadline = Deadline.after(BOOT_SECONDS)
    machine.stop()
    machine.execute("system_reset")
    machine.wait_event("RESET", deadline)
    if case.look == "looked-at":
        machine.look(deadline)
    machine.console.leftover()
    guest.messages.clear()
    if case.thread == "late":
        hold_back(machine, 1, HELD_SECONDS)
    machine.cont()
    try:
        guest.hear_until("now", Deadline.after(BOOT_SECONDS))
    except GuestSilent as silent:
        raise QemuFailure(f"vCPU 1 never came up: {silent.what}", where=machine.side) from silent
    trial.go(guest)
    guest.finish()
    counts(registers=guest.checks())
