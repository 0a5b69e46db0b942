"""`harness/kvm` with a real kernel: the default lab's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.errors import MissingError
from harness.events import Timeline
from harness.guest import timers
from harness.guest.payload import Guest
from harness.kvm.machine import KvmMachine, RegistersRefused
from harness.lab.host import Lab
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import KvmPassage
from harness.qemu.machine import Workshop
from harness.qemu.spec import MachineSpec, Start
from harness.state.diff import compare
from harness.state.rules import FROM_KVM, RULES

ASKED = {"timer": "cnthp", "instant": "armed", "by": "cval", "ahead_us": 2_000_000, "console": "virtio", "vcpus": 1}


class Booth:
    """Makes machines of one lab, by what their vCPUs are."""

    def __init__(self, lab: Lab, workshop: Workshop, opened: ExitStack) -> None:
        self.lab, self.opened = lab, opened
        self.workshop = replace(workshop, host=lab)
        self.machines: list[KvmMachine] = []

    def machine(self, side: str, start: Start, *, e2h0: bool) -> KvmMachine:
        append = " ".join(f"{key}={value}" for key, value in {**ASKED, "e2h": int(not e2h0)}.items())
        spec = MachineSpec(self.lab.bring(guests.find().path("timers")), append, el2=True, e2h0=e2h0, accel="kvm")
        qemu = assets_qemu.resolve(None)
        machine = self.opened.enter_context(KvmMachine(spec, qemu, self.workshop, Timeline(), side=side, start=start))
        self.machines.append(machine)
        return machine


@pytest.fixture
def booth(warm: Lab, workshop: Workshop) -> Iterator[Booth]:
    try:
        guests.find()
    except MissingError as error:
        pytest.skip(str(error))
    with ExitStack() as opened:
        yield Booth(warm, workshop, opened)


@pytest.mark.parametrize("e2h0", [False, True], ids=["vhe", "e2h0"])
def test_a_guest_at_vel2_goes_on_in_another_process(booth: Booth, *, e2h0: bool) -> None:
    guest = Guest("timers", ASKED, booth.machine("source", Start.RUNNING, e2h0=e2h0))
    guest.reach_now()
    passage = KvmPassage(lambda side, start: booth.machine(side, start, e2h0=e2h0))
    LIFECYCLES["kvm-restore"].run(passage, guest.machine)
    guest.follow(booth.machines)
    guest.go()
    timers.hear_out(guest)
    assert timers.judge(guest, interrupted=True) == 1
    accounts = [machine.account() for machine in booth.machines]
    assert all(account and account.exits and account.exits[0] > 0 for account in accounts), accounts
    (pair,) = passage.pairs
    comparison = compare(pair.before, pair.after, (*FROM_KVM, *RULES))
    assert comparison.same, comparison.sentence()
    assert comparison.compared > 300


@pytest.mark.parametrize(("one", "other", "says"), [(False, True, "VH has 0x0, not 0x1"), (True, False, "VH has 0x1, not 0x0")])
def test_a_state_of_the_other_kind_of_el2_is_refused_by_its_field(booth: Booth, *, one: bool, other: bool, says: str) -> None:
    source = booth.machine("source", Start.PAUSED, e2h0=one)
    source.stop()
    source.save(source.place / "state")
    destination = booth.machine("destination", Start.INCOMING, e2h0=other)
    with pytest.raises(RegistersRefused, match=rf"ID_AA64MMFR1_EL1.{says} \(.*: EINVAL; not writable on 7\.\d"):
        destination.restore(source.place / "state")
