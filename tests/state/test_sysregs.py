"""Names by encoding and by id, and the fields."""

from __future__ import annotations

import re

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
    register, _, layout = name.partition("+")
    fields = sysregs.fields_of(register, e2h=bool(layout))
    assert list(fields) == sorted(fields, key=lambda field: field.lsb)
    assert len({field.name for field in fields}) == len(fields)
    for field in fields:
        assert field.width > 0 and field.lsb + field.width <= 64
        assert not used & field.mask, field
        used |= field.mask
    assert used


def test_fields_belong_to_known_registers() -> None:
    known = set(sysregs.by_encoding().values()) | {"PSTATE"}
    names = [name for names in FIELDS for name in names.split()]
    assert len(names) == len(set(names))
    assert {name.removesuffix("+E2H") for name in names} <= known


@pytest.mark.parametrize(
    ("name", "msb", "lsb"),
    [
        ("ID_AA64MMFR1_EL1.XNX", 31, 28),
        ("ID_AA64MMFR1_EL1.VH", 11, 8),
        ("ID_AA64MMFR2_EL1.NV", 27, 24),
        ("ID_AA64MMFR4_EL1.NV_frac", 23, 20),
        ("ID_AA64MMFR4_EL1.E2H0", 27, 24),
        ("ID_AA64DFR0_EL1.DoubleLock", 39, 36),
        ("ID_AA64DFR0_EL1.PMUVer", 11, 8),
        ("ID_AA64PFR0_EL1.RAS", 31, 28),
        ("ID_AA64PFR0_EL1.FP", 19, 16),
        ("ID_AA64SMFR0_EL1.FA64", 63, 63),
        ("ID_AA64ISAR3_EL1.FPRCVT", 31, 28),
        ("ID_PFR1_EL1.GenTimer", 19, 16),
        ("MVFR1_EL1.SIMDFMAC", 31, 28),
        ("MIDR_EL1.PartNum", 15, 4),
        ("MPIDR_EL1.Aff3", 39, 32),
        ("CLIDR_EL1.LoC", 26, 24),
        ("CNTKCTL_EL1.EVNTI", 7, 4),
        ("SCTLR_EL1.SPAN", 23, 23),
        ("TCR_EL1.IPS", 34, 32),
        ("TCR_EL2.PS", 18, 16),
        ("VTCR_EL2.SL0", 7, 6),
        ("MDCR_EL2.HPMN", 4, 0),
        ("ESR_EL12.EC", 31, 26),
        ("ICH_LR15_EL2.State", 63, 62),
        ("ICH_VMCR_EL2.VPMR", 31, 24),
        ("PMCR_EL0.N", 15, 11),
        ("PMEVTYPER30_EL0.evtCount", 15, 0),
        ("DBGBCR15_EL1.BT", 23, 20),
        ("DBGWCR0_EL1.BAS", 12, 5),
        ("MDSCR_EL1.MDE", 15, 15),
        ("OSLSR_EL1.OSLK", 1, 1),
        ("SMCR_EL1.FA64", 31, 31),
        ("RGSR_EL1.SEED", 23, 8),
    ],
)
def test_where_fields_are(name: str, msb: int, lsb: int) -> None:
    register, _, wanted = name.partition(".")
    (field,) = (each for each in sysregs.fields_of(register) if each.name == wanted)
    assert (field.lsb + field.width - 1, field.lsb) == (msb, lsb)


def test_registers_of_el2_have_another_layout_with_e2h() -> None:
    def at(bit: int, *, e2h: bool) -> list[str]:
        registers = ("CNTHCTL_EL2", "CPTR_EL2", "TCR_EL2")
        fields = [next((f.name for f in sysregs.fields_of(name, e2h=e2h) if f.mask >> bit & 1), "") for name in registers]
        return [*fields, *(f.name for f in sysregs.fields_of("HCR_EL2", e2h=e2h) if f.mask >> bit & 1)]

    assert at(0, e2h=False) == ["EL1PCTEN", "", "T0SZ", "VM"]
    assert at(0, e2h=True) == ["EL0PCTEN", "", "T0SZ", "VM"]
    assert at(10, e2h=False) == ["", "TFP", "ORGN0", "BSU"]
    assert at(10, e2h=True) == ["EL1PCTEN", "", "ORGN0", "BSU"]
    assert at(20, e2h=False)[1:3] == ["TTA", "TBI"]
    assert at(20, e2h=True)[1:3] == ["FPEN", "T1SZ"]


# Fields that are too new to be described with certainty.
UNTOLD = {"ID_AA64MMFR0_EL1": {"NVTGE"}, "ID_AA64MMFR4_EL1": {"EAESR", "TPS", "TEV", "SCRX", "MTEFGT"}}


def test_every_meaning_is_of_a_field_and_every_id_field_has_one() -> None:
    for register, fields in sysregs.meanings().items():
        known = [field.name for field in sysregs.fields_of(register)]
        assert list(fields) == [name for name in known if name not in UNTOLD.get(register, ())], register
        assert all(re.fullmatch(r"\S[^;]*[^\s;=]", meaning.words) for meaning in fields.values())
    ids = {name for name in sysregs.by_encoding().values() if name.startswith(("ID_", "MVFR")) and sysregs.fields_of(name)}
    assert ids <= sysregs.meanings().keys()


@pytest.mark.parametrize(
    ("name", "value", "number"),
    [
        ("ID_AA64PFR0_EL1.FP", 0xF, -1),
        ("ID_AA64PFR0_EL1.AdvSIMD", 1, 1),
        ("ID_AA64MMFR0_EL1.TGran4", 0xF, -1),
        ("ID_AA64MMFR0_EL1.TGran64", 0xF, -1),
        ("ID_AA64MMFR0_EL1.TGran16", 0xF, 0xF),
        ("ID_AA64DFR0_EL1.DoubleLock", 0xF, -1),
        ("ID_AA64DFR0_EL1.MTPMU", 0xF, -1),
        ("ID_AA64DFR0_EL1.PMUVer", 0xF, 0xF),
        ("ID_AA64MMFR4_EL1.E2H0", 0xE, -2),
        ("ID_AA64MMFR4_EL1.NV_frac", 0xF, 0xF),
        ("SCTLR_EL1.M", 1, 1),
    ],
)
def test_signed_fields(name: str, value: int, number: int) -> None:
    register, _, field = name.partition(".")
    assert sysregs.meaning_of(register, field).number(value, 4) == number


def test_what_fields_tell() -> None:
    assert sysregs.meaning_of("ID_AA64MMFR1_EL1", "XNX") == sysregs.Meaning("EL0/EL1 execute control", sysregs.Sign.UNSIGNED)
    assert sysregs.meaning_of("ID_AA64DFR0_EL1", "PMUVer").sign is sysregs.Sign.ENUMERATED
    assert sysregs.meaning_of("NOTHING", "XNX").words == ""


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
