"""Names and fields from a Linux source tree: they win, and what is wrong with the file is one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.state import kernel_tree, sysregs
from harness.state.sysregs import Field, Sign

TREE = """\
# A comment, and an empty line

SysregFields SHARED_ELx
Res0 63:8
Enum 7:4 MODE
	0b0000 OFF
	0b0001 ON
EndEnum
Field 3 LOW
Raz 2
Unkn 1
Res1 0
EndSysregFields

Sysreg NEW_EL1 3 0 15 14 7
Fields SHARED_ELx
EndSysreg

Sysreg NEW_EL12 3 5 15 14 7
Mapping NEW_EL1
EndSysreg

Sysreg TTBR0_EL12 3 5 2 0 0
Mapping TTBR0_EL1
EndSysreg

Sysreg ID_AA64MMFR1_EL1 3 0 0 7 1
# inside of a block too
UnsignedEnum 63:60 NEWEST
	0b0000 NI
EndEnum
Res0 59:32
SignedEnum 31:28 XNX
	0b1111 NI
EndEnum
Res0 27:0
EndSysreg

Sysreg CNTHCTL_EL2 3 4 14 1 0
Prefix NVHE
Res0 63:1
Field 0 OURS
EndPrefix
Prefix VHE
Res0 63:2
Field 1:0 THEIRS
EndPrefix
EndSysreg

Sysreg ICH_VMCR_EL2 3 4 12 11 7
Prefix FEAT_NEW
Field 63:0 ALL
EndPrefix
Res0 63:8
Field 7:0 SOME
EndSysreg
"""


def a_tree(folder: Path, text: str = TREE) -> Path:
    path = folder / "arch" / "arm64" / "tools" / "sysreg"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return folder


def test_it_wins_for_the_time_of_the_block(tmp_path: Path) -> None:
    with kernel_tree.used(a_tree(tmp_path)):
        assert sysregs.name_of(3, 0, 15, 14, 7) == "NEW_EL1"
        assert sysregs.fields_of("NEW_EL1") == (Field("LOW", 3, 1), Field("MODE", 4, 4))
        assert sysregs.fields_of("NEW_EL12") == sysregs.fields_of("NEW_EL1")
        assert sysregs.fields_of("ID_AA64MMFR1_EL1") == (Field("XNX", 28, 4), Field("NEWEST", 60, 4))
        assert sysregs.meaning_of("ID_AA64MMFR1_EL1", "XNX") == sysregs.Meaning("EL0/EL1 execute control", Sign.SIGNED)
        assert sysregs.meaning_of("ID_AA64MMFR1_EL1", "NEWEST").sign is Sign.UNSIGNED
        # What it does not have is ours.
        assert sysregs.name_of(3, 0, 1, 0, 0) == "SCTLR_EL1"
        assert sysregs.fields_of("SCTLR_EL1")[0].name == "M"
    assert sysregs.name_of(3, 0, 15, 14, 7) == "S3_0_C15_C14_7"
    assert sysregs.meaning_of("ID_AA64MMFR1_EL1", "XNX").sign is Sign.UNSIGNED
    assert len(sysregs.fields_of("ID_AA64MMFR1_EL1")) == 16


def test_a_mapping_to_what_the_file_leaves_out_has_the_fields_of_our_table(tmp_path: Path) -> None:
    with kernel_tree.used(a_tree(tmp_path)):
        assert [field.name for field in sysregs.fields_of("TTBR0_EL12")] == ["CnP", "BADDR", "ASID"]


def test_prefixes_are_layouts(tmp_path: Path) -> None:
    with kernel_tree.used(a_tree(tmp_path)):
        assert sysregs.fields_of("CNTHCTL_EL2") == (Field("OURS", 0, 1),)
        assert sysregs.fields_of("CNTHCTL_EL2", e2h=True) == (Field("THEIRS", 0, 2),)
        for e2h in (False, True):
            assert sysregs.fields_of("ICH_VMCR_EL2", e2h=e2h) == (Field("SOME", 0, 8),)


def test_words_are_found_whatever_the_case(tmp_path: Path) -> None:
    text = "Sysreg ID_AA64MMFR0_EL1 3 0 0 7 0\nSignedEnum 31:28 TGRAN4\nEndEnum\nEndSysreg\n"
    with kernel_tree.used(a_tree(tmp_path, text)):
        assert sysregs.meaning_of("ID_AA64MMFR0_EL1", "TGRAN4").words == "4 KB granule, -1 for none"


def test_no_tree_is_our_table() -> None:
    with kernel_tree.used(None):
        assert sysregs.name_of(3, 0, 7, 4, 0) == "PAR_EL1"


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        kernel_tree.read(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}/arch/arm64/tools/sysreg: cannot be read: No such file or directory; "
        "name the top of a Linux source tree, 5.19 or newer"
    )


REGISTER = "Sysreg A_EL1 3 0 15 0 0\n"


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("hello world\n", 1, "unknown word 'hello'"),
        ("Sysreg A_EL1 3 0 15 0\n", 1, "Sysreg with 5 words after it, not 6"),
        ("Sysreg A_EL1 3 0 16 0 0\n", 1, "'3 0 16 0 0' is no encoding"),
        ("Sysreg A_EL1 3 0 x 0 0\n", 1, "'3 0 x 0 0' is no encoding"),
        ("\nField 3 NAME\n", 2, "Field outside of a Sysreg or SysregFields block"),
        ("EndSysreg\n", 1, "EndSysreg outside of a Sysreg or SysregFields block"),
        (f"{REGISTER}Field 3\n", 2, "Field with 1 words after it, not 2"),
        (f"{REGISTER}Field 64 X\n", 2, "'64' are no bits of a register"),
        (f"{REGISTER}Field 3:4 X\n", 2, "'3:4' are no bits of a register"),
        (f"{REGISTER}Field a:b X\n", 2, "'a:b' are no bits"),
        (f"{REGISTER}Field 7:4 X\nRes0 4:0\n", 3, "bits 4:0 are described twice"),
        (f"{REGISTER}Enum 7:4 X\nFour NAME\n", 3, "a value of an enumeration is `0b… NAME`, not 'Four NAME'"),
        (f"{REGISTER}Enum 7:4 X\n0b1 A\nEndSysreg\n", 4, "a value of an enumeration is `0b… NAME`, not 'EndSysreg'"),
        (f"{REGISTER}EndSysregFields\n", 2, "EndSysregFields in a Sysreg block"),
        (f"{REGISTER}SysregFields B\n", 2, "SysregFields within the Sysreg block A_EL1"),
        (f"{REGISTER}Prefix B\nPrefix C\n", 3, "a Prefix within a Prefix"),
        (f"{REGISTER}Fields B\nEndSysreg\n", 2, "there is no SysregFields block B"),
        (f"{REGISTER}Mapping A_EL1\nEndSysreg\n", 2, "A_EL1 has the fields of itself"),
    ],
)
def test_a_line_that_is_wrong_is_told(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        kernel_tree.read(a_tree(tmp_path, text))
    assert str(caught.value) == f"{tmp_path}/arch/arm64/tools/sysreg:{line}: {says}; see gen-sysreg.awk beside it"


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "it has no Sysreg block"), (REGISTER, "the Sysreg block of A_EL1 does not end")],
)
def test_a_file_that_ends_too_early(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        kernel_tree.read(a_tree(tmp_path, text))


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (a_tree(tmp_path) / "arch" / "arm64" / "tools" / "sysreg").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="it is not text"):
        kernel_tree.read(tmp_path)
