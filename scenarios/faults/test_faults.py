"""Whatever goes wrong while a guest migrates, exactly one guest lives afterwards, or its loss is told with the reason.

Who lives is counted in every machine by the guest's own word (harness/faults/census.py). A survivor then has its memory, its
timers and its heart judged like any guest, and where it is still on the source it migrates once more, which has to succeed.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from harness.faults import census
from harness.faults.attempt import CHANNELS, DESCRIBED, LAST_PASS, PHASES, SWITCHED, Attempt
from harness.faults.kinds import KINDS
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from scenarios.faults.survivors import GUESTS, arrange, judge, lead_on, machine_of, new_passage
from scenarios.faults.ways import LIVE, RETURNS, capabilities

# What else there is to hold at is for refusals.
AT = tuple(phase for phase in PHASES if phase not in (LAST_PASS, DESCRIBED))
THEN = ("stay", "again")
# A timer whose deadline is ahead: it is waited for, so there are few of these.
ARMED = "armed"
WHERE_ARMED = {
    "lifecycle": ("live-unix",),
    "returns": ("return-path",),
    "phase": ("ram", "device"),
    "fault": ("kill-destination", "cut", "stall", "cancel"),
    "then": ("stay",),
}


@dataclass(frozen=True)
class Outcome:
    """Where the one guest lives, or the words of its loss; `rescued` where the source has it and may be told to go on."""

    lives: str = ""
    loss: str = ""
    rescued: bool = False


def outcome(case: Row) -> Outcome:
    """Say what has to come of a case. QEMU's source never learns of a refusal without a return path, and says `completed`."""
    fault, switched, postcopy = case["fault"], case["phase"] == SWITCHED, case["lifecycle"] == "postcopy"
    blind = case["returns"] == "one-way" and case["phase"] == "device"
    killed = "was killed by SIGKILL"
    done = r"source is postmigrate, its migration completed"
    stranded = "destination is running, its migration postcopy-paused: the rest of its memory never came"
    found = Outcome("destination" if switched else "source")
    match fault:
        case "kill-destination" if switched and postcopy:
            found = Outcome(loss=rf"source is finish-migrate, its migration postcopy-paused; destination {killed}")
        case "kill-destination" if switched or blind:
            found = Outcome(loss=rf"{done}; destination {killed}", rescued=True)
        case "kill-source" if switched and postcopy:
            found = Outcome(loss=rf"source {killed}; {stranded}")
        case "kill-source" if not switched:
            found = Outcome(loss=rf"source {killed}; destination (exited with status 1 \(.*\w.*\)|{killed})")
        case "cut" if switched and postcopy:
            found = Outcome(loss=rf"source is finish-migrate, its migration postcopy-paused; {stranded}")
        case "cut" | "cancel-stalled" if blind:
            found = Outcome(loss=rf"{done}; destination exited with status 1 \(.*\w.*\)", rescued=True)
        case "stall" | "cut-and-recover":
            found = Outcome("destination")
        case "cancel" if blind:
            found = Outcome("destination")
    return found


def exists(row: Row) -> bool:
    """Say whether there is such a case; as far as it goes, for the row may be incomplete."""
    way, fault, phase, returns = (row.get(name) for name in ("lifecycle", "fault", "phase", "returns"))
    complete = None not in (way, fault, phase, returns)
    impossible = (
        # Postcopy needs a return path, and what is complete can be neither stalled nor cancelled.
        way == "postcopy" and returns == "one-way",
        fault == "cut-and-recover" and (way not in (None, "postcopy") or phase not in (None, SWITCHED) or returns == "one-way"),
        phase == SWITCHED and fault in ("stall", "cancel", "cancel-stalled"),
        # QEMU refuses: Postcopy migration in progress, cannot cancel.
        phase == "device" and way == "postcopy" and fault in ("cancel", "cancel-stalled"),
        # Where destinations hang, a few cases tell it.
        phase == CHANNELS and (way not in (None, "multifd") or returns == "one-way" or row.get("then") == "again"),
        row.get("guest") == ARMED and not all(row.get(name) in (None, *values) for name, values in WHERE_ARMED.items()),
        row.get("then") == "again" and complete and outcome(row).lives != "source" and not outcome(row).rescued,
    )
    return not any(impossible)


FACTORS = {
    "lifecycle": tuple(LIVE),
    "returns": RETURNS,
    "phase": AT,
    "fault": tuple(KINDS),
    "guest": (*GUESTS, ARMED),
    "then": THEN,
    "vcpus": (1, 2),
    "cpu": ("cortex-a57", "max"),
}


def every_fault() -> list[dict[str, object]]:
    """Return each fault at each phase of each way once, the guests, numbers of vCPUs and CPUs in turn."""
    names = ("lifecycle", "returns", "phase", "fault")
    turn = itertools.cycle(itertools.product(GUESTS, FACTORS["vcpus"], FACTORS["cpu"]))
    rows = []
    for values in itertools.product(*(FACTORS[name] for name in names)):
        row: dict[str, object] = dict(zip(names, values, strict=True))
        if exists(row):
            row |= dict(zip(("guest", "vcpus", "cpu"), next(turn), strict=True))
            rows.append(row | {"then": "again" if exists(row | {"then": "again"}) else "stay"})
    armed = (dict(zip(WHERE_ARMED, values, strict=True)) for values in itertools.product(*WHERE_ARMED.values()))
    return [*rows, *({**row, "guest": ARMED, "vcpus": 2, "cpu": "max"} for row in armed)]


MATRIX = Matrix(FACTORS, valid=exists, also=every_fault(), platforms=("tcg",))


@pytest.mark.matrix(MATRIX)
def test_one_guest_lives_or_its_loss_is_told(case: Params, trial: Trial, counts: Callable[..., None]) -> None:
    guest = arrange(trial, case.guest)
    passage = new_passage(trial)
    source, destination = machine_of(guest), passage.twin()
    with Attempt.begun(source, destination, capabilities(case), trial.source.workshop.hub) as attempt:
        attempt.reach(case.phase)
        KINDS[case.fault](attempt)
        attempt.settle()
    expected, lives = outcome(case), outcome(case).lives
    if expected.loss:
        told = census.count(guest, trial.machines).lost()
        assert re.search(expected.loss, told), f"the loss is told in other words: {told}"
        counts(registers=1)
        if expected.rescued:
            source.cont()
            lives = "source"
    if case.then == "again":
        lives = lead_on(trial, passage, case.lifecycle, source)
    if lives:
        judge(trial, census.count(guest, trial.machines).one(lives))
    attempt.judge()
