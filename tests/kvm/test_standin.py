"""What a kernel does wrong with a guest that is saved and restored is found, on a stand-in for /dev/kvm."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.errors import Failure, HostFailure, KernelFailure, Suspect, TimerFailure
from harness.guest import timers
from harness.guest.payload import Guest
from harness.kvm.machine import FeaturesLacking, KvmMachine, RegistersRefused
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import KvmPassage
from harness.qemu.spec import Start
from harness.state.diff import Comparison, compare
from harness.state.rules import FROM_KVM, RULES

ASKED = {"timer": "cntv", "instant": "armed", "by": "cval", "ahead_us": 400_000}
SECONDS = 20

Make = Callable[[str, Start], KvmMachine]


def played(make: Make, lifecycle: str, restore_with: Make | None = None) -> tuple[int, Comparison]:
    """Return how many interrupts came and how the looks compare."""
    guest = Guest("timers", ASKED, make("source", Start.RUNNING))
    guest.reach_now()
    machines = [guest.machine]

    def other(side: str, start: Start) -> KvmMachine:
        machine = (restore_with or make)(side, start)
        machines.append(machine)
        return machine

    passage = KvmPassage(other)
    LIFECYCLES[lifecycle].run(passage, guest.machine)
    guest.follow(machines)
    guest.go()
    timers.hear_out(guest)
    interrupts = timers.judge(guest, interrupted=True)
    guest.finish()
    (pair, *_) = passage.pairs
    return interrupts, compare(pair.before, pair.after, (*FROM_KVM, *RULES))


@pytest.mark.parametrize("lifecycle", ["kvm-restore", "kvm-rewrite", "kvm-twice"])
def test_a_guest_goes_on_where_nothing_is_wrong(standing_in: Callable[..., Make], lifecycle: str) -> None:
    interrupts, comparison = played(standing_in(), lifecycle)
    assert (interrupts, comparison.same, comparison.compared > 100) == (1, True, True), comparison.sentence()


def test_a_timer_that_is_not_armed_again_is_a_lost_interrupt(standing_in: Callable[..., Make]) -> None:
    with pytest.raises(TimerFailure, match=r"interrupt lost.*CNTV_CTL_EL0.ISTATUS is set"):
        played(standing_in(), "kvm-restore", standing_in("not re-armed"))


def test_an_id_register_that_the_first_run_changes_is_refused_by_its_field(standing_in: Callable[..., Make]) -> None:
    with pytest.raises(
        RegistersRefused, match=r"ID_AA64MMFR1_EL1.XNX has 0x1, not 0x0 \(0x603000000013c039: EINVAL; not writable on \d"
    ) as raised:
        played(standing_in("changes an ID register"), "kvm-restore")
    (refused,) = raised.value.refused
    assert (refused.name, refused.had, refused.wanted) == ("cpu0/ID_AA64MMFR1_EL1", 0x10000101, 0x101)


def test_everything_that_is_refused_is_listed(standing_in: Callable[..., Make]) -> None:
    with pytest.raises(RegistersRefused, match=r"cpu 0: ICC_SRE_EL1 cannot be 0x0") as raised:
        played(standing_in("changes an ID register"), "kvm-restore", standing_in("refuses the gic"))
    assert len(raised.value.refused) > 10


def test_a_register_that_is_taken_but_not_kept_differs(standing_in: Callable[..., Make]) -> None:
    _, comparison = played(standing_in(), "kvm-restore", standing_in("loses x5"))
    assert [difference.name for difference in comparison.failures] == ["cpu0/X5"]


def test_tags_of_memory_are_carried(standing_in: Callable[..., Make]) -> None:
    _, comparison = played(standing_in("has tags"), "kvm-restore", standing_in("takes tags"))
    assert comparison.same, comparison.sentence()


def test_tags_that_are_not_taken_differ(standing_in: Callable[..., Make]) -> None:
    _, comparison = played(standing_in("has tags"), "kvm-restore", standing_in("loses tags"))
    assert [difference.name for difference in comparison.failures] == ["memory/tags/crc32"]


def test_a_host_without_tags_refuses_a_guest_with_them(standing_in: Callable[..., Make]) -> None:
    with pytest.raises(FeaturesLacking, match=r"KVM here does not offer mte for vCPUs"):
        played(standing_in("has tags"), "kvm-restore", standing_in())


def test_a_guest_that_touches_nothing_ends_with_its_reason(standing_in: Callable[..., Make]) -> None:
    with pytest.raises(KernelFailure, match=r"vCPU 0: the guest touched 0x1000, where nothing is"):
        played(standing_in("touches nothing"), "kvm-restore")


def test_a_deadline_ends_it_without_us(standing_in: Callable[..., Make]) -> None:
    machine = standing_in(life=1)("source", Start.PAUSED)
    machine.wait_exit(Deadline.after(SECONDS))
    with pytest.raises(KernelFailure, match="its deadline has passed"):
        machine.look(Deadline.after(SECONDS))


def test_it_ends_with_its_input(standing_in: Callable[..., Make]) -> None:
    machine = standing_in()("source", Start.PAUSED)
    machine.process.stdio.shutdown(1)
    assert machine.wait_exit(Deadline.after(SECONDS)) == 0


@pytest.fixture
def saved(standing_in: Callable[..., Make]) -> Path:
    machine = standing_in()("source", Start.PAUSED)
    machine.stop()
    machine.save(machine.place / "state")
    return Path(machine.place / "state")


def flipped(data: bytes) -> bytes:
    return data[:-5] + bytes((data[-5] ^ 1,)) + data[-4:]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: data[:-1], r"\d+ of \d+ bytes are there; it is truncated"),
        (lambda data: data + b"\0", "it is truncated or was added to"),
        (lambda data: data[:20], "not a saved machine"),
        (lambda _: b"", "not a saved machine"),
        (lambda _: b"QEVM" + bytes(100), "not a saved machine"),
        (flipped, "do not have its checksum"),
        (lambda data: data.replace(b"state 1", b"state 9", 1), "of version 9, not 1"),
        (lambda data: re.sub(rb"state 1 \d+", b"state 1 abc", data, count=1), "its first line is damaged"),
    ],
)
def test_a_spoiled_file_is_refused_in_one_line(
    standing_in: Callable[..., Make], saved: Path, spoil: Callable[[bytes], bytes], says: str
) -> None:
    saved.write_bytes(spoil(saved.read_bytes()))
    machine = standing_in()("destination", Start.INCOMING)
    with pytest.raises(HostFailure, match=says) as raised:
        machine.restore(saved)
    assert "\n" not in str(raised.value)


def test_features_that_the_host_does_not_offer_are_named(standing_in: Callable[..., Make], saved: Path) -> None:
    machine = standing_in()("destination", Start.INCOMING)
    machine.spec = replace(machine.spec, el2=True)
    with pytest.raises(FeaturesLacking, match="restore: KVM here does not offer el2 for vCPUs") as raised:
        machine.restore(saved)
    assert (raised.value.features, raised.value.suspect) == (["el2"], Suspect.CONFIGURATION)


def test_a_machine_that_runs_is_not_looked_at(standing_in: Callable[..., Make]) -> None:
    machine = standing_in()("source", Start.RUNNING)
    with pytest.raises(Failure, match="the machine runs; stop it first"):
        machine.look(Deadline.after(SECONDS))


def test_a_fresh_machine_of_the_same_process_takes_a_saved_state(standing_in: Callable[..., Make]) -> None:
    guest = Guest("timers", ASKED, standing_in()("source", Start.RUNNING))
    guest.reach_now()
    machine: Any = guest.machine
    machine.stop()
    before = machine.save(machine.place / "state")
    machine.restore(machine.place / "state")
    assert compare(before, machine.look(Deadline.after(SECONDS)), (*FROM_KVM, *RULES)).same
    machine.cont()
    guest.go()
    timers.hear_out(guest)
    assert timers.judge(guest, interrupted=True) == 1
