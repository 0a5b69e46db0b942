"""One side dies: the verdict comes with the exit, names the side that is gone, and never waits for a deadline."""

from __future__ import annotations

import time

import pytest

from harness.errors import QemuFailure
from harness.lifecycle.passage import LIFECYCLE_SECONDS, Passage
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.qemu.migration import TransferFailed
from tests.sabotage.parts import NewTrial, Way, caught, hear_and_judge, start

# Bytes a second: a stream of half a megabyte is under way long enough to be interrupted.
_TRICKLE = 100_000
_RUNS_ON_MS = 1000


def killed_before_the_load(passage: Passage, machine: Machine) -> Machine:
    return _through_file(passage, machine, kill="before")


def killed_after_the_load(passage: Passage, machine: Machine) -> Machine:
    return _through_file(passage, machine, kill="after")


def killed_while_the_guest_runs(passage: Passage, machine: Machine) -> Machine:
    return _through_file(passage, machine, kill="running")


def no_death_with_a_file(passage: Passage, machine: Machine) -> Machine:
    return _through_file(passage, machine, kill="never")


def killed_during_the_load(passage: Passage, machine: Machine) -> Machine:
    return _live(passage, machine, kill="destination")


def source_killed(passage: Passage, machine: Machine) -> Machine:
    return _live(passage, machine, kill="source")


def no_death_live(passage: Passage, machine: Machine) -> Machine:
    return _live(passage, machine, kill="nobody")


def _through_file(passage: Passage, machine: Machine, *, kill: str) -> Machine:
    machine.stop()
    before = passage.look(machine)
    stream = passage.save(machine)
    machine.dismiss()
    restored = passage.twin()
    if kill == "before":
        restored.kill()
    passage.load(restored, stream.path)
    passage.compare(before, passage.look(restored))
    if kill == "after":
        restored.kill()
    restored.cont()
    if kill == "running":
        restored.kill()
    return restored


def _live(passage: Passage, machine: Machine, *, kill: str) -> Machine:
    destination = passage.twin()
    for side in (machine, destination):
        migration.enable(side, "return-path")
    migration.set_parameters(machine, max_bandwidth=_TRICKLE)
    uri = f"unix:{destination.place / 'migration'}"
    migration.receive(destination, uri)
    migration.send(machine, uri)
    for side in (machine, destination):
        side.wait_event("MIGRATION", passage.deadline, status="active")
    if kill == "destination":
        destination.kill()
    elif kill == "source":
        machine.kill()
    else:
        migration.set_parameters(machine, max_bandwidth=0)
    migration.transferred(machine, destination, passage.deadline)
    passage.compare(passage.look(machine), passage.look(destination))
    machine.dismiss()
    destination.cont()
    return destination


GONE = r"QEMU was killed by SIGKILL"
DEATHS: dict[Way, tuple[type[QemuFailure], str]] = {
    killed_before_the_load: (QemuFailure, rf"^destination: {GONE}"),
    killed_during_the_load: (
        TransferFailed,
        r"crash, destination \(SIGKILL\): .*(it|QEMU) was killed by SIGKILL .*; the source says \w+: .*\w",
    ),
    killed_after_the_load: (QemuFailure, rf"^destination: {GONE}"),
    killed_while_the_guest_runs: (QemuFailure, rf"^destination: {GONE}"),
    source_killed: (TransferFailed, r"crash, source \(SIGKILL\): .*the source says \w+: (it|QEMU) was killed by SIGKILL"),
}


@pytest.mark.parametrize("way", DEATHS, ids=lambda way: f"death: {way.__name__.replace('_', ' ')}")
def test_is_told_at_once(way: Way, new_trial: NewTrial) -> None:
    trial = new_trial(way, runs_on_ms=_RUNS_ON_MS)
    guest = start(trial, "timers")
    began = time.monotonic()
    with caught(trial, *DEATHS[way]):
        trial.put_through(guest)
        hear_and_judge(trial, guest)
    assert time.monotonic() - began < LIFECYCLE_SECONDS / 4, "it ended on the exit, not on a deadline"


@pytest.mark.parametrize(
    "way", [no_death_with_a_file, no_death_live], ids=lambda way: f"death: {way.__name__.replace('_', ' ')}"
)
def test_passes_without_a_death(way: Way, new_trial: NewTrial) -> None:
    trial = new_trial(way, runs_on_ms=_RUNS_ON_MS)
    guest = start(trial, "timers")
    trial.put_through(guest)
    hear_and_judge(trial, guest)
    assert trial.tally.interrupts == 1
