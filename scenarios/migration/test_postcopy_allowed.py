"""Memory is whole as well where postcopy was allowed and the migration came to its end without it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.faults import census
from harness.faults.attempt import Attempt
from harness.guest import witness
from harness.guest.payload import Guest
from harness.lifecycle.passage import Passage
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine

# What is lost is what the guest writes between the last look at its dirty pages and its stop, a tenth of a millisecond: five of
# six migrations show it, so that of so many one does.
HOPS = 6
MATRIX = Matrix(
    {"lifecycle": ("live-unix",), "allowed": ("precopy-only", "postcopy-ram"), "vcpus": (1, 2), "cpu": ("cortex-a57", "max")},
    platforms=("tcg",),
)


@pytest.mark.matrix(MATRIX)
def test_memory_is_whole_without_the_switch(
    case: Params, trial: Trial, boot: Callable[..., Guest], counts: Callable[..., None]
) -> None:
    guest = boot("memory")
    passage = Passage(trial.start)
    trial.passages.append(passage)
    machine = guest.machine
    capabilities = ("return-path", *(["postcopy-ram"] if case.allowed == "postcopy-ram" else []))
    for _ in range(HOPS):
        assert isinstance(machine, Machine)
        destination = passage.twin()
        with Attempt.begun(machine, destination, capabilities, trial.source.workshop.hub) as attempt:
            attempt.reach("ram")
            attempt.go_on_as_precopy()
            attempt.settle()
        machine.dismiss()
        machine = destination
    survivor = census.count(guest, trial.machines).one(machine.side)
    trial.told()
    witness.hear_out(survivor)
    counts(interrupts=witness.judge(survivor, interrupted=True), registers=witness.evidence(survivor))
    survivor.finish()
