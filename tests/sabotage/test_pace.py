"""A counter that goes on at another pace is found by this computer's clock, even where it never goes back."""

from __future__ import annotations

import time

import pytest

from harness.errors import TimerFailure
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine
from tests.sabotage.parts import NewTrial, caught, play

# The destination's counter goes on at a quarter of the guest's, so it has passed all that the guest has read after this long.
OVERTAKEN_SECONDS = 0.3


def late(passage: Passage, machine: Machine) -> Machine:
    """Save a guest that has not read its counter for a long time."""
    time.sleep(OVERTAKEN_SECONDS)
    restored: Machine = LIFECYCLES["file"].run(passage, machine)
    return restored


@pytest.mark.parametrize("oracle", ["counter-oracle: a quarter of the frequency, overtaken"])
def test_a_slower_counter_is_caught(oracle: str, new_trial: NewTrial) -> None:
    del oracle
    trial = new_trial(late, cpu="max", runs_on_ms=600)
    trial.vary({}, {"cpu": "max,cntfrq=250000000"})
    with caught(trial, TimerFailure, r"the counter of vCPU 0 went on by \d+\.\d ms in \d+\.\d ms"):
        play(trial, "timers")
