"""Every register of every vCPU holds after the lifecycle what it held before, by the guest's word and seen from outside."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from scenarios.places import AT_E2H0_BUT, BREAKING, CPUS, LEVELS, UNDER_KVM_BUT, place_exists

# What the payload fills with patterns, each set by itself, so that what is known of one hides nothing of the others.
SETS = {"core": "gpr,fp,sys", "pauth": "gpr,pauth", "sve": "gpr,sve", "sme": "gpr,sme"}
# 1024 bits of vector length instead of 2048.
SHORT_VECTORS = "max,sve-max-vq=8"


def exists(row: Row) -> bool:
    """Say whether the CPU has the level and the registers: of ours, only `max` has more than the core set."""
    cpu, sets = row.get("cpu"), row.get("sets")
    if cpu == SHORT_VECTORS and sets not in (None, "sve"):
        return False
    return place_exists(row) and not (cpu in ("neoverse-n1", "cortex-a57") and sets not in (None, "core"))


MATRIX = Matrix(
    {
        "lifecycle": tuple(LIFECYCLES),
        "sets": tuple(SETS),
        "level": LEVELS,
        "vcpus": (1, 2),
        "cpu": (*CPUS, SHORT_VECTORS),
    },
    valid=exists,
    # Vectors longer than 1024 bits through everything: QEMU's stream has room for half of them.
    also=[{"lifecycle": lifecycle, "sets": "sve", "level": "el1", "vcpus": 1, "cpu": "max"} for lifecycle in LIFECYCLES],
)


@pytest.mark.matrix(MATRIX)
def test_every_register_survives(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    but = (UNDER_KVM_BUT + AT_E2H0_BUT * (case.level == "nvhe")) if trial.bench.accel == "kvm" else ""
    guest = boot("registers", sets=SETS[case.sets], **({"but": but} if but else {}))
    put_through(guest, compare_streams=True)
    witness.hear_out(guest)
    witness.judge(guest, interrupted=LIFECYCLES[case.lifecycle].interrupts)
    counts(registers=witness.evidence(guest))
    if not trial.lifecycle.restarts:
        for look in (*trial.looks("gdb"), *trial.looks("kvm")):
            counts(registers=witness.cross_check(guest, look, trial.rules))
    guest.finish()


@pytest.mark.matrix(
    Matrix(
        {"lifecycle": ("straight", "pause"), "register": BREAKING, "level": ("vhe",), "vcpus": (1,), "cpu": CPUS},
        platforms=("lab", "kvm", "ssh"),
    )
)
def test_kernel_takes_every_register(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    """One register of those that are left out above, in which kernels went wrong."""
    others = [name for name in UNDER_KVM_BUT.split(",") if name != case.register]
    guest = boot("registers", sets="sys", but=",".join(others))
    put_through(guest)
    witness.hear_out(guest)
    witness.judge(guest, interrupted=trial.lifecycle.interrupts)
    counts(registers=witness.evidence(guest))
    guest.finish()
