"""The editor: each edit changes what it names and nothing else, and leaves a stream that can be decoded and edited again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.errors import UsageError
from harness.state import edit, sysregs
from harness.state.model import State
from harness.state.stream import StreamError, decode

Golden = Callable[[str], bytes]

NEW = "cpu1/0x6030000000160003"  # KVM_REG_ARM_VENDOR_HYP_BMAP_2, which no TCG has


def registers(data: bytes) -> dict[str, int | bytes]:
    return dict(State.from_stream(decode(data)).registers)


def ids(data: bytes, device: str) -> list[int]:
    fields = decode(data).devices[device].fields
    return [value for path, value in fields.items() if path.startswith("cpreg_vmstate_indexes[") and isinstance(value, int)]


@pytest.mark.parametrize("name", ["cpu0/TCR_EL1", "cpu1/ID_AA64MMFR1_EL1", "cpu0/cp15 c3,0,c0,0"])
def test_a_dropped_register_is_gone_and_nothing_else_is(golden: Golden, name: str) -> None:
    data = golden("max-saved")
    before, after = registers(data), registers(edited := edit.drop_register(data, name))
    length = f"{name.partition('/')[0]}/cpreg_vmstate_array_len"
    assert before.pop(name) is not None
    assert before.pop(length) == 414 and after.pop(length) == 413
    assert before == after
    assert len(data) - len(edited) == 16


@pytest.mark.parametrize("name", [NEW, "cpu0/0x1", "cpu0/0xffffffffffffffff", "cpu1/S3_0_C15_C2_3"])
def test_an_added_register_is_there_in_the_order_of_ids_and_nothing_else_changes(golden: Golden, name: str) -> None:
    data = golden("max-saved")
    edited = edit.add_register(data, name, 0x1234)
    before, after = registers(data), registers(edited)
    cpu = name.partition("/")[0]
    (added,) = {*after} - {*before}
    assert after.pop(added) == 0x1234 and added.startswith(f"{cpu}/")
    assert after.pop(f"{cpu}/cpreg_vmstate_array_len") == 415 and before.pop(f"{cpu}/cpreg_vmstate_array_len") == 414
    assert before == after
    numbers = ids(edited, {"cpu0": "cpu", "cpu1": "cpu#1"}[cpu])
    assert numbers == sorted(numbers) and len(numbers) == 415


def test_what_was_added_can_be_set_and_dropped_again(golden: Golden) -> None:
    data = golden("cortex-a57-saved")
    added = edit.add_register(data, "cpu0/TCR2_EL1", 7)
    assert registers(edit.set_register(added, "cpu0/TCR2_EL1", 8))["cpu0/TCR2_EL1"] == 8
    assert registers(edit.drop_register(added, "cpu0/TCR2_EL1")) == registers(data)


def test_a_dropped_register_put_back_gives_the_same_device_sections(golden: Golden) -> None:
    data = golden("max-saved")
    value = registers(data)["cpu0/SCTLR_EL1"]
    assert isinstance(value, int)
    again = edit.add_register(edit.drop_register(data, "cpu0/SCTLR_EL1"), "cpu0/SCTLR_EL1", value)
    sections = decode(data).sections
    end = sections[-1].offset + sections[-1].size + 5
    assert again[:end] == data[:end]


@pytest.mark.parametrize(("device", "old"), [("arm_gicv3", 1), ("cpu#1", 22), ("ram", 4)])
def test_a_version(golden: Golden, device: str, old: int) -> None:
    data = golden("max-saved")
    edited = edit.set_version(data, device, old + 1)
    versions = {each.key: each.version for each in decode(edited).sections}
    assert versions == {each.key: each.version for each in decode(data).sections} | {device: old + 1}
    assert registers(edited) == registers(data)
    assert registers(edit.set_version(edited, device, old)) == registers(data)


def test_a_renamed_section(golden: Golden) -> None:
    devices = decode(edit.rename_section(golden("max-saved"), "arm_gicv3_its", "other")).devices
    assert devices["other"].fields == decode(golden("max-saved")).devices["arm_gicv3_its"].fields
    assert "arm_gicv3_its" not in devices


def test_a_dropped_section(golden: Golden) -> None:
    data = golden("max-saved")
    left = decode(edit.drop_section(data, "pl031")).devices
    assert {**decode(data).devices}.keys() - {*left} == {"pl031"}


def test_a_machine_type_of_another_length(golden: Golden) -> None:
    data = golden("max-saved")
    edited = edit.set_machine(data, "virt-9.2")
    assert decode(edited).machine == "virt-9.2"
    assert edit.set_machine(edited, "virt-11.1") == data


def test_without_a_description_nothing_is_edited(golden: Golden) -> None:
    data = golden("max-saved")
    with pytest.raises((UsageError, StreamError)):
        edit.drop_register(edit.cut(data, len(data) - 1), "cpu0/TCR_EL1")


@pytest.mark.parametrize(
    "call",
    [
        lambda data: edit.drop_register(data, "cpu0/PC"),
        lambda data: edit.drop_register(data, "cpu0/V3"),
        lambda data: edit.drop_register(data, "cpu0/NOT_A_REGISTER"),
        lambda data: edit.add_register(data, "cpu0/NOT_A_REGISTER", 1),
        lambda data: edit.add_register(data, "cpu0/0xfoo", 1),
        lambda data: edit.add_register(data, "cpu0/TCR_EL1", 1),
        lambda data: edit.add_register(data, "cpu7/TCR2_EL1", 1),
        lambda data: edit.set_version(data, "no_device", 1),
        lambda data: edit.drop_section(data, "ram"),
        lambda data: edit.drop_section(data, "cpu#7"),
        lambda data: edit.rename_section(data, "no_device", "x"),
    ],
)
def test_edits_that_cannot_be(golden: Golden, call: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UsageError):
        call(golden("cortex-a57-saved"))


@pytest.mark.parametrize("name", ["TCR_EL1", "CNTHP_CTL_EL2", "PMEVTYPER3_EL0", "S3_0_C15_C2_3", "0x4020000000110000"])
def test_ids_of_names_are_the_inverse_of_names_of_ids(name: str) -> None:
    regid = sysregs.id_of_name(name)
    assert regid is not None and (sysregs.name_of_id(regid) == name or regid == int(name, 16))
