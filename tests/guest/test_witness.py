"""Interrupts that come while the guest holds them back: which of them say that the computer is slow, and which are wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

import pytest

from harness.errors import InstantMissed, TimerFailure
from harness.guest import witness
from harness.guest.payload import Guest
from harness.guest.protocol import Message, parse

HELLO = "@1 hello guest=nested el=2 e2h=0 vcpus=1 freq=1000 its=0 pauth=0 sve=0 sme=0"
ARRANGED = "@1 arranged cpu=0 level=2 timer=cntv cval=0xc8 cnt=0x64 ctl=0x1 irqs=1"


@dataclass
class Heard:
    """What `judge` needs of a guest: its words, and how many came before it was told to go on."""

    lines: tuple[str, ...]
    messages: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.messages = [parse(line, side="source") for line in self.lines]

    @property
    def went(self) -> int:
        return len(self.messages)

    @property
    def hello(self) -> Message:
        return self.messages[0]

    def of_kind(self, kind: str) -> list[Message]:
        return [message for message in self.messages if message.kind == kind]


def judge(*lines: str) -> None:
    witness.judge(cast(Guest, Heard((HELLO, ARRANGED, "@1 now", *lines))), interrupted=True)


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
