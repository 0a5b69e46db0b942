from __future__ import annotations

import pytest

from harness.kvm.registers import name_of_gic
from harness.state.diff import between
from harness.state.kvm_ids import in_words, name_of
from harness.state.model import State


@pytest.mark.parametrize(
    ("register", "name"),
    [
        (0x6030000000100000, "X0"),
        (0x603000000010003C, "X30"),
        (0x6030000000100040, "PC"),
        (0x6040000000100054, "V0"),
        (0x60200000001000D4, "FPSR"),
        (0x603000000013C039, "ID_AA64MMFR1_EL1"),
        # KVM's numbers of these two are each other's.
        (0x603000000013DF1A, "CNTVCT_EL0"),
        (0x603000000013DF02, "CNTV_CVAL_EL0"),
        (0x603000000013DF01, "CNTPCT_EL0"),
        (0x6030000000140000, "KVM_PSCI_VERSION"),
        (0x6030000000160002, "KVM_VENDOR_HYP_BMAP"),
        (0x6080000000150020, "Z1"),
        (0x6050000000150400, "P0"),
        (0x6050000000150600, "FFR"),
        (0x606000000015FFFF, "KVM_SVE_VLS"),
        (0x6020000000110001, "CCSIDR[1]"),
        # What has no name is its number.
        (0x6030000000140099, "0x6030000000140099"),
        (0x6030000000190000, "0x6030000000190000"),
    ],
)
def test_names_are_the_architectures(register: int, name: str) -> None:
    assert name_of(register) == name


@pytest.mark.parametrize(
    ("part", "register", "name"),
    [
        ("distributor", "0x0", "GICD_CTLR"),
        ("distributor", "0x104", "GICD_ISENABLER1"),
        ("distributor", "0x420", "GICD_IPRIORITYR8"),
        ("distributor", "0x6100", "GICD_IROUTER32"),
        ("redistributor 1", "0x10080", "GICR_IGROUPR0"),
        ("redistributor 1", "0x70", "GICR_PROPBASER"),
        ("redistributor 1", "0x100", "GICR+0x100"),
        ("redistributor 0", "0x10c04", "GICR_ICFGR1"),
        ("cpu 0", "0xc665", "ICC_SRE_EL1"),
        ("its", "0x108", "GITS_BASER1"),
        ("its", "tables", "tables"),
    ],
)
def test_registers_of_the_gic_have_names(part: str, register: str, name: str) -> None:
    assert name_of_gic(part, register) == name


@pytest.mark.parametrize("number", [0x6030000000140000, 0x6030000000140003, 0x6030000000160000, 0x6030000000160003])
def test_a_firmware_register_has_one_name_in_two_spellings(number: int) -> None:
    words = in_words(f"{number:#018x}")
    assert words == name_of(number).replace("KVM_", "KVM_REG_ARM_", 1)
    assert between(State("stream", {f"cpu0/{number:#018x}": 1}), State("stream", {})) == f"; only the source has {words}"


def test_what_is_no_firmware_register_is_as_it_is() -> None:
    for name in ("SCTLR_EL1", "0x6030000000140099", "0x6030000000190000"):
        assert in_words(name) == name
