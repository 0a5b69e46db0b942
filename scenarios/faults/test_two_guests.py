"""Both sides told to go on by mistake: one guest too many, and nobody but whoever counts them notices.

Each case asserts that there is one guest, and fails with the words that there are two (known issue
qemu-cont-after-migration). With postcopy the guest's memory leaves the source, and QEMU refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from harness.faults import census
from harness.faults.attempt import DESCRIBED, SWITCHED, Attempt
from harness.lifecycle.passage import Passage
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.qemu.qmp import QmpRefused
from scenarios.faults.survivors import GUESTS, arrange, judge, machine_of, new_passage
from scenarios.faults.ways import FILES, LIVE


def source_told_to_go_on(trial: Trial, source: Machine, way: str) -> None:
    """Migrate, and tell both sides to go on."""
    destination = new_passage(trial).twin()
    with Attempt.begun(source, destination, ("return-path", *LIVE[way]), trial.source.workshop.hub) as attempt:
        attempt.reach(SWITCHED)
        if not attempt.postcopy:  # which says that it has completed a moment before it takes a `cont`
            migration.finalized(source, attempt.deadline)
        try:
            source.cont()
        except QmpRefused as refused:
            if not (attempt.postcopy and "Migration is not finalized yet" in refused.description):
                raise
        attempt.go_on()
        attempt.settle()


def cancelled_but_arrived(trial: Trial, source: Machine, way: str) -> None:
    """Cancel when all that the destination needs is on its way, and believe the destination, which says that it is complete."""
    destination = new_passage(trial).twin()
    with Attempt.begun(source, destination, ("return-path", *LIVE[way]), trial.source.workshop.hub) as attempt:
        attempt.reach(DESCRIBED)
        source.execute("migrate_cancel")
        attempt.go_on()
        destination.wait_event("MIGRATION", attempt.deadline, since=destination.migration_began, status="completed")
        attempt.settle()
        destination.cont()


def file_and_source(trial: Trial, source: Machine, way: str) -> None:
    """Save, load elsewhere, and tell both sides to go on."""
    passage = Passage(trial.start)
    source.stop()
    saved = passage.save(source, "stream", *FILES[way])
    destination = passage.twin()
    passage.load(destination, saved.path, *FILES[way])
    destination.cont()
    source.cont()


MISTAKES: Mapping[str, Callable[[Trial, Machine, str], None]] = {
    "source-told-to-go-on": source_told_to_go_on,
    "cancelled-but-arrived": cancelled_but_arrived,
    "file-and-source": file_and_source,
}


def exists(row: Row) -> bool:
    """Say whether there is such a case: postcopy cannot be cancelled when it has come to the devices."""
    way, mistake = row.get("lifecycle"), row.get("mistake")
    if mistake is None or way is None:
        return True
    return (way in FILES) == (mistake == "file-and-source") and not (way == "postcopy" and mistake == "cancelled-but-arrived")


MATRIX = Matrix(
    {
        "lifecycle": (*LIVE, *FILES),
        "mistake": tuple(MISTAKES),
        "guest": tuple(GUESTS),
        "vcpus": (1, 2),
        "cpu": ("cortex-a57", "max"),
    },
    valid=exists,
    platforms=("tcg",),
)


@pytest.mark.matrix(MATRIX)
def test_a_guest_lives_once(case: Params, trial: Trial) -> None:
    guest = arrange(trial, case.guest)
    MISTAKES[case.mistake](trial, machine_of(guest), case.lifecycle)
    judge(trial, census.count(guest, trial.machines).one("destination"))
