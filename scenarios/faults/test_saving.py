"""A guest that is being saved, or loaded, when the disk is full, a process is killed, or the save is cancelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from harness.deadline import Deadline
from harness.errors import HostFailure, QemuFailure
from harness.faults import census, disk
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.qemu import migration
from scenarios.faults.survivors import GUESTS, arrange, judge, lead_on, machine_of, new_passage, refuses
from scenarios.faults.ways import FILES

PLACES = {"vcpus": (1, 2), "cpu": ("cortex-a57", "max")}
# How much of the stream fits: nothing, some of the memory, the memory and some of the devices.
ROOM = ("nothing", "memory", "devices")
_SECONDS = 30.0
# Bytes a second: a save takes some seconds, and is interrupted when it has begun.
_TRICKLE = 10_000


@pytest.mark.matrix(Matrix({"lifecycle": tuple(FILES), "room": ROOM, "guest": tuple(GUESTS), **PLACES}, platforms=("tcg",)))
def test_full_disk_leaves_the_guest_where_it_is(case: Params, trial: Trial) -> None:
    small = with_small_disk(trial)
    guest = arrange(trial, case.guest)
    source = machine_of(guest)
    passage = new_passage(trial)
    source.stop()
    whole = passage.save(source, "whole", *FILES[case.lifecycle])
    small.resize(source, disk.room_for(whole.here(), case.room))
    source.cont()  # a guest that has been saved is not saved again before it has run
    source.stop()
    migration.send(source, f"file:{small.directory / 'stream'}")
    try:
        migration.saved(source, Deadline.after(_SECONDS))
    except HostFailure as full:
        if not re.search(r"the disk of this computer is full: .*No space left on device", str(full)):
            raise
    else:
        raise QemuFailure("it says that it has saved its guest on a disk that is full", where=source.side)
    census.count(guest, trial.machines).lost()
    source.cont()
    lives = lead_on(trial, passage, case.lifecycle, source)
    judge(trial, census.count(guest, trial.machines).one(lives))


def with_small_disk(trial: Trial) -> disk.SmallDisk:
    """Have the machines of a trial see a disk of their own."""
    small = disk.SmallDisk.at(trial.settled()[0].workshop.desk.directory("disk"))
    grounds = trial.bench.grounds
    trial.bench = replace(trial.bench, grounds=lambda params: small.confine(grounds(params)))
    return small


SAVING: Mapping[str, str] = {"kill": "", "cancel": "source", "cancel-again": "destination"}


@pytest.mark.matrix(
    Matrix({"lifecycle": tuple(FILES), "saving": tuple(SAVING), "guest": tuple(GUESTS), **PLACES}, platforms=("tcg",))
)
def test_interrupted_save_takes_nothing_from_the_guest(case: Params, trial: Trial, counts: Callable[..., None]) -> None:
    guest = arrange(trial, case.guest)
    source = machine_of(guest)
    passage = new_passage(trial)
    lives = SAVING[case.saving]
    deadline = Deadline.after(_SECONDS)
    migration.enable(source, *FILES[case.lifecycle])
    migration.set_parameters(source, max_bandwidth=_TRICKLE)
    stream = source.directory / "stream"
    migration.send(source, f"file:{stream}")
    source.wait_event("MIGRATION", deadline, since=source.migration_began, status="active")
    if case.saving == "kill":
        source.kill()
        source.wait_exit(deadline)
    else:
        source.execute("migrate_cancel")
        source.wait_event("MIGRATION", deadline, since=source.migration_began, status="cancelled")
        migration.set_parameters(source, max_bandwidth=0)
    destination = passage.twin()
    if not refuses(passage, destination, stream, *FILES[case.lifecycle]):
        raise QemuFailure("it has taken a stream that was not finished", where=destination.side)
    if not lives:
        told = census.count(guest, trial.machines).lost()
        assert re.search(r"source was killed by SIGKILL; destination exited with status 1 \(.*\w.*\)$", told), told
        counts(registers=1)
        return
    if lives == "destination":
        lives = lead_on(trial, passage, case.lifecycle, source)
    judge(trial, census.count(guest, trial.machines).one(lives))


@pytest.mark.matrix(
    Matrix(
        {"lifecycle": tuple(FILES), "killed": ("before", "loading", "loaded"), "guest": tuple(GUESTS), **PLACES},
        platforms=("tcg",),
    )
)
def test_file_outlives_a_destination(case: Params, trial: Trial) -> None:
    guest = arrange(trial, case.guest)
    source = machine_of(guest)
    passage = new_passage(trial)
    deadline = Deadline.after(_SECONDS)
    source.stop()
    before = passage.look(source)
    saved = passage.save(source, "stream", *FILES[case.lifecycle])
    source.quit(deadline)
    destination = passage.twin()
    if case.killed != "before":
        migration.enable(destination, *FILES[case.lifecycle])
        migration.receive(destination, f"file:{saved.path}")
        now = "active" if case.killed == "loading" else "completed"
        destination.wait_event("MIGRATION", deadline, since=destination.migration_began, status=now)
    destination.kill()
    destination.wait_exit(deadline)
    told = census.count(guest, trial.machines).lost()
    assert re.search(r"source exited with status 0; destination was killed by SIGKILL$", told), told
    restored = passage.twin()
    passage.load(restored, saved.path, *FILES[case.lifecycle])
    passage.compare(before, passage.look(restored))
    trial.compare(passage)
    restored.cont()
    judge(trial, census.count(guest, trial.machines).one(restored.side))
