"""What a machine has cost its host and where its counters are: bounds that hold, and kernels that break them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.deadline import Deadline
from harness.errors import NoEvidence, StateDiffers, TimerFailure
from harness.guest import timers
from harness.guest.payload import Guest
from harness.kvm.account import EXITS_A_SECOND, EXITS_AT_FIRST, Account, as_asked
from harness.kvm.machine import KvmMachine
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import KvmPassage
from harness.plugin.trial import Trial
from harness.qemu.spec import Start
from harness.state.model import State

ASKED = {"timer": "cntv", "instant": "armed", "by": "cval", "ahead_us": 400_000}
Make = Callable[[str, Start], KvmMachine]


def trial_of(*machines: KvmMachine) -> Trial:
    return Trial(None, {}, machines=list(machines))  # type: ignore[arg-type]  # no case is started


def through_restore(source: Make, destination: Make) -> Trial:
    """Play the `timers` payload through `kvm-restore`, and return the trial with its machines."""
    guest = Guest("timers", ASKED, source("source", Start.RUNNING))
    guest.reach_now()
    machines = [guest.machine]

    def other(side: str, start: Start) -> KvmMachine:
        machines.append(machine := destination(side, start))
        return machine

    LIFECYCLES["kvm-restore"].run(KvmPassage(other), guest.machine)
    guest.follow(machines)
    guest.go()
    timers.hear_out(guest)
    timers.judge(guest, interrupted=True)
    guest.finish()
    return trial_of(*machines)  # type: ignore[arg-type]  # all are of /dev/kvm


def test_a_guest_that_waits_is_calm(standing_in: Callable[..., Make]) -> None:
    trial = through_restore(standing_in(), standing_in())
    trial.stayed_calm()
    accounts = [machine.account() for machine in trial.machines if isinstance(machine, KvmMachine)]
    assert len(accounts) == 2
    assert all(account is not None and account.exits[0] > 50 and account.seconds > 0 for account in accounts)


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_kernel_that_leaves_the_guest_all_the_time_is_a_storm(standing_in: Callable[..., Make], side: str) -> None:
    makes = {"source": standing_in(), "destination": standing_in(), side: standing_in("storms")}
    trial = through_restore(makes["source"], makes["destination"])
    says = rf"^a storm of exits: {side}: vCPU 0 left the guest \d{{6,}} times in [\d.]+ s \(\d+ times for the VMM\), at most \d{{4}} "
    with pytest.raises(TimerFailure, match=says) as raised:
        trial.stayed_calm()
    assert raised.value.suspect == "kernel (L0)"


@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_kernel_that_counts_no_exits_proves_no_calm(standing_in: Callable[..., Make], side: str) -> None:
    makes = {"source": standing_in(), "destination": standing_in(), side: standing_in("counts no exits")}
    trial = through_restore(makes["source"], makes["destination"])
    with pytest.raises(NoEvidence, match=rf"^{side}: KVM_GET_STATS_FD has no `exits` of each vCPU$"):
        trial.stayed_calm()
    assert not trial.storm_words(), "which is for scenarios that ask for nothing too"


def test_a_machine_that_never_told_proves_no_calm(standing_in: Callable[..., Make]) -> None:
    trial = trial_of(standing_in()("destination", Start.INCOMING))
    with pytest.raises(NoEvidence, match=r"^destination: it has not told how often its vCPUs left the guest$"):
        trial.stayed_calm()


def test_a_storm_explains_a_guest_that_does_not_end(standing_in: Callable[..., Make]) -> None:
    machine = standing_in("storms")("source", Start.RUNNING)
    guest = Guest("timers", ASKED, machine)
    guest.reach_now()
    trial = trial_of(machine)
    trial.guests.append(guest)
    assert "; a storm of exits: source: vCPU 0 left the guest" in trial.storm_words()
    guest.name = "gic"
    assert not trial.storm_words(), "which has much to arrange"


def test_the_bound_grows_with_time() -> None:
    assert not Account(2.0, (EXITS_AT_FIRST + 2 * EXITS_A_SECOND,), (0,)).storm()
    told = Account(2.0, (5, EXITS_AT_FIRST + 2 * EXITS_A_SECOND + 1), (0, 9)).storm()
    assert told == "vCPU 1 left the guest 7001 times in 2.00 s (9 times for the VMM), at most 7000 were expected"


@pytest.mark.parametrize(("held", "right"), [(50, True), (52, True), (49, False), (53, False), (150, False)])
def test_a_counter_goes_on_from_what_was_asked(held: int, right: bool) -> None:
    counters = {"by": "KVM_SET_ONE_REG", "before": 10, "after": 12, "vcpus": [{"0x603000000013df01": [50, held]}]}
    if right:
        as_asked(counters, where="destination")
    else:
        says = rf"KVM_SET_ONE_REG: CNTPCT_EL0 of vCPU 0 is {held:#x}, not from 0x32 to 0x34"
        with pytest.raises(StateDiffers, match=says):
            as_asked(counters, where="destination")


def test_a_counter_that_passes_its_end_goes_on() -> None:
    # CNTVCT_EL0 less CNTVOFF_EL2 is a number of 64 bits, whatever the sign.
    counters = {"by": "KVM_SET_ONE_REG", "before": 10, "after": 12, "vcpus": [{"0x603000000013df1a": [2**64 - 1, 1]}]}
    as_asked(counters, where="destination")


def saved_and_restored(source: Make, destination: Make) -> tuple[State, KvmMachine]:
    """Save a machine and restore it on another; return what was saved, and that."""
    machine = source("source", Start.RUNNING)
    Guest("timers", ASKED, machine).reach_now()
    machine.stop()
    saved = machine.save(machine.place / "state")
    restored = destination("destination", Start.INCOMING)
    restored.restore(machine.place / "state")
    return saved, restored


@pytest.mark.parametrize(
    ("fault", "has"), [("", {"by_offset": True}), ("has EL2", {"el2": True}), ("has EL2", {"el2": True, "by_offset": True})]
)
def test_counters_are_as_asked_and_the_clock_stands_still(
    standing_in: Callable[..., Make], fault: str, has: dict[str, bool]
) -> None:
    make = standing_in(fault, **has)
    saved, restored = saved_and_restored(make, make)
    stood, now = (int(state.registers["cpu0/CNTVCT_EL0"]) for state in (saved, restored.look(Deadline.after(20))))
    assert 0 <= now - stood < 10**9  # ns; nothing of the time in between
    restored.cont()


def test_a_kernel_that_sets_another_offset_is_told(standing_in: Callable[..., Make]) -> None:
    make = standing_in("sets another offset", by_offset=True)
    with pytest.raises(
        StateDiffers, match=r"KVM_ARM_SET_COUNTER_OFFSET: CNTVCT_EL0 of vCPU 0 is 0x\w+, not from 0x\w+ to 0x\w+"
    ):
        saved_and_restored(make, make)


@pytest.mark.parametrize(
    ("fault", "has", "register"),
    [
        ("ignores CNTVCT", {}, "CNTVCT_EL0"),
        ("ignores CNTPCT", {}, "CNTPCT_EL0"),
        ("CNTVCT goes on", {}, "CNTVCT_EL0"),
        ("CNTPCT goes on at EL2", {"el2": True}, "CNTVCT_EL0"),
    ],
)
def test_a_counter_that_does_not_stand_still_is_told(
    standing_in: Callable[..., Make], fault: str, has: dict[str, bool], register: str
) -> None:
    says = rf"KVM_SET_ONE_REG: {register} of vCPU 0 is 0x\w+, not from 0x\w+ to 0x\w+"
    with pytest.raises(StateDiffers, match=says) as raised:
        saved_and_restored(standing_in("has EL2" if has else "", **has), standing_in(fault, **has))[1].cont()
    assert raised.value.suspect == "kernel (L0)"


@pytest.mark.parametrize("fault", ["ignores CNTPCT", "CNTVCT goes on"])
def test_a_counter_that_goes_on_while_its_machine_is_saved_ends_the_lifecycle(
    standing_in: Callable[..., Make], fault: str
) -> None:
    with pytest.raises(StateDiffers, match=r"CNT[PV]CT_EL0 of vCPU 0 is 0x"):
        through_restore(standing_in(), standing_in(fault))
