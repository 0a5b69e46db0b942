"""Hearing a guest out that answers late, or ends while it is asked."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from harness.deadline import Deadline
from harness.errors import Failure, GuestFailure, GuestSilent, InstantMissed, InterruptLate, NoEvidence, TimerFailure
from harness.guest import timers, witness
from harness.guest.payload import Guest

HELLO = "@1 hello guest=timers el=1 e2h=0 vcpus=1 freq=1000 its=0 pauth=0 sve=0 sme=0"
ARRANGED = "@1 arranged cpu=0 timer=cntv intid=27 instant=armed by=cval cval=0xc8 cnt=0x64 ctl=0x1"
IRQ = "@1 irq cpu=0 intid=27 timer=cntv cval=0xc8 cnt=0xc9 ctl=0x5 n=1"
TIMER = "@1 timer cpu=0 timer=cntv cval=0xc8 cnt=0x66 ctl=0x1 n=0"
RESULT, END = "@1 result checks=14 failed=0", "@1 end"


class Wire:
    """A console on which lines wait; where there is none, the guest is silent."""

    def __init__(self, *lines: str) -> None:
        self.lines = deque(lines)
        self.said: list[bytes] = []
        # What the guest says after it was asked.
        self.answer: tuple[str, ...] = ()
        # The same, of a guest that says something new each time; the last one stays.
        self.answers: deque[tuple[str, ...]] = deque()

    def line(self, _: Deadline, what: str) -> str:
        if not self.lines:
            raise GuestSilent(f"waited for {what}")
        return self.lines.popleft()

    def say(self, data: bytes) -> None:
        self.said.append(data)
        if data == b"?":
            if self.answers:
                self.answer = self.answers.popleft()
            self.lines.extend(self.answer)
        if data == b"e":
            self.lines.extend((RESULT, END))


class Standing:
    """A machine, as far as a guest that is heard needs one."""

    side = "source"

    def __init__(self, wire: Wire) -> None:
        self.console = wire


ASKED = {"timer": "cntv", "instant": "armed", "by": "cval"}


def heard_out(
    *after: str, answer: tuple[str, ...], arguments: Mapping[str, str] = ASKED, before: tuple[str, ...] = (ARRANGED,)
) -> Guest:
    wire = Wire(HELLO, *before, "@1 now")
    guest = Guest("timers", arguments, cast(Any, Standing(wire)))
    guest.reach_now()
    guest.go()
    wire.lines.extend(after)
    wire.answer = answer
    timers.hear_out(guest)
    return guest


def test_a_guest_that_ends_while_it_is_asked_has_ended() -> None:
    guest = heard_out(TIMER, IRQ, answer=(RESULT, END))
    assert timers.judge(guest, interrupted=True) == 1


def test_a_guest_that_was_left_to_its_defaults_says_what_it_has_arranged() -> None:
    guest = heard_out(TIMER, IRQ, answer=(RESULT, END), arguments={"timer": "cntv"})
    assert timers.judge(guest, interrupted=True) == 1
    assert timers.arrangement(guest) == timers.arrangement(heard_out(TIMER, IRQ, answer=(RESULT, END)))
    guest.arguments, guest.messages = {}, [message for message in guest.messages if message.kind != "arranged"]
    with pytest.raises(NoEvidence, match="which timer"):
        timers.judge(guest, interrupted=True)


LATE = IRQ.replace("cnt=0xc9", "cnt=0x400")
BACK = TIMER.replace("cnt=0x66", "cnt=0x50")
MASKED = TIMER.replace("ctl=0x1", "ctl=0x3")
ITS_OWN = ("@1 fail text=vCPU 0: CVAL reads 0x1", "@1 fail text=vCPU 0: 3 spurious interrupts", "@1 result checks=14 failed=2")
SAID = "the guest found: vCPU 0: CVAL reads 0x1 | vCPU 0: 3 spurious interrupts"


@pytest.mark.parametrize(
    ("after", "kind", "words"),
    [
        ((TIMER, LATE, RESULT), InterruptLate, "interrupt 1 on vCPU 0 came 824.0 ms late"),
        ((TIMER, LATE, *ITS_OWN), TimerFailure, f"interrupt 1 on vCPU 0 came 824.0 ms late; {SAID}"),
        (
            (BACK, LATE, RESULT),
            TimerFailure,
            "interrupt 1 on vCPU 0 came 824.0 ms late; the counter of vCPU 0 went back by 20.0 ms",
        ),
        (
            (MASKED, IRQ, IRQ.replace("n=1", "n=2"), *ITS_OWN),
            TimerFailure,
            f"PPI 27 came 2 times on vCPU 0, expected 1; CNTV_CTL_EL0 on vCPU 0 was 0x1, is 0x3; {SAID}",
        ),
        (
            (TIMER, IRQ.replace("ctl=0x5", "ctl=0x1"), LATE.replace("ctl=0x5 n=1", "ctl=0x1 n=2"), RESULT),
            TimerFailure,
            (
                "PPI 27 came 2 times on vCPU 0, expected 1; interrupt 2 on vCPU 0 came 824.0 ms late; interrupt 1 on vCPU 0: "
                "CNTV_CTL_EL0.ISTATUS is missing: CNTV_CTL_EL0 reads 0x1 in the handler, not 0x5 (and 1 more)"
            ),
        ),
        ((TIMER, IRQ, *ITS_OWN), GuestFailure, SAID),
        ((TIMER, IRQ, "@1 result checks=1 failed=1"), GuestFailure, "the guest found: a check that it did not name"),
    ],
    ids=["late", "late and its own", "two kinds", "two kinds and its own", "two of a kind", "its own", "its own, not named"],
)
def test_every_kind_and_every_complaint_is_named(after: Sequence[str], kind: type[Failure], words: str) -> None:
    """An excuse for one must not cover another, and only where all is late is it late."""
    guest = heard_out(*after, END, answer=())
    with pytest.raises(Failure) as caught:
        timers.judge(guest, interrupted=True)
    assert (type(caught.value), caught.value.what) == (kind, words)


@pytest.mark.parametrize("interrupted", [True, False])
def test_an_interrupt_that_overtook_its_own_arrangement_is_a_missed_instant(interrupted: bool) -> None:
    """A busy computer: the interrupt was due before the guest came to say that it had armed the timer."""
    done = ARRANGED.replace("cnt=0x64 ctl=0x1", "cnt=0xca ctl=0x0")
    guest = heard_out(TIMER.replace("cnt=0x66 ctl=0x1 n=0", "cnt=0xcc ctl=0x0 n=1"), RESULT, END, answer=(), before=(IRQ, done))
    with pytest.raises(InstantMissed, match="the interrupt came before"):
        timers.judge(guest, interrupted=interrupted)


def test_one_that_ends_without_ever_having_said_how_its_timer_stands_is_at_fault() -> None:
    with pytest.raises(GuestFailure, match="ended before its `timer`"):
        heard_out(IRQ, RESULT, END, answer=())


def test_one_that_does_not_answer_is_silent() -> None:
    with pytest.raises(GuestSilent, match="does not answer any more"):
        heard_out(TIMER, answer=())


def beat(cpu: int, beats: int) -> str:
    return f"@1 beat cpu={cpu} n={beats}"


def witnessed(*answers: Sequence[str]) -> list[bytes]:
    """Hear a guest of two vCPUs out that gives these answers, the last one again and again; return what was said to it."""
    wire = Wire(
        HELLO.replace("timers", "nested").replace("vcpus=1", "vcpus=2"), ARRANGED, ARRANGED.replace("cpu=0", "cpu=1"), "@1 now"
    )
    guest = Guest("nested", {}, cast(Any, Standing(wire)))
    guest.reach_now()
    guest.go()
    wire.answers.extend(tuple(answer) for answer in answers)
    witness.hear_out(guest)
    return wire.said


def test_a_guest_that_gets_no_further_is_told_to_end() -> None:
    assert witnessed([beat(0, 7), beat(1, 7)]) == [b"g", b"?", b"?", b"?", b"e"]


def test_a_guest_of_which_one_vcpu_gets_further_is_heard() -> None:
    assert witnessed([beat(0, 7), beat(1, 7)], [beat(0, 7), beat(1, 8)], [beat(0, 7), beat(1, 9)], [RESULT, END]) == [
        b"g",
        *4 * [b"?"],
    ]


def test_a_vcpu_that_does_not_answer_is_silent_whatever_the_others_say() -> None:
    """Its thread may have had no CPU for a while: nothing can be said of it before it has run."""
    with pytest.raises(GuestSilent, match="vCPU 1 does not answer any more"):
        witnessed([beat(0, 7), beat(0, 7)])
