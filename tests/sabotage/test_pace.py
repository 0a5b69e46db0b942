"""A counter that goes on at another pace is found, even where it never goes back; one that is said late does not go back."""

from __future__ import annotations

import time

import pytest

from harness.errors import TimerFailure
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine
from tests.sabotage.parts import NewTrial, caught, hear_and_judge, play, start

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


def test_both_levels_of_a_guest_speak_in_the_order_in_which_they_read(new_trial: NewTrial) -> None:
    """Asked while L2 takes its time to say what it has read, the hypervisor would say a newer counter before that."""
    trial = new_trial("pause", level="nvhe")
    guest = start(trial, "nested", timer="cnthp", instant="armed", ticks=10, reading_us=10_000)
    trial.put_through(guest)
    for _ in range(20):
        guest.ask()
        time.sleep(0.01)
    hear_and_judge(trial, guest)
    assert trial.tally.interrupts == 20
