"""Interrupts that come while the guest holds them back: which of them say that the computer is slow, and which are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.errors import InstantMissed, InterruptLate, StateDiffers, TimerFailure
from harness.guest import witness
from harness.guest.payload import Guest
from harness.guest.protocol import Message, parse
from harness.state.model import State
from harness.state.rules import BETWEEN, Kind, Rule

HELLO = "@1 hello guest=nested el=2 e2h=0 vcpus=1 freq=1000 its=0 pauth=0 sve=0 sme=0"
ARRANGED = "@1 arranged cpu=0 level=2 timer=cntv cval=0xc8 cnt=0x64 ctl=0x1 irqs=1"


@dataclass
class Heard:
    """What `judge` needs of a guest: its words, and how many came before it was told to go on."""

    lines: tuple[str, ...]
    messages: list[Message] = field(default_factory=list)
    stopped: list[State] = field(default_factory=list)
    before: int = 0
    accel: str = "tcg"

    def __post_init__(self) -> None:
        self.messages = [parse(line, side="source") for line in self.lines]

    @property
    def went(self) -> int:
        return self.before or len(self.messages)

    @property
    def machine(self) -> Any:
        return SimpleNamespace(spec=SimpleNamespace(accel=self.accel))

    def checks(self) -> int:
        return 1

    def found(self, *seen: str) -> str:
        return "; ".join(seen)

    @property
    def hello(self) -> Message:
        return self.messages[0]

    def of_kind(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message.kind == kind]


def judge(*lines: str, arranged: str = ARRANGED, stopped: Sequence[State] = ()) -> None:
    witness.judge(cast(Guest, Heard((HELLO, arranged, "@1 now", *lines), stopped=list(stopped))), interrupted=True)


def control(value: int) -> State:
    return State("gdb", {"cpu0/CNTV_CTL_EL0": value})


def test_one_whose_time_had_come_says_how_far_the_counter_had_gone_on() -> None:
    with pytest.raises(InstantMissed) as missed:
        judge("@1 irq cpu=0 level=2 intid=27 timer=cntv cval=0xc8 cnt=0xc9 ctl=0x5 n=1")
    assert missed.value.elapsed == 0.101


def test_one_whose_time_had_not_come_is_early() -> None:
    with pytest.raises(TimerFailure, match="came before CVAL"):
        judge("@1 irq cpu=0 level=2 intid=27 timer=cntv cval=0xc8 cnt=0xc7 ctl=0x5 n=1")


def test_one_that_the_guest_had_masked_is_wrong() -> None:
    with pytest.raises(TimerFailure, match="INTID 98 came on vCPU 0 while it was held back"):
        judge("@1 irq cpu=0 intid=98 cnt=0xc7 n=1")


def test_one_that_was_pending_when_the_guest_was_stopped_has_missed_its_instant() -> None:
    with pytest.raises(InstantMissed, match="pending when the guest was stopped") as missed:
        judge(stopped=[control(0x1), control(0x5)])
    assert missed.value.elapsed == 0.1


@pytest.mark.parametrize(
    ("arranged", "control_then"),
    [
        (ARRANGED, 0x1),
        (ARRANGED, 0x7),  # masked
        (ARRANGED, 0x4),  # disabled: ISTATUS says nothing
        (ARRANGED.replace("cnt=0x64 ctl=0x1", "cnt=0xc9 ctl=0x5"), 0x5),  # was to be due
    ],
)
def test_one_that_is_as_it_was_arranged_has_not(arranged: str, control_then: int) -> None:
    with pytest.raises(TimerFailure, match="took 0 of 1"):
        judge(arranged=arranged, stopped=[control(control_then)])


def test_one_that_comes_again_and_again_is_between_two_when_the_guest_is_stopped() -> None:
    again = ARRANGED.replace("timer=cntv", "instant=periodic timer=cntv").replace("ctl=0x1", "ctl=0x5")
    with pytest.raises(InstantMissed):
        judge(arranged=again, stopped=[control(0x5)])


SHOWN = "@1 reg cpu=0 name=tcr_el1 value=0x1"
OTHER = Rule(r"TCR_EL1", Kind.DERIVED, "it is another there", "this test", view="stream")


@pytest.mark.parametrize("rules", [(), BETWEEN, (OTHER,)], ids=["none", "between-hosts", "of-another-view"])
def test_what_the_guest_reads_is_compared_where_no_rule_of_the_view_says_that_it_is_shown_differently(
    rules: Sequence[Rule],
) -> None:
    guest = cast(Guest, Heard((HELLO, SHOWN)))
    assert witness.cross_check(guest, State("gdb", {"cpu0/TCR_EL1": 1}), rules) == 1
    with pytest.raises(StateDiffers, match="^cpu0/TCR_EL1 is 0x1 by the guest and 57005 by the gdb view$"):
        witness.cross_check(guest, State("gdb", {"cpu0/TCR_EL1": 0xDEAD}), rules)


def test_what_a_rule_of_the_view_says_to_be_shown_differently_is_not() -> None:
    guest = cast(Guest, Heard((HELLO, SHOWN)))
    assert witness.cross_check(guest, State("stream", {"cpu0/TCR_EL1": 0xDEAD}), (OTHER,)) == 0


def went(*lines: str, arranged: str = ARRANGED, accel: str = "tcg") -> int:
    """Judge a guest by what it says after it was told to go on; its counter has 1000 ticks a second."""
    guest = Heard((HELLO, arranged, "@1 now", *lines), before=3, accel=accel)
    return witness.judge(cast(Guest, guest), interrupted=True)


def irq(cnt: int, cval: int = 0xC8, n: int = 1) -> str:
    return f"@1 irq cpu=0 level=2 intid=27 timer=cntv cval={cval:#x} cnt={cnt:#x} ctl=0x5 n={n}"


def timer(cnt: int, level: int = 2) -> str:
    return f"@1 timer cpu=0 level={level} timer=cntv cval=0xc8 cnt={cnt:#x} ctl=0x1 n=0"


DUE = ARRANGED.replace("cnt=0x64", "cnt=0x1000").replace("ctl=0x1", "ctl=0x5")


def test_one_that_comes_within_half_a_second_is_in_time() -> None:
    assert went(timer(0x70), irq(0xC8 + 500)) == 1


def test_one_that_comes_later_is_late_and_says_by_how_much() -> None:
    words = r"^interrupt 2 of level 2 vCPU 0 came 501\.0 ms late$"
    with pytest.raises(InterruptLate, match=words) as late:
        went(irq(0xC8), irq(0x500 + 501, cval=0x500, n=2), arranged=ARRANGED.replace("irqs=1", "irqs=2"))
    assert late.value.seconds == 0.501


def test_one_that_was_due_when_it_was_arranged_counts_from_the_first_word_of_its_timer() -> None:
    assert went(timer(0x3000), timer(0x3100), irq(0x3000 + 500), arranged=DUE) == 1
    assert went(irq(0x9000), timer(0x9001), arranged=DUE) == 1, "nobody knows since when it could come"
    assert went(timer(0x3000, level=1), irq(0x9000), timer(0x9001), arranged=DUE) == 1, "the timer of another level"
    with pytest.raises(InterruptLate, match="came 501.0 ms late"):
        went(timer(0x3000), timer(0x3100), irq(0x3000 + 501), arranged=DUE)


def test_on_kvm_a_counter_goes_on_while_the_machine_stands_still() -> None:
    assert went(timer(0x70), irq(0x9000), accel="kvm") == 1
