"""A cable between two hosts that is pulled while a guest migrates: no connection ends, and neither side is told anything."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from harness.deadline import Deadline
from harness.faults import census
from harness.faults.cable import FAR, Cable, apart
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.qemu import migration
from scenarios.faults.survivors import GUESTS, arrange, judge, machine_of, new_passage
from scenarios.faults.ways import RETURNS

_SECONDS = 30.0
_TRICKLE = 100_000
WAYS: Mapping[str, tuple[str, ...]] = {"live-tcp": (), "multifd": ("multifd",)}
# What happens while it is pulled, and where the guest lives then.
PULLED: Mapping[str, str] = {
    "plugged-in": "destination",
    "cancelled": "source",
    "destination-killed": "source",
    "source-killed": "",
}


@pytest.mark.matrix(
    Matrix(
        {
            "lifecycle": tuple(WAYS),
            "returns": RETURNS,
            "pulled": tuple(PULLED),
            "guest": tuple(GUESTS),
            "vcpus": (1, 2),
            "cpu": ("cortex-a57", "max"),
        },
        platforms=("tcg",),
    )
)
def test_pulled_cable(case: Params, trial: Trial, counts: Callable[..., None]) -> None:
    grounds = trial.bench.grounds
    trial.bench = replace(trial.bench, grounds=lambda params: apart(grounds(params)))
    guest = arrange(trial, case.guest)
    source, destination = machine_of(guest), new_passage(trial).twin()
    deadline = Deadline.after(_SECONDS)
    cable = Cable.laid(source, destination)
    for side in (source, destination):
        migration.enable(side, *WAYS[case.lifecycle], *(["return-path"] if case.returns == "return-path" else []))
    migration.set_parameters(source, max_bandwidth=_TRICKLE)
    migration.receive(destination, f"tcp:{FAR}:0")
    (address,) = destination.execute("query-migrate")["socket-address"]
    migration.send(source, f"tcp:{FAR}:{address['port']}")
    for side in (source, destination):
        side.wait_event("MIGRATION", deadline, since=side.migration_began, status="active")
    cable.pull()
    during(case.pulled, cable, deadline)
    lives = PULLED[case.pulled]
    found = census.count(guest, trial.machines)
    if lives:
        judge(trial, found.one(lives))
    else:
        told = found.lost()
        assert re.search(r"source was killed by SIGKILL; destination is inmigrate, its migration active$", told), told
        counts(registers=1)


def during(what: str, cable: Cable, deadline: Deadline) -> None:
    """Do what happens while the cable is pulled, up to the end of the migration on the source."""
    source, destination = cable.near, cable.far
    if what == "plugged-in":
        cable.plug_in()
        migration.set_parameters(source, max_bandwidth=0)
        migration.transferred(source, destination, deadline)
        destination.cont()
        return
    gone = {"destination-killed": destination, "source-killed": source}.get(what)
    if gone:
        gone.kill()
        gone.wait_exit(deadline)
    if gone is not source:
        assert migration.status(source) == "active"
        source.execute("migrate_cancel")
        source.wait_event("MIGRATION", deadline, since=source.migration_began, status="cancelled")
