"""A guest whose console is written by hand: what it says, and which end that is."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestFailure, NoEvidence, QemuFailure, Suspect, Unsupported
from harness.events import Timeline
from harness.guest.payload import Guest
from harness.qemu.console import Console
from harness.qemu.hub import Hub
from harness.qemu.machine import Machine
from harness.qemu.spec import MachineSpec

HELLO = "@1 hello guest=timers el=1 e2h=0 vcpus=1 freq=1000 its=0 pauth=0 sve=0 sme=0\n"


@dataclass
class Script:
    """What a guest needs of a machine: its console; `exits` says whether its process ends, which it does well."""

    side: str
    console: Console
    theirs: socket.socket
    spec: MachineSpec = field(default_factory=lambda: MachineSpec(kernel=Path("none"), cpu="cortex-a57"))
    exits: bool = True

    def writes(self, text: str) -> None:
        self.theirs.sendall(text.encode())

    def arrives(self, hub: Hub) -> None:
        """Return when the I/O thread has read what was written before."""
        hub.call(lambda: None)

    def end_well(self, deadline: Deadline) -> None:
        if not self.exits:
            raise DeadlineExpired(f"waited {deadline.seconds} s for {self.side} to exit")


Make = Callable[..., tuple[Guest, Script]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture
def make(hub: Hub, tmp_path: Path) -> Iterator[Make]:
    made: list[Script] = []

    def one(text: str = "", side: str = "source") -> tuple[Guest, Script]:
        ours, theirs = socket.socketpair()
        script = Script(side, Console(hub, ours, side, tmp_path / f"{len(made)}.log", Timeline()), theirs)
        made.append(script)
        script.writes(text)
        return Guest("timers", {"timer": "cntv"}, cast(Machine, script)), script

    yield one
    for script in made:
        script.theirs.close()
        script.console.close()


def soon() -> Deadline:
    return Deadline.after(10)


def test_a_whole_life(make: Make) -> None:
    guest, script = make(HELLO + "@1 arranged cpu=0\n@1 now\n")
    guest.reach_now()
    assert [message.kind for message in guest.messages] == ["hello", "arranged", "now"]
    guest.go()
    guest.ask()
    guest.end()
    assert script.theirs.recv(10) == b"g?e"
    assert guest.went == 3
    script.writes("@1 irq cpu=0 n=1\n@1 result checks=7 failed=0\n@1 end\n")
    guest.finish()
    assert guest.checks() == 7
    assert guest.hello.number("freq") == 1000
    guest.finish()


def test_skip_is_no_failure(make: Make) -> None:
    guest, _ = make(HELLO + "@1 skip text=no FEAT_VHE\n@1 end\n")
    with pytest.raises(Unsupported, match="timers on cortex-a57: no FEAT_VHE"):
        guest.reach_now()


def test_panic_before_now(make: Make) -> None:
    guest, _ = make(HELLO + "@1 panic cpu=0 esr=0x96000010 elr=0x0 far=0x8 text=data abort\n")
    with pytest.raises(GuestFailure, match="the guest panicked: .*data abort") as caught:
        guest.reach_now()
    assert caught.value.suspect is Suspect.GUEST


def test_end_before_now(make: Make) -> None:
    guest, _ = make(HELLO + "@1 end\n")
    with pytest.raises(GuestFailure, match="source: the guest ended before its `now`"):
        guest.reach_now()


def test_a_guest_that_ends_before_now_has_found_why(make: Make) -> None:
    guest, _ = make(HELLO + "@1 fail text=vCPU 0: no interrupt\n@1 result checks=3 failed=1\n@1 end\n")
    with pytest.raises(GuestFailure, match="^the guest found: vCPU 0: no interrupt$") as caught:
        guest.reach_now()
    assert caught.value.suspect is Suspect.QEMU, "or whoever else runs it"


def test_garbage(make: Make) -> None:
    guest, _ = make(HELLO + "@1 arr\x00nged\n")
    with pytest.raises(GuestFailure, match=r"not the protocol: '@1 arr\\x00nged'"):
        guest.reach_now()


def test_a_machine_that_ends(make: Make) -> None:
    guest, script = make(HELLO)

    def gone() -> None:
        raise QemuFailure("QEMU was killed by SIGSEGV")

    script.console.closed_by_qemu = gone
    script.theirs.close()
    with pytest.raises(QemuFailure, match="SIGSEGV"):
        guest.reach_now()
    assert guest.hello.kind == "hello"


def test_silence_names_what_was_waited_for(make: Make) -> None:
    guest, _ = make(HELLO)
    guest.hear(soon(), "hello")
    with pytest.raises(DeadlineExpired, match="source console: waited 0.1 s for the guest's `now`"):
        guest.hear_until("now", Deadline.after(0.1))


def test_follow_over_three_machines_with_half_lines(make: Make, hub: Hub) -> None:
    guest, first = make(HELLO + "@1 arranged cpu=0\n@1 now\n")
    _, second = make(side="destination")
    _, third = make(side="destination-2")
    guest.reach_now()
    first.writes("@1 irq cpu=0 n=1\n@1 irq cp")
    second.writes("u=0 n=2\n@1 ir")
    third.writes("q cpu=0 n=3\n@1 irq cpu=0 ")
    for script in (first, second, third):
        script.arrives(hub)
    guest.follow([cast(Machine, script) for script in (first, second, third)])
    assert guest.machine is cast(Machine, third)
    third.writes("n=4\n@1 end\n")
    guest.hear_until("end", soon())
    irqs = guest.of_kind("irq")
    assert [message.number("n") for message in irqs] == [1, 2, 3, 4]
    assert [message.side for message in irqs] == ["source", "destination", "destination-2", "destination-2"]
    guest.go()
    assert third.theirs.recv(10) == b"g"


def test_follow_in_the_same_machine_keeps_what_was_unread(make: Make, hub: Hub) -> None:
    guest, script = make(HELLO + "@1 now\n@1 irq cpu=0 n=1\n@1 be")
    guest.reach_now()
    script.arrives(hub)
    guest.follow([guest.machine])
    script.writes("at cpu=0 n=5\n")
    assert guest.hear_until("beat", soon()).number("n") == 5
    assert len(guest.of_kind("irq")) == 1


def test_follow_quotes_garbage(make: Make, hub: Hub) -> None:
    guest, script = make(HELLO + "@1 now\nrubbish\n")
    guest.reach_now()
    script.arrives(hub)
    with pytest.raises(GuestFailure, match="'rubbish'"):
        guest.follow([guest.machine])


def test_restart_forgets_the_first_life(make: Make) -> None:
    guest, script = make(HELLO + "@1 arranged cpu=0 n=1\n@1 now\n")
    guest.reach_now()
    script.writes(HELLO + "@1 arranged cpu=0 n=2\n@1 now\n")
    guest.restart()
    assert [message.kind for message in guest.messages] == ["hello", "arranged", "now"]
    assert guest.of_kind("arranged")[0].number("n") == 2


def test_a_machine_that_lacks_something_after_a_reset_has_lost_it(make: Make) -> None:
    guest, script = make(HELLO + "@1 now\n")
    guest.reach_now()
    script.writes("@1 skip text=entered at EL1: a hypervisor needs EL2\n@1 end\n")
    with pytest.raises(
        GuestFailure, match="^after the reset the guest says: entered at EL1: a hypervisor needs EL2$"
    ) as caught:
        guest.restart()
    assert caught.value.suspect is Suspect.QEMU, "or whoever else runs it"


def test_a_machine_that_does_not_power_off(make: Make) -> None:
    guest, script = make("@1 end\n")
    script.exits = False
    with pytest.raises(GuestFailure, match="ended but its machine did not power off"):
        guest.finish()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("@1 fail text=CTL is 1\n@1 result checks=3 failed=1\n@1 end\n", "the guest found: CTL is 1$"),
        ("@1 fail text=one\n@1 fail text=two\n@1 result checks=3 failed=2\n@1 end\n", r"found: one \(and 1 more\)"),
        ("@1 result checks=3 failed=1\n@1 end\n", "a check that it did not name"),
    ],
)
def test_failed_checks(make: Make, text: str, words: str) -> None:
    guest, _ = make(text)
    guest.finish()
    with pytest.raises(GuestFailure, match=words) as caught:
        guest.checks()
    assert caught.value.suspect is Suspect.QEMU


@pytest.mark.parametrize("text", ["@1 end\n", "@1 result checks=0 failed=0\n@1 end\n"])
def test_no_check_is_no_evidence(make: Make, text: str) -> None:
    guest, _ = make(text)
    guest.finish()
    with pytest.raises(NoEvidence, match="timers: the guest made no check"):
        guest.checks()
