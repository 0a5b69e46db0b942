"""A destination that refuses the guest, at each phase: the source has it still, and another destination takes it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from harness.errors import QemuFailure
from harness.faults import census
from harness.faults.attempt import LAST_PASS, Attempt
from harness.guest.payload import Guest
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.qemu.migration import TransferFailed
from harness.qemu.spec import Start
from scenarios.faults.survivors import GUESTS, arrange, judge, lead_on, machine_of, new_passage, words_of_refusal
from scenarios.faults.ways import FILES, LIVE, RETURNS, capabilities

# What the destination has another of, in the order in which QEMU finds out, and its words for it.
REFUSALS: Mapping[str, str] = {
    "machine": r"Machine type received is 'virt-\d+\.\d+' and local is 'virt-\d+\.\d+'",
    "memory": r"[Ss]ize mismatch: mach-virt\.ram",
    "gic": r"Unknown (savevm )?section or instance 'arm_gicv3'",
    "vcpus": r"Missing section footer for arm_gicv3",
    "cpu": r"in the incoming stream but unknown on the destination|device 'cpu'",
}
# All that is said of a device, where the switch to postcopy came before the guest's memory was complete: which is chance.
IN_POSTCOPY = r"loadvm failed during postcopy: -22"
# Found before the guest leaves the source, and so early that the source's next words are not taken any more.
EARLY = ("machine", "memory")


def exists(row: Row) -> bool:
    """Say whether there is such a case: postcopy needs a return path, and files have none."""
    way, returns = row.get("lifecycle"), row.get("returns")
    return not (returns == "one-way" and way == "postcopy") and not (returns == "return-path" and way in FILES)


def unlike(refusal: str, version: tuple[int, int, int]) -> Mapping[str, Any]:
    """Return what the spec of a destination that refuses has and the guest's has not, for a QEMU of that version."""
    major, minor, _ = version
    # QEMU has had three releases a year since 4.0, from x.0 to x.2.
    before = f"virt-{major}.{minor - 1}" if minor else f"virt-{major - 1}.2"
    specs: Mapping[str, Mapping[str, Any]] = {
        "machine": {"machine": before},
        "memory": {"memory_mib": 64},
        "gic": {"gic_version": 2},
        "vcpus": {"vcpus": 3},
        "cpu": {"cpu": "cortex-a72"},
    }
    return specs[refusal]


MATRIX = Matrix(
    {
        "lifecycle": (*LIVE, *FILES),
        "returns": RETURNS,
        "refusal": tuple(REFUSALS),
        "guest": tuple(GUESTS),
        "vcpus": (1, 2),
        "cpu": ("cortex-a57", "max"),
    },
    valid=exists,
    platforms=("tcg",),
)


@pytest.mark.matrix(MATRIX)
def test_refused_guest_goes_on_at_the_source(case: Params, trial: Trial) -> None:
    guest = arrange(trial, case.guest)
    source = machine_of(guest)
    refusing = trial.start("refusing", Start.INCOMING, **unlike(case.refusal, trial.source.qemu.version))
    (_by_file if case.lifecycle in FILES else _live)(trial, case, guest, refusing)
    told, words = words_of_refusal(refusing), REFUSALS[case.refusal]
    if case.lifecycle == "postcopy" and case.refusal not in EARLY:
        words = f"{words}|{IN_POSTCOPY}"
    assert re.search(words, told), f"refused in other words: {told}"
    passage = new_passage(trial)
    lives = lead_on(trial, passage, case.lifecycle, source)
    judge(trial, census.count(guest, trial.machines).one(lives))


def _live(trial: Trial, case: Params, guest: Guest, refusing: Machine) -> None:
    """Let a running guest be refused. Without a return path, it has to be fetched back."""
    source = machine_of(guest)
    with Attempt.begun(source, refusing, capabilities(case), trial.source.workshop.hub) as attempt:
        lost = attempt.blind and case.refusal not in EARLY
        attempt.reach(LAST_PASS if lost else "set-up")
        attempt.go_on()
        attempt.settle()
    attempt.judge()
    if lost:
        told = census.count(guest, trial.machines).lost()
        assert "source is postmigrate, its migration completed" in told
        source.cont()
    if (status := source.status()) != "running":
        raise QemuFailure(f"its guest was refused, and it is {status}", where=source.side)


def _by_file(trial: Trial, case: Params, guest: Guest, refusing: Machine) -> None:
    """Save a guest, let the file be refused, let the guest go on where it was."""
    source = machine_of(guest)
    passage = new_passage(trial)
    source.stop()
    saved = passage.save(source, "refused", *FILES[case.lifecycle])
    try:
        passage.load(refusing, saved.path, *FILES[case.lifecycle])
    except TransferFailed:
        census.count(guest, trial.machines).lost()
        source.cont()
        return
    other = unlike(case.refusal, trial.source.qemu.version)
    raise QemuFailure(f"a destination with {other} took the guest without a word", where=refusing.side)
