"""Timers and counters: interrupts that never come again, clocks that jump, ids that are swapped."""

from __future__ import annotations

import time

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, InstantMissed, TimerFailure
from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.plugin.matrix import Params
from harness.plugin.reported import ANYWHERE, WITH_KVM, Kind, Report, reported
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.state import kvm_ids
from harness.state.edit import set_field, set_register
from harness.state.stream import decode
from harness.state.timers import instant_missed
from scenarios.reported.parts import edited, expected, judge, last_say, machine_of, soon

PPI_OF_CNTV = 27
# ENABLE, IMASK and ISTATUS of a timer's CTL.
EXPIRED_AND_MASKED = 0b111
TOP = (1 << 64) - 1
RTCDR = 0x09010000  # of the PL031 of the virt machine (hw/arm/virt.c): seconds since 1970


def armed(trial: Trial, timer: str, instant: str = "armed") -> Guest:
    """Boot a guest that has armed a timer, or is in another instant of it."""
    return trial.boot("timers", timer=timer, instant=instant, by="cval", **timers.times(instant, trial.ahead_us))


@reported(Report("el2-timer-lost", ("T1", "N1"), Kind.BUG, "takes the interrupt of CNTHP after a restore", level="nvhe"))
def test_the_timer_of_el2_fires_after_a_restore(trial: Trial) -> None:
    guest = armed(trial, "cnthp")
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("counter-frequency", "T2", Kind.BUG, "refuses a guest whose counter had another frequency"))
def test_the_counter_goes_on_at_its_pace(trial: Trial) -> None:
    trial.vary({}, {"cpu": "max,cntfrq=62500000"})
    guest = armed(trial, "cntp")
    trial.put_through(guest)
    judge(trial, guest)


@reported(
    Report(
        "expired-between-two-saves",
        "T3",
        Kind.MODEL,
        "saves the timer and the GIC so that an expiry between the two is in one of them",
    )
)
def test_a_tick_that_fell_between_two_saves_is_missed(trial: Trial) -> None:
    guest = armed(trial, "cntv", "pending")

    def lose_the_line(data: bytes) -> bytes:
        lines = decode(data).devices["arm_gicv3"].fields["cpu.level"]
        assert isinstance(lines, int)
        assert lines >> PPI_OF_CNTV & 1
        return set_field(data, "arm_gicv3", "cpu.level", lines & ~(1 << PPI_OF_CNTV))

    edited(trial, guest, lose_the_line, lambda data: set_register(data, "cpu0/CNTV_CTL_EL0", EXPIRED_AND_MASKED)).cont()
    with expected(TimerFailure, "interrupt lost on vCPU 0: PPI 27 came 0 times"):
        last_say(trial, guest)
    trial.count(registers=timers.compared(guest))


@reported(Report("swapped-ids", "T8", Kind.GUARD, "calls CVAL and CNT by what they are, not by what their ids encode"))
def test_registers_with_swapped_ids_have_their_true_names(trial: Trial) -> None:
    names = {0x603000000013DF1A: "CNTVCT_EL0", 0x603000000013DF02: "CNTV_CVAL_EL0"}
    assert {number: kvm_ids.name_of(number) for number in names} == names
    trial.count(registers=len(names))


STOPPED_SECONDS = 0.4


@reported(
    Report(
        "stopped-clock",
        "T10",
        Kind.GUARD,
        "gives the guest none of the time that it was stopped",
        lifecycle="pause",
        platforms=ANYWHERE,
    ),
    Report(
        "host-slept",
        "T19",
        Kind.GUARD,
        "gives the guest none of the time that it slept with its host",
        lifecycle="pause",
        vcpus=2,
        platforms=ANYWHERE,
    ),
)
def test_a_stopped_guest_does_not_age(trial: Trial) -> None:
    began = time.monotonic()
    guest = trial.boot("timers", timer="cntv", instant="armed-far", by="cval")
    # It has read its counter in this time, nobody knows when.
    booting = max(line.heard for line in guest.of_kind("arranged")) - began
    stopped = STOPPED_SECONDS * trial.bench.pace
    machine = machine_of(guest)
    machine.stop()
    with expected(DeadlineExpired, "waited"):
        guest.hear(Deadline.after(booting + stopped), "a word of a guest that is stopped")
    machine.cont()
    guest.go()
    after = guest.hear_until("timer", soon())
    passed = time.monotonic() - began
    (before,) = (line for line in guest.of_kind("arranged") if line.number("cpu") == after.number("cpu"))
    aged = (after.number("cnt") - before.number("cnt")) / guest.hello.number("freq")
    assert aged < passed - booting - stopped / 2, f"the guest has aged by {aged:.2f} s in {passed:.2f} s"
    witness.hear_out(guest)
    trial.count(interrupts=timers.judge(guest, interrupted=True), registers=timers.compared(guest))
    guest.finish()


@reported(Report("clock-stands-still", "T9", Kind.GUARD, "lets the guest's clock stand still while it is saved, to the tick"))
def test_the_clock_stands_still_while_a_guest_is_saved(trial: Trial) -> None:
    guest = armed(trial, "cntv")
    trial.put_through(guest, compare_streams=True)
    before, after = (look.registers["timer/cpu_clock_offset"] for look in trial.looks("stream"))
    assert before == after, f"the guest's clock is {before!r} ns at the save and {after!r} ns at the restore"
    judge(trial, guest)


@reported(
    Report(
        "next-tick-overflows",
        "T15",
        Kind.GUARD,
        "sees that the next tick is far ahead, not in the past, where CVAL plus CNTVOFF_EL2 overflows",
        level="nvhe",
    )
)
def test_a_deadline_that_overflows_is_far_ahead(trial: Trial) -> None:
    guest = armed(trial, "cntv")
    machine = edited(
        trial,
        guest,
        # The sum of both is 0, which is past.
        lambda data: set_register(data, "cpu0/CNTVOFF_EL2", 1),
        lambda data: set_register(data, "cpu0/CNTV_CVAL_EL0", TOP),
    )
    trial.told()
    elapsed = instant_missed(timers.arrangement(guest), timers.readings(guest))
    if elapsed is not None:
        raise InstantMissed(f"the interrupt came before the guest was saved, after {elapsed:.2f} s", elapsed=elapsed)
    machine.cont()
    guest.go()
    guest.hear_until("timer", soon())
    # The old deadline passes, and QEMU computes the next.
    with expected(DeadlineExpired, "waited"):
        guest.hear_until("irq", Deadline.after(2e-6 * trial.ahead_us))
    assert machine.status() == "running"
    guest.ask()
    timer = guest.hear_until("timer", soon())
    assert (timer.number("n"), timer.number("ctl")) == (0, 1)
    trial.count(registers=2)


def rtc(machine: Machine) -> int:
    """Return the time of day of the machine's RTC, as its guest would read it."""
    return int(machine.monitor(f"xp /1wx {RTCDR:#x}").split()[-1], 16)


def an_hour_later(data: bytes) -> bytes:
    """Return a stream whose machine has run for another hour."""
    clock = decode(data).devices["timer"].fields["cpu_clock_offset"]
    assert isinstance(clock, int)
    return set_field(data, "timer", "cpu_clock_offset", clock + 3600 * 10**9)


@reported(Report("rtc-drifts", "T18", Kind.GUARD, "shows the time of day in the RTC after a restore"))
def test_the_rtc_shows_the_time_of_day_after_a_restore(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    # What drifts with the machine's clock drifts by this hour.
    restored = edited(trial, guest, an_hour_later)
    drift = rtc(restored) - time.time()
    assert abs(drift) < 2, f"the RTC is off by {drift:.0f} s"  # it counts whole seconds
    restored.cont()
    last_say(trial, guest)


@reported(
    Report(
        "cval-moved-ahead",
        "T7",
        Kind.GUARD,
        "sets a soft timer for an emulated timer whose CVAL is moved ahead",
        lifecycle="straight",
        level="vhe",
        platforms=WITH_KVM,
    ),
    Report(
        "l1-kvm-ticks",
        "N7",
        Kind.GUARD,
        "lets a KVM that runs in its guest take timer interrupts, one after the other",
        lifecycle="straight",
        platforms=WITH_KVM,
    ),
)
def test_a_periodic_timer_of_a_guest_of_kvm_ticks(case: Params, trial: Trial) -> None:
    guest = armed(trial, "cntv_el02" if case.level == "vhe" else "cntv", "periodic")
    trial.put_through(guest)
    judge(trial, guest, interrupted=False)


@reported(
    Report(
        "stale-istatus",
        "N5",
        Kind.GUARD,
        "shows ISTATUS to a guest hypervisor that polls its EL1 timer without an exit",
        lifecycle="straight",
        level="vhe",
        platforms=WITH_KVM,
    )
)
def test_a_guest_hypervisor_that_polls_sees_istatus(trial: Trial) -> None:
    guest = armed(trial, "cntv_el02", "pending")
    trial.put_through(guest)
    judge(trial, guest, interrupted=False)


@reported(
    Report(
        "counters-after-reset",
        "T11",
        Kind.GUARD,
        "gives all vCPUs the same virtual counter when they were reset",
        lifecycle="reset",
        vcpus=2,
        platforms=WITH_KVM,
    )
)
def test_vcpus_that_were_reset_have_the_same_counter(trial: Trial) -> None:
    guest = armed(trial, "cntv", "armed-far")
    trial.put_through(guest)
    judge(trial, guest)
    first, second = (line.number("run") for line in guest.of_kind("timer")[:2])
    apart = (second - first) / guest.hello.number("freq")
    assert 0 <= apart < 1, f"read one after the other, their counters are {apart:.3f} s apart"


# Each thread of a QEMU to the first CPU and to the second, in turn. $1: its private directory, which its command line names.
_HOP = """
for each in /proc/[0-9]*; do
    tr '\\0' ' ' <$each/cmdline 2>/dev/null | grep -q -F -- "$1/gdb" && tasks=$each/task
done
for round in $(seq 10); do
    for task in $tasks/*; do taskset -p $((round % 2 + 1)) ${task##*/} >/dev/null && echo $task; done
done
"""


def hop(machine: Machine) -> int:
    """Move the threads of a machine from one CPU of its host to another, again and again; return how often one was moved."""
    said = machine.host.run(["sh", "-c", _HOP, "hop", str(machine.place)], Deadline.after(60))
    return len(said.stdout.splitlines())


@reported(
    Report(
        "vcpu-moves-between-cores",
        ("T16", "T17"),
        Kind.GUARD,
        "loses no tick of a vCPU whose thread moves from one core to another",
        lifecycle="straight",
        vcpus=2,
        platforms=WITH_KVM,
    )
)
def test_ticks_come_while_vcpus_move(trial: Trial) -> None:
    guest = trial.boot("timers", timer="cntv", instant="periodic", by="cval", ticks=25, period_us=20_000 * trial.bench.pace)
    moves = hop(machine_of(guest))
    assert moves >= 20, f"threads were moved {moves} times only"
    guest.go()
    judge(trial, guest, interrupted=False)
