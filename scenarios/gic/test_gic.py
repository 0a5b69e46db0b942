"""The GIC's state survives bit by bit, and what was pending is delivered afterwards: once, on the right vCPU, nothing else."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.matrix import Matrix, Params
from scenarios.places import CPUS, LEVELS, place_exists

MATRIX = Matrix(
    {"lifecycle": tuple(LIFECYCLES), "level": LEVELS, "vcpus": (1, 2), "cpu": CPUS, "acks": ("all", "edge")},
    valid=place_exists,
    # On KVM, what is acknowledged otherwise is a known issue, and QEMU saves no guest at vEL2.
    also=[{"lifecycle": "file", "level": "el1", "vcpus": 1, "cpu": "max", "acks": "edge"}],
)


@pytest.mark.matrix(MATRIX)
def test_pending_interrupts_are_delivered_once(
    case: Params, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    guest = boot("gic", acks=case.acks)
    put_through(guest, compare_streams=True)
    witness.hear_out(guest)
    counts(interrupts=witness.judge(guest, interrupted=LIFECYCLES[case.lifecycle].interrupts))
    guest.finish()
