"""The allocation tag of every granule survives, with what the granule holds and the registers of the extension (FEAT_MTE2)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial

# A lab whose memory has tags is another one; of ours only `max` has them. KVM shows them to no guest at EL2.
MATRIX = Matrix({"lifecycle": tuple(LIFECYCLES), "memory": ("tagged",), "level": ("el1",), "vcpus": (1, 2), "cpu": ("max",)})


@pytest.mark.matrix(MATRIX)
def test_tags_of_memory_are_whole(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    guest = boot("tags")
    put_through(guest)
    witness.hear_out(guest)
    witness.judge(guest, interrupted=LIFECYCLES[case.lifecycle].interrupts)
    counts(registers=witness.evidence(guest))
    if not trial.lifecycle.restarts:
        for look in (*trial.looks("gdb"), *trial.looks("kvm")):
            counts(registers=witness.cross_check(guest, look, trial.rules))
    guest.finish()
