"""Guests that do wrong on purpose, and the oracle that has to catch each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from harness.errors import Failure, GuestFailure, InstantMissed, InterruptLate, TimerFailure
from harness.faults.late import hold_back
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine
from harness.state.timers import ENABLE, ISTATUS
from tests.sabotage.parts import NewTrial, caught, hear_and_judge, play, start


@dataclass(frozen=True)
class Sabotage:
    """What a payload is told to do wrong, and the words that have to come of it."""

    oracle: str
    payload: str
    name: str
    error: type[Failure]
    words: str
    level: str = "el1"
    lifecycle: str = "file"
    asked: dict[str, str] = field(default_factory=dict)
    # Of the case, beside the usual.
    params: dict[str, str] = field(default_factory=dict)


def _timer(name: str, words: str, error: type[Failure] = TimerFailure) -> Sabotage:
    return Sabotage("timer-oracle", "timers", name, error, words)


def _gic(name: str, words: str, error: type[Failure] = GuestFailure, kinds: str = "all") -> Sabotage:
    return Sabotage("gic-oracle", "gic", name, error, words, asked={"kinds": kinds})


def _registers(name: str, words: str) -> Sabotage:
    return Sabotage("register-oracle", "registers", name, GuestFailure, words)


def _tags(name: str, words: str) -> Sabotage:
    return Sabotage("tags-oracle", "tags", name, GuestFailure, words, params={"memory": "tagged", "cpu": "max"})


def _nested(name: str, words: str, error: type[Failure] = TimerFailure, **asked: str) -> Sabotage:
    # Paused only: a restored guest loses the EL2 timers anyway, and would be caught for that.
    return Sabotage("nested-oracle", "nested", name, error, words, level="nvhe", lifecycle="pause", asked=asked)


SABOTAGES = (
    _timer(
        "never-arms",
        (
            r"lost on vCPU 0: PPI 27 came 0 times, expected 1; .* passed CVAL by .*CNTV_CTL_EL0.ISTATUS is missing \(CTL 0x0\); "
            r"CNTV_CTL_EL0 on vCPU 0 was 0x1, is 0x0"
        ),
    ),
    _timer("fires-twice", r"PPI 27 came 2 times on vCPU 0, expected 1"),
    _timer("fires-early", r"interrupt 1 on vCPU 0 came [\d.]+ ms before CVAL"),
    _timer("late", r"interrupt 1 on vCPU 0 came 1\d{3}\.\d ms late", InterruptLate),
    _timer(
        "loses-istatus",
        r"interrupt 1 on vCPU 0: CNTV_CTL_EL0.ISTATUS is missing: CNTV_CTL_EL0 reads 0x1 in the handler, not 0x5",
    ),
    _timer("counter-back", r"the counter of vCPU 0 went back by [\d.]+ ms"),
    _gic("drop-pending", r"took 24 of 25; .*spi 98, masked-by-priority: pending had 0x1, has 0x0", TimerFailure),
    _gic("drop-enable", r"took 24 of 25; .*spi 98, masked-by-priority: enable had 0x1, has 0x0", TimerFailure),
    _gic("drop-priority", r"spi 98, masked-by-priority: priority had 0x[0-9a-f]+, has 0xe8"),
    _gic("twice", r"took 26 instead of 25; .*spi 98 was taken 2 times, expected 1", TimerFailure),
    _gic("lost", r"took 24 of 25; .*spi 98 was taken 0 times, expected 1", TimerFailure),
    Sabotage("memory-oracle", "memory", "flip", GuestFailure, r"vCPU 0: node \d+ at 0x[0-9a-f]+: .*1 of 4 words wrong"),
    Sabotage("memory-oracle", "memory", "stop-heart", GuestFailure, r"vCPU 0: the heart beat 0 times"),
    Sabotage("device-oracle", "devices", "other", GuestFailure, r"vCPU 0: flash@0 at 0x4000000 had 0x[0-9a-f]+ has 0x"),
    Sabotage("pmu-oracle", "pmu", "stops", GuestFailure, r"vCPU 0: PMCCNTR_EL0 stands still at \d+"),
    Sabotage("pmu-oracle", "pmu", "back", GuestFailure, r"vCPU 0: PMCCNTR_EL0 went back from \d+ to \d+"),
    _registers("gpr", r"vCPU 0: X7 had 0x[0-9a-f]+ has 0x"),
    _registers("fp", r"vCPU 0: V9, .*had 0x[0-9a-f]+ has 0x"),
    _registers("sys", r"vCPU 0: TPIDR_EL1 had 0x[0-9a-f]+ has 0x"),
    Sabotage("idregs-oracle", "idregs", "flip", GuestFailure, r"vCPU 0: id_pfr0_el1 had 0x[0-9a-f]+ has 0x"),
    _tags("lose-tag", r"vCPU 0: granule 5 at 0x[0-9a-f]+: tag had 0x6 has 0x0"),
    _tags("lose-data", r"vCPU 0: granule 5 at 0x[0-9a-f]+: had 0x[0-9a-f]+ has 0x0"),
    _nested(
        "lose-first",
        r"vCPU 0: L2: interrupt 27 has not come in 100 ms: CNTV_CVAL_EL0 0x[0-9a-f]+, the counter 0x[0-9a-f]+, CNTV_CTL_EL0 0x5",
        GuestFailure,
        instant="pending-lr",
        lost_us="100000",
    ),
    _nested("lose-lr", r"level 2 vCPU 0 took 0 of 3; CNTV: .*ISTATUS is set; .*L2: 0 interrupts, expected 3"),
    _nested("lose-l1", r"level 1 vCPU 0 took 0 of 3; CNTHP: .*ISTATUS is missing; .*L1: 0 interrupts of cnthp", timer="cnthp"),
    _nested("l2-stuck", r"level 2 vCPU 0 took 1 of 3; CNTV: .*L2: 1 interrupts, expected 3"),
    _nested("late", r"interrupt \d of level 2 vCPU 0 came 1\d{3}\.\d ms late", InterruptLate),
    _nested("twice", r"level 2 vCPU 0 took 4 instead of 3; .*vCPU 0: L2: 4 interrupts, expected 3"),
)


def _id(sabotage: Sabotage) -> str:
    return f"{sabotage.oracle}: {sabotage.name}" + "".join(f" {value}" for value in sabotage.asked.values() if value != "all")


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=_id)
def test_is_caught(sabotage: Sabotage, new_trial: NewTrial) -> None:
    trial = new_trial(sabotage.lifecycle, level=sabotage.level, **sabotage.params)
    with caught(trial, sabotage.error, sabotage.words):
        play(trial, sabotage.payload, sabotage=sabotage.name, **sabotage.asked)


def _controls() -> list[Sabotage]:
    """Return one of all that differ in their sabotage only."""
    return list({(each.payload, each.lifecycle, *each.asked.items()): each for each in SABOTAGES}.values())


@pytest.mark.parametrize("control", _controls(), ids=lambda each: " ".join([each.oracle, *each.asked.values()]))
def test_passes_without_the_sabotage(control: Sabotage, new_trial: NewTrial) -> None:
    trial = new_trial(control.lifecycle, level=control.level, **control.params)
    play(trial, control.payload, **control.asked)
    assert trial.tally.registers > 100 and (trial.tally.interrupts or control.payload not in ("timers", "gic", "nested"))


def test_a_timer_that_is_due_when_its_guest_is_stopped_has_missed_its_instant(new_trial: NewTrial) -> None:
    """By what is seen of the stopped guest: a lifecycle hands that to whoever judges the guest's words."""
    trial = new_trial("file")
    guest = start(trial, "timers", instant="armed-far")  # which no computer is too slow for
    trial.put_through(guest)
    (seen,) = guest.stopped
    assert seen.registers["cpu0/CNTV_CTL_EL0"] == ENABLE
    guest.stopped = [replace(seen, registers={**seen.registers, "cpu0/CNTV_CTL_EL0": ENABLE | ISTATUS})]
    with pytest.raises(InstantMissed, match="pending when the guest was stopped"):
        hear_and_judge(trial, guest)


def test_a_vcpu_whose_thread_gets_no_time_is_waited_for(new_trial: NewTrial) -> None:
    """The heart is on vCPU 1: it stands still while vCPU 0 answers, as on a computer with more to do than it has cores for."""

    def way(passage: Passage, machine: Machine) -> Machine:
        machine.stop()
        before = passage.look(machine)
        passage.compare(before, passage.look(machine))
        hold_back(machine, 1, 4.0)
        machine.cont()
        return machine

    play(new_trial(way, vcpus=2), "memory")
