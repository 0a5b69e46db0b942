"""Names by encoding and by id, and the fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.state import sysregs
from harness.state.sysreg_table import FIELDS

TWICE = {"CPUACTLR_EL1", "CPUECTLR_EL1", "ERXPFGF_EL1", "ERXPFGCTL_EL1", "ERXPFGCDN_EL1"}


@pytest.mark.parametrize(
    ("regid", "name"),
    [
        (0x603000000013DF11, "CNTP_CTL_EL0"),
        (0x603000000013DF19, "CNTV_CTL_EL0"),
        (0x603000000013E711, "CNTHP_CTL_EL2"),
        (0x603000000013E719, "CNTHV_CTL_EL2"),
        (0x603000000013C039, "ID_AA64MMFR1_EL1"),
        (0x603000000013E088, "HCR_EL2"),
        (0x603000000013C080, "SCTLR_EL1"),
        (0x603000000013DF7F, "PMCCFILTR_EL0"),
        (0x603000000013C3FF, "S3_0_C7_C15_7"),
        (0x40200000200F0800, "cp15 c1,0,c0,0"),
        (0x40200000000F6800, "cp15 c13,0,c0,0 (S)"),
        (0x40200000200E0102, "cp14 c0,0,c2,2"),
        (0x40300000200F0380, "PAR_EL1"),
        (0x40300000200F0730, "cp15 c14,6"),
        (0x6030000000140000, "0x6030000000140000"),
    ],
)
def test_name_of_id(regid: int, name: str) -> None:
    assert sysregs.name_of_id(regid) == name


def test_no_name_stands_twice_but_for_the_two_families_of_cores() -> None:
    names = list(sysregs.by_encoding().values())
    twice = {name for name in names if names.count(name) > 1}
    # Cortex-A57 and A72 have them at op1 1, the later cores at op1 0; A76 has the RAS ones beside the architecture's.
    assert twice == TWICE


@pytest.mark.parametrize("name", [name for names in FIELDS for name in names.split()])
def test_fields_do_not_overlap(name: str) -> None:
    used = 0
    for field in sysregs.fields_of(name):
        assert field.width > 0 and field.lsb + field.width <= 64
        assert not used & field.mask, field
        used |= field.mask
    assert used


def test_fields_belong_to_known_registers() -> None:
    known = set(sysregs.by_encoding().values()) | {"PSTATE"}
    assert {name for names in FIELDS for name in names.split()} <= known


def test_field_values() -> None:
    istatus = next(field for field in sysregs.fields_of("CNTHP_CTL_EL2") if field.name == "ISTATUS")
    assert istatus.of(5) == 1 and istatus.of(3) == 0
    assert istatus.put(0, 5) == 1 and istatus.put(1, 1) == 5
    assert sysregs.fields_of("NOTHING") == ()


IDS = st.integers(0, 2**64 - 1) | st.builds(
    lambda high, low: high << 16 | low,
    st.sampled_from([0x603000000013, 0x40200000200F, 0x40200000000E, 0x40300000200F]),
    st.integers(0, 0xFFFF),
)


@given(IDS, st.integers(0, 63))
def test_two_ids_never_share_a_name(regid: int, bit: int) -> None:
    names = sysregs.name_of_id(regid), sysregs.name_of_id(regid ^ 1 << bit)
    assert names[0] != names[1] or names[0] in TWICE


@given(st.tuples(*[st.integers(0, n) for n in (3, 7, 15, 15, 7)]))
def test_every_encoding_has_a_name_of_its_own(encoding: tuple[int, int, int, int, int]) -> None:
    assert sysregs.name_of(*encoding)


def test_registers_that_qemu_spells_out_get_their_names() -> None:
    words = "Could not set register system register op0:3 op1:0 crn:0 crm:7 op2:2 to 1 (is 2)"
    assert sysregs.named(words) == "Could not set register ID_AA64MMFR2_EL1 (S3_0_0_7_2) to 1 (is 2)"
    assert sysregs.named("nothing of the kind") == "nothing of the kind"
