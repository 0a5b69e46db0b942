"""What a guest's own words prove of registers that were written from outside."""

from __future__ import annotations

from typing import cast

import pytest

from harness.errors import NoEvidence, StateDiffers
from harness.guest import witness
from harness.guest.payload import Guest
from harness.guest.protocol import parse
from harness.qemu.machine import AnyMachine

HELLO = "@1 hello guest=idregs el=1 e2h=0 vcpus=2 freq=62500000"
ISAR, OTHER = "@1 reg cpu={cpu} name=id_aa64isar0_el1 value={value:#x}", "@1 reg cpu=0 name=ctr_el0 value=0x1"


def guest_that_says(*lines: str) -> Guest:
    guest = Guest("idregs", {}, cast(AnyMachine, None))
    guest.messages = [parse(line) for line in (HELLO, *lines)]
    return guest


def test_values_of_each_vcpu_are_counted() -> None:
    guest = guest_that_says(ISAR.format(cpu=0, value=5), OTHER, ISAR.format(cpu=1, value=5))
    assert witness.as_written(guest, {"ID_AA64ISAR0_EL1": 5}) == 2


def test_another_value_is_named() -> None:
    guest = guest_that_says(ISAR.format(cpu=0, value=5), ISAR.format(cpu=1, value=0x15))
    says = r"^ID_AA64ISAR0_EL1 of vCPU 1 is 0x15 to the guest, written was 0x5$"
    with pytest.raises(StateDiffers, match=says) as raised:
        witness.as_written(guest, {"ID_AA64ISAR0_EL1": 5})
    assert raised.value.suspect == "kernel (L0)"


def test_a_guest_that_does_not_tell_proves_nothing() -> None:
    with pytest.raises(NoEvidence, match="told of 1 registers, not 1 of each vCPU"):
        witness.as_written(guest_that_says(ISAR.format(cpu=0, value=5)), {"ID_AA64ISAR0_EL1": 5})
