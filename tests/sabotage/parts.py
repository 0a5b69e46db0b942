"""What the sabotage tests share: whole scenarios in a few words, and the verdict that they would get.

A sabotaged case runs on the parts that the scenarios run on: `Trial` makes the machines and compares the looks, `timers` and
`witness` judge what the guest says, `verdicts` makes the sentence that a user reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import psutil
import pytest

from harness.errors import Failure, HarnessError, Verdict
from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.lifecycle import Lifecycle
from harness.lifecycle.passage import Passage
from harness.plugin.trial import Bench, Trial
from harness.plugin.verdicts import conclude
from harness.qemu.machine import Machine
from harness.report.model import Compared

CPU = "cortex-a57"
TIMER = {"timer": "cntv", "instant": "armed", "by": "cval"}
"""What the `timers` payload is asked for where it does not matter."""

Way = Callable[[Passage, Machine], Machine]


@dataclass
class SabotagedTrial(Trial):
    """A trial whose lifecycle is the test's own."""

    way: Lifecycle = field(kw_only=True)

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of this case, whatever its parameters name."""
        return self.trying or self.way


NewTrial = Callable[..., SabotagedTrial]


@dataclass(frozen=True)
class LabBench:
    """A bench of the default lab, and the QEMU processes that others had started before it."""

    bench: Bench
    others: frozenset[int]


def machines_alive() -> frozenset[int]:
    """Return the QEMU processes that this one has started and that live."""
    alive = set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has just gone
            if "qemu-system" in " ".join(child.cmdline()):
                alive.add(child.pid)
    return frozenset(alive)


def start(trial: Trial, payload: str, **asked: object) -> Guest:
    """Boot a payload until its `now`."""
    if payload == "timers":
        asked = {**TIMER, **timers.times("armed", trial.ahead_us), **asked}
    if payload == "nested":
        asked = {"ahead_us": trial.ahead_us, **asked}
    return trial.boot(payload, **asked)


def hear_and_judge(trial: Trial, guest: Guest) -> None:
    """Let the guest have its say and judge that, as the scenarios do."""
    if guest.name == "timers":
        timers.hear_out(guest)
        trial.count(interrupts=timers.judge(guest, interrupted=trial.lifecycle.interrupts))
    else:
        witness.hear_out(guest)
        trial.count(interrupts=witness.judge(guest, interrupted=trial.lifecycle.interrupts), registers=witness.evidence(guest))
    guest.finish()


def play(trial: Trial, payload: str, **asked: object) -> None:
    """Run a whole scenario with a payload. Raises what a scenario raises."""

    def scenario() -> None:
        guest = start(trial, payload, **asked)
        trial.put_through(guest, compare_streams=True)
        hear_and_judge(trial, guest)

    trial.conduct(scenario)


@contextmanager
def caught(trial: Trial, error: type[Failure], pattern: str) -> Iterator[pytest.ExceptionInfo[HarnessError]]:
    """Assert that the block fails with that very class, and that the sentence of the verdict has the words of the pattern."""
    with pytest.raises(HarnessError) as raised:
        yield raised
    assert type(raised.value) is error, raised.value
    case = conclude("sabotage", "sabotage", "tcg", _described(trial), raised.value, seconds=0, compared=Compared())
    assert case.verdict is Verdict.FAIL
    assert case.suspect is not None and f"suspect {case.suspect}" in case.message
    raised.match(pattern)
    assert f"on {trial.params['cpu']}" in case.message and f"through {trial.lifecycle.name}" in case.message, (
        "the sentence says where"
    )


def _described(trial: Trial) -> Mapping[str, object]:
    return {**trial.params, "lifecycle": trial.lifecycle.name}
