"""Memory that a vCPU keeps rewriting is whole on the other side, and the heart goes on beating."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.matrix import Matrix, Params
from scenarios.places import CPUS, LEVELS, place_exists

MATRIX = Matrix(
    {"lifecycle": tuple(LIFECYCLES), "level": LEVELS, "vcpus": (1, 2), "cpu": CPUS, "kib": (64, 1024)}, valid=place_exists
)


@pytest.mark.matrix(MATRIX)
def test_memory_under_write_is_whole(
    case: Params, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    guest = boot("memory", kib=case.kib)
    put_through(guest)
    witness.hear_out(guest)
    counts(
        interrupts=witness.judge(guest, interrupted=LIFECYCLES[case.lifecycle].interrupts), registers=witness.evidence(guest)
    )
    guest.finish()
