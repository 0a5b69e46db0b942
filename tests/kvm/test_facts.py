"""A host says of itself what it takes, on a stand-in for /dev/kvm, whose faults are found in its facts."""

from __future__ import annotations

from collections.abc import Callable

from harness.kvm.machine import KvmMachine
from harness.kvm.sample import Taken
from harness.preflight.facts import HostFacts, gather
from harness.preflight.forecast import forecast
from harness.qemu.spec import Start

Standing = Callable[..., Callable[[str, Start], KvmMachine]]
HAFDBS = ("ID_AA64MMFR1_EL1", 0)


def facts_of(standing_in: Standing, fault: str = "") -> HostFacts:
    return gather(standing_in(fault)("source", Start.INCOMING), ["el1"])


def test_what_is_taken_and_what_is_held_is_found(standing_in: Standing) -> None:
    (level,) = facts_of(standing_in).levels["el1"]
    register, low = HAFDBS
    own = level.registers[register] >> low & 15
    assert own
    assert level.takes[register][low][0] == Taken(0)
    assert own not in level.takes[register][low]
    assert 28 not in level.takes[register]  # XNX is not writable


def test_what_is_taken_and_not_held_will_change(standing_in: Standing) -> None:
    good, bad = facts_of(standing_in), facts_of(standing_in, "keeps no write")
    register, low = HAFDBS
    assert bad.levels["el1"][0].takes[register][low][0].held == bad.levels["el1"][0].registers[register] >> low & 15
    assert not forecast(good, good, "el1").fails
