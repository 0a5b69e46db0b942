"""Whose fault it is when nobody has said why: whoever emulates the guest's CPU."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from harness.errors import (
    Blocked,
    DeadlineExpired,
    Failure,
    GuestFailure,
    GuestSilent,
    HostFailure,
    InstantMissed,
    KernelFailure,
    QemuFailure,
    StateDiffers,
    Suspect,
    TimerFailure,
)
from harness.guest import timers
from harness.guest.payload import Guest
from harness.host.kernel_log import watch_kernel_log
from harness.host.local import LocalHost
from harness.lab.console_log import ConsoleLog
from harness.lab.ground import Choice, Ground, Watched
from harness.lifecycle import Lifecycle
from harness.lifecycle.passage import Pair, Passage
from harness.plugin.grounds import Grounds
from harness.plugin.tally import Tally
from harness.plugin.trial import ARRANGEMENTS, FURTHER, Trial, stood_still
from harness.qemu.machine import Machine
from harness.qemu.qmp import Event
from harness.report.evidence import DifferenceRow
from harness.state.model import State
from scenarios.faults.survivors import arrange
from tests.guest.test_hear_out import ARRANGED, HELLO, IRQ

NOTHING = cast(Any, None)


def blamed(accel: str, failure: Failure) -> Suspect:
    Trial(NOTHING, {}, _grounds=[Ground(NOTHING, NOTHING, accel)]).blame(failure)
    return failure.suspect


@pytest.mark.parametrize("kind", [GuestSilent, TimerFailure, StateDiffers])
def test_what_a_guest_sees_or_its_silence_is_the_fault_of_what_runs_its_cpu(kind: type[Failure]) -> None:
    assert blamed("tcg", kind("it")) is Suspect.QEMU
    assert blamed("kvm", kind("it")) is Suspect.KERNEL_L0


@pytest.mark.parametrize("failure", [QemuFailure("it"), DeadlineExpired("it"), TimerFailure("it", suspect=Suspect.HOST)])
def test_what_is_known_or_of_qemus_own_doing_stays(failure: Failure) -> None:
    known = failure.suspect
    assert blamed("kvm", failure) is known


def test_a_guest_that_finds_fault_with_itself_is_to_blame() -> None:
    assert blamed("kvm", GuestFailure("it")) is Suspect.GUEST


def heard(*events: tuple[str, float]) -> Machine:
    machine = Machine.__new__(Machine)
    machine.qmp = cast(Any, type("Qmp", (), {"events": [Event(name, {}, at) for name, at in events]}))
    return machine


@pytest.mark.parametrize(
    ("machines", "seconds"),
    [
        ([heard(("RESUME", 5.0))], 0.0),
        ([heard(("RESUME", 5.0), ("STOP", 6.0))], 0.0),
        ([heard(("RESUME", 5.0), ("STOP", 6.0), ("MIGRATION", 6.5), ("RESUME", 8.0), ("STOP", 9.0), ("RESUME", 9.5))], 2.5),
        ([heard(("RESUME", 5.0), ("STOP", 6.0)), heard(("RESUME", 8.0))], 2.0),
        ([heard(("RESUME", 5.0), ("STOP", 6.0)), heard(("RESUME", 5.5), ("STOP", 7.0)), heard(("RESUME", 7.5))], 0.5),
        ([heard(("RESUME", 5.0)), heard(("RESUME", 7.0), ("STOP", 8.0), ("RESUME", 9.0))], 0.0),
    ],
    ids=["never", "to-the-end", "twice", "carried", "two-at-once", "beside-one-that-runs"],
)
def test_how_long_no_machine_ran(machines: list[Machine], seconds: float) -> None:
    assert stood_still(machines) == seconds
    assert stood_still([*machines, cast(Any, object())]) == seconds, "what is no QEMU tells nothing"


def test_what_was_armed_too_near_is_armed_further_ahead() -> None:
    given: list[dict[str, object]] = []
    trial = Trial(NOTHING, {"lifecycle": "straight"})
    vars(trial)["boot"] = lambda _name, **arguments: given.append(arguments)
    for trial.arrangements in (1, 2):
        arrange(trial, "armed")
    first, second = (int(str(each["ahead_us"])) for each in given)
    assert second == FURTHER * first


WARNING = "[ 1.0] WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/arm.c:1 f+0x0/0x10\n"


@dataclass
class Cases:
    """Cases one after another on one ground, whose kernel writes its log to a file."""

    log: Path
    others: tuple[Ground, ...] = ()

    def __post_init__(self) -> None:
        self.log.write_text("[ 0.1] booted\n")
        qemu = type("Qemu", (), {"version": (11, 1)})
        kernels = (Watched(Suspect.KERNEL_L0, "lab", ConsoleLog(self.log)),)
        shop = type("Shop", (), {"host": None, "desk": None})
        self.ground = Ground(cast(Any, shop), cast(Any, qemu), "kvm", kernels)

    def complain(self, words: str = WARNING) -> None:
        with self.log.open("a") as file:
            file.write(words)

    def begin(self) -> Trial:
        bench = type("Bench", (), {"grounds": lambda _: [self.ground, *self.others]})
        trial = Trial(cast(Any, bench), {"lifecycle": "straight"})
        trial.settled()
        trial.count(registers=1)
        return trial


@pytest.fixture
def cases(tmp_path: Path) -> Cases:
    return Cases(tmp_path / "console.log")


def complains(trial: Trial) -> None:
    with pytest.raises(KernelFailure, match="the kernel of lab says: .*at arch/arm64/kvm/arm.c"), trial.explained():
        pass


def test_a_kernel_that_complains_explains_an_assertion_and_is_no_other_cases(cases: Cases) -> None:
    def scenario() -> None:
        cases.complain()
        raise AssertionError

    first = cases.begin()
    with pytest.raises(KernelFailure, match="at arch/arm64/kvm/arm.c"), first.explained():
        scenario()
    first.close()
    with cases.begin().explained():
        pass


def test_each_kind_of_complaint_is_quoted(cases: Cases) -> None:
    trial = cases.begin()
    cases.complain(
        f"{WARNING}{WARNING.replace('1.0', '2.5')}[ 3.0] Unable to handle kernel paging request at virtual address 0f\n"
    )
    words = r"says: \[ 1.0\] WARNING: .*f\+0x0/0x10 \(and 1 more\) \| \[ 3.0\] Unable to handle kernel .*0f$"
    with pytest.raises(KernelFailure, match=words), trial.explained():
        pass


def test_an_assertion_is_told_with_what_differs(cases: Cases) -> None:
    trial = cases.begin()
    trial.tally.compare(Pair(State("gdb", {"cpu0/X1": 1}), State("gdb", {"cpu0/X1": 2})), ())
    with pytest.raises(AssertionError, match=r"^the scenario's own; registers differ: cpu0/X#$"), trial.explained():
        raise AssertionError("the scenario's own")


def test_a_kernel_that_complains_during_a_case_fails_it_and_no_other(cases: Cases) -> None:
    first = cases.begin()
    cases.complain()
    complains(first)
    first.close()
    with cases.begin().explained():
        pass


def test_a_kernel_that_complains_when_the_machines_of_a_good_case_end_fails_it(cases: Cases) -> None:
    trial = cases.begin()
    trial._open.callback(cases.complain)
    complains(trial)


def test_what_a_kernel_says_between_two_cases_is_read_in_the_second(cases: Cases) -> None:
    with cases.begin().explained():
        pass
    cases.complain()
    complains(cases.begin())


def test_a_complaint_that_was_half_there_when_it_was_looked_for_is_read_whole_later(cases: Cases) -> None:
    cases.complain(WARNING[:12])
    with cases.begin().explained():
        pass
    cases.complain(WARNING[12:])
    complains(cases.begin())


def test_a_kernel_that_complains_when_the_machines_of_a_failed_case_end_fails_that_one(cases: Cases) -> None:
    trial = cases.begin()
    trial._open.callback(cases.complain)
    with pytest.raises(KernelFailure, match="at arch/arm64/kvm/arm.c"), trial.explained():
        raise Blocked("no, says QEMU")
    with cases.begin().explained():
        pass


def test_one_complaint_in_the_log_of_both_sides_fails_one_case(cases: Cases) -> None:
    (kernel,) = cases.ground.kernels
    twin = replace(cases.ground, kernels=(replace(kernel),), workshop=cast(Any, type(cases.ground.workshop)))
    cases.others = (twin,)
    trial = cases.begin()
    cases.complain()
    complains(trial)
    with cases.begin().explained():
        pass


def test_where_a_case_settles_in_twice_it_forgets_no_complaint(cases: Cases) -> None:
    trial = cases.begin()
    cases.complain()
    trial._settle_in()
    complains(trial)


def unheard(cases: Cases) -> None:
    """Have nobody hear the kernel any more; what it has said is there."""

    def check() -> None:
        raise HostFailure("its kernel log is followed no more", where="lab")

    (kernel,) = cases.ground.kernels
    cases.ground = replace(cases.ground, kernels=(replace(kernel, log=ConsoleLog(cases.log, check)),))


def test_a_case_whose_kernel_nobody_hears_any_more_is_no_pass(
    cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "harness.host.kernel_log._FOLLOW", 'printf "6,2,3,-;%s\\n6,3,4,-;all is well\\n" "$1"; read -r _; exit 1'
    )
    with LocalHost() as here:
        log = watch_kernel_log(here, tmp_path / "stderr.log")
        (kernel,) = cases.ground.kernels
        cases.ground = replace(cases.ground, kernels=(replace(kernel, log=log),))
        with cases.begin().explained():
            pass
        log.close()
        with pytest.raises(HostFailure, match="its kernel log is followed no more"), cases.begin().explained():
            pass


def test_what_a_kernel_said_before_nobody_heard_it_any_more_comes_first(cases: Cases) -> None:
    unheard(cases)
    trial = cases.begin()
    cases.complain()
    complains(trial)


def test_a_ground_whose_kernel_nobody_hears_any_more_is_made_anew(cases: Cases) -> None:
    host = type("Host", (), {"check": lambda _: None})()
    good = replace(cases.ground, workshop=cast(Any, type("Shop", (), {"host": host})))
    unheard(cases)
    bad = replace(cases.ground, workshop=good.workshop)
    made = iter([bad, good])
    grounds, choice = Grounds(lambda _choice, _opening: next(made)), Choice("kvm")
    assert grounds.ready(choice) == [bad]
    assert grounds.ready(choice) == grounds.ready(choice) == [good]


def row(name: str, field: str, before: str, after: str) -> DifferenceRow:
    return DifferenceRow(name, field, before, after, "must survive")


DUE = row("cpu0/CNTV_CTL_EL0", "ISTATUS", "0x0", "0x1")


def test_what_differed_is_kept_when_all_is_counted_anew_but_for_a_timer_that_came_due() -> None:
    others = (
        row("cpu0/CNTV_CTL_EL0", "ISTATUS", "0x1", "0x0"),
        row("cpu0/CNTV_CTL_EL0", "IMASK", "0x0", "0x1"),
        row("cpu0/TPIDR_EL1", "", "0x0", "0x1"),
    )
    tally = Tally(differences=(DUE, *others))
    tally.begin_anew()
    assert tally.differences == others


@pytest.mark.parametrize(
    ("differs", "raised"),
    [
        (DUE, pytest.raises(InstantMissed, match="too soon; the computer was too slow for it 3 times")),
        (row("cpu0/X1", "", "0x0", "0x1"), pytest.raises(StateDiffers, match="cpu0/X1 was 0x0 and is 0x1")),
    ],
)
def test_a_timer_that_came_due_is_no_register_that_differs_when_an_instant_is_missed_for_the_last_time(
    cases: Cases, differs: DifferenceRow, raised: AbstractContextManager[object]
) -> None:
    trial = cases.begin()
    trial.arrangements = ARRANGEMENTS

    def misses() -> None:
        trial.tally.differences = (differs,)
        raise InstantMissed("too soon", elapsed=0.0)

    with raised:
        trial.conduct(misses)


class Spoken:
    """A console on which lines wait."""

    def __init__(self, *lines: str) -> None:
        self.unread = [*lines]

    def line(self, *_: object) -> str:
        return self.unread.pop(0)

    def leftover(self) -> tuple[list[str], bytes]:
        lines, self.unread = self.unread, []
        return lines, b""

    def continues(self, _: bytes) -> None:
        """Nothing was half said."""

    def say(self, _: bytes) -> None:
        """Nobody answers."""


def test_an_l2_whose_interrupt_came_while_l1_was_led_through_was_not_in_its_instant_any_more() -> None:
    console = Spoken(HELLO, ARRANGED, "@1 now")
    l1, l2 = (type("Machine", (), {"side": side, "console": console}) for side in ("l1", "source"))

    def meanwhile(passage: Passage, machine: Any) -> Any:
        assert machine is l1
        passage.compare(*[State("gdb", {"cpu0/X1": 7})] * 2)
        console.unread.append(IRQ)
        return machine

    bench = type("Bench", (), {"accel": "tcg"})
    qemu = type("Qemu", (), {"version": (11, 1)})
    ground = Ground(NOTHING, cast(Any, qemu), "kvm", hypervisor=cast(Any, l1))
    trial = Trial(cast(Any, bench), {}, trying=Lifecycle("meanwhile", meanwhile), _grounds=[ground])
    guest = Guest("timers", {"timer": "cntv", "instant": "armed", "by": "cval"}, cast(Any, l2))
    guest.reach_now()
    trial.put_through(guest)
    assert guest.messages[guest.went - 1].kind == "irq"
    with pytest.raises(InstantMissed, match="the interrupt came before the lifecycle was over"):
        timers.judge(guest, interrupted=True)
