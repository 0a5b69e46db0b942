"""State, rules, comparison: golden pairs are the same, every sabotage is caught and named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import NoEvidence, UsageError
from harness.state import edit
from harness.state.description import Run
from harness.state.diff import Comparison, between, compare, cross_check
from harness.state.model import State
from harness.state.rules import BETWEEN, RULES, RUNNING, Kind, Rule, rule_for
from harness.state.stream import Device, Stream, StreamError, decode

Golden = Callable[[str], bytes]
SLOW = settings(max_examples=60)

MUST = [
    *(f"cpu0/{name}" for name in ("CNTHP_CTL_EL2", "CNTHV_CTL_EL2", "CNTP_CTL_EL0", "CNTV_CVAL_EL0", "CNTVOFF_EL2")),
    *(f"cpu0/{name}" for name in ("X0", "X30", "SP", "PC", "PSTATE", "V0", "V31", "ELR_EL1", "SPSR_EL2", "SP_EL0")),
    *(f"cpu0/{name}" for name in ("HCR_EL2", "SCTLR_EL1", "TTBR0_EL1", "APIAKEYLO_EL1", "ID_AA64MMFR1_EL1", "MDSCR_EL1")),
    "cpu1/VBAR_EL2",
    "cpu1/X7",
]


def _state(data: bytes) -> State:
    return State.from_stream(decode(data))


def _gdb(golden: Golden, tmp_path: Path) -> State:
    path = tmp_path / "gdb.json"
    path.write_bytes(golden("max-gdb.json"))
    return State.load(path)


def _only(comparison: Comparison) -> str:
    assert len(comparison.failures) == 1, comparison.sentence()
    return comparison.failures[0].name


@pytest.mark.parametrize("cpu", ["max", "cortex-a57"])
def test_restored_is_the_same(golden: Golden, cpu: str) -> None:
    comparison = compare(_state(golden(f"{cpu}-saved")), _state(golden(f"{cpu}-restored")))
    assert comparison.same, comparison.sentence()
    assert comparison.compared > 3000
    assert [each.name for each in comparison.differences] == ["pl031/tick_offset_vmstate"]


def test_names_of_the_two_views_agree(golden: Golden, tmp_path: Path) -> None:
    comparison = cross_check(_gdb(golden, tmp_path), _state(golden("max-saved")))
    assert comparison.same, comparison.sentence()
    assert comparison.compared >= 390


def test_no_register_has_two_values(golden: Golden) -> None:
    """A name that is taken gets a mark, so that nothing is dropped; QEMU itself calls only one pair of fields alike."""
    marked = {name.partition("/")[2] for name in _state(golden("max-saved")).registers if name.endswith("'")}
    assert marked == {"vfp/env.vfp.xregs[0]'"}


def test_fpscr_where_the_system_registers_lack_fpcr() -> None:
    run = Run("vfp/fpscr", 0, 4, "I", False, (0x01000010,))
    registers = State.from_stream(Stream(devices={"cpu": Device("cpu", 0, 22, (run,))})).registers
    assert dict(registers) == {"cpu0/FPSR": 0x10, "cpu0/FPCR": 0x01000000, "cpu0/vfp/fpscr": 0x01000010}


def test_the_armed_timers_are_seen(golden: Golden) -> None:
    registers = _state(golden("max-saved")).registers
    for name in ("CNTP_CTL_EL0", "CNTV_CTL_EL0", "CNTHP_CTL_EL2", "CNTHV_CTL_EL2"):
        assert registers[f"cpu0/{name}"] == 5
        assert registers[f"cpu1/{name}"] == 0
    assert registers["cpu0/V1"] == 0x300000 << 64 | 0x300000
    assert registers["cpu0/FPCR"] == 0


@pytest.mark.parametrize("timer", ["CNTHP_CTL_EL2", "CNTHV_CTL_EL2", "CNTP_CTL_EL0", "CNTV_CTL_EL0"])
def test_lost_istatus_is_named(golden: Golden, timer: str) -> None:
    data = golden("max-saved")
    comparison = compare(_state(data), _state(edit.set_register(data, f"cpu0/{timer}", 0, field="ISTATUS")))
    assert not comparison.same
    assert comparison.sentence() == f"{timer}.ISTATUS 1 -> 0 on cpu0"


@pytest.mark.parametrize("name", MUST)
def test_a_changed_register_is_named(golden: Golden, name: str) -> None:
    data = golden("max-saved")
    old = _state(data).registers[name]
    assert isinstance(old, int)
    comparison = compare(_state(data), _state(edit.set_register(data, name, old ^ 0x10)))
    assert comparison.failures[0].rule.kind is Kind.MUST_SURVIVE
    names = {each.name for each in comparison.failures}
    assert name in names and names <= {name, name.replace("/V", "/Z")}


@SLOW
@given(index=st.integers(0, 413), bit=st.integers(0, 63))
def test_every_system_register_is_compared(golden: Golden, index: int, bit: int) -> None:
    data = golden("max-saved")
    path = f"cpreg_vmstate_values[{index}]"
    old = decode(data).devices["cpu"].fields[path]
    assert isinstance(old, int)
    comparison = compare(_state(data), _state(edit.set_field(data, "cpu", path, old ^ 1 << bit)))
    if re.search(r"PM(CCNTR|EVCNTR\d)_EL0", comparison.differences[0].name):
        assert len(comparison.differences) == 1
    else:
        assert _only(comparison).startswith("cpu0/")


@SLOW
@given(
    field=st.sampled_from(
        ["enabled[3]", "pending[2]", "active[1]", "level[1]", "gicd_ctlr", "cpu[0].gicr_ienabler0", "cpu[1].icc_apr[8]"]
    ),
    bit=st.integers(0, 31),
)
def test_a_gic_bit_is_caught(golden: Golden, field: str, bit: int) -> None:
    data = golden("max-saved")
    old = decode(data).devices["arm_gicv3"].fields[field]
    assert isinstance(old, int)
    comparison = compare(_state(data), _state(edit.set_field(data, "arm_gicv3", field, old ^ 1 << bit)))
    assert _only(comparison) == f"gicv3/{field}"


@SLOW
@given(share=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_never_the_same(golden: Golden, share: float, bit: int) -> None:
    """Refused, or a difference; the numbers and versions of sections are the only bytes outside of all fields."""
    data = golden("max-saved")
    stream = decode(data)
    first = next(section.offset for section in stream.sections if section.kind == "full")
    offset = first + int(share * (stream.sections[-1].offset + stream.sections[-1].size - first))
    try:
        after = _state(edit.flip_byte(data, offset, 1 << bit))
    except StreamError:
        return
    runs = [run for device in stream.devices.values() for run in device.runs]
    if any(run.offset <= offset < run.offset + run.size * len(run.values) for run in runs):
        comparison = compare(_state(data), after)
        assert comparison.differences
        assert all(each.rule in RULES for each in comparison.differences if each.allowed)


def test_one_side_only_in_both_directions() -> None:
    some, more = State("gdb", {"cpu0/X0": 1}), State("gdb", {"cpu0/X0": 1, "cpu0/TCR2_EL1": 0})
    assert compare(some, more).sentence() == "TCR2_EL1 absent -> 0 on cpu0"
    assert compare(more, some).sentence() == "TCR2_EL1 0 -> absent on cpu0"
    rule = Rule("TCR2_EL1", Kind.REWRITTEN, "only newer versions have it", "test")
    assert compare(more, some, [rule]).same


def test_forward_only() -> None:
    early, late = State("guest", {"cpu0/CNTVCT_EL0": 5}), State("guest", {"cpu0/CNTVCT_EL0": 9})
    assert compare(early, late).same and compare(early, late).differences
    assert not compare(late, early).same
    assert not compare(early, State("guest", {"cpu0/CNTVCT_EL0": b""})).same


def test_fields_and_the_bits_between() -> None:
    before = State("gdb", {"cpu0/CNTHP_CTL_EL2": 0b101, "cpu1/ID_AA64MMFR1_EL1": 0x10000000})
    after = State("gdb", {"cpu0/CNTHP_CTL_EL2": 0b10001, "cpu1/ID_AA64MMFR1_EL1": 0})
    assert [each.sentence() for each in compare(before, after).differences] == [
        "CNTHP_CTL_EL2.ISTATUS 1 -> 0, CNTHP_CTL_EL2.[4:4] 0 -> 1 on cpu0",
        "ID_AA64MMFR1_EL1.XNX 1 -> 0 on cpu1",
    ]


def test_fields_are_those_of_the_layout_that_hcr_el2_chooses() -> None:
    e2h = 1 << 34
    for hcr, words in ((0, "CNTHCTL_EL2.EL1PCTEN 0 -> 1 on cpu0"), (e2h, "CNTHCTL_EL2.EL0PCTEN 0 -> 1 on cpu0")):
        before, after = ({"cpu0/HCR_EL2": hcr, "cpu0/CNTHCTL_EL2": value} for value in (0, 1))
        assert compare(State("gdb", before), State("gdb", after)).sentence() == words
    before, after = {"cpu0/HCR_EL2": 0, "cpu0/CNTHCTL_EL2": 0}, {"cpu0/HCR_EL2": e2h, "cpu0/CNTHCTL_EL2": 1}
    assert compare(State("gdb", before), State("gdb", after)).sentence() == (
        "CNTHCTL_EL2 0 -> 1 on cpu0; HCR_EL2.E2H 0 -> 1 on cpu0"
    )


def test_what_is_not_there_is_minus_one() -> None:
    before, after = State("gdb", {"cpu0/ID_AA64PFR0_EL1": 0xFF0011}), State("gdb", {"cpu0/ID_AA64PFR0_EL1": 0x0F0011})
    comparison = compare(before, after)
    assert comparison.sentence() == "ID_AA64PFR0_EL1.AdvSIMD -1 -> 0 on cpu0"
    assert comparison.differences[0].meaning() == "Advanced SIMD, -1 for none"


def test_failures_come_first_and_are_counted() -> None:
    before = State("stream", {f"cpu0/X{n}": 0 for n in range(8)} | {"globalstate/size": 7})
    after = State("stream", {f"cpu0/X{n}": 1 for n in range(8)} | {"globalstate/size": 8})
    comparison = compare(before, after)
    assert [each.allowed for each in comparison.differences] == [False] * 8 + [True]
    assert comparison.sentence().endswith("; and 5 more of 9 compared")


def test_nothing_compared_is_no_evidence() -> None:
    with pytest.raises(NoEvidence):
        compare(State("gdb", {}), State("gdb", {}))
    with pytest.raises(NoEvidence):
        compare(State("gdb", {"cpu0/X0": 1}), State("gdb", {"cpu1/X0": 1}))
    with pytest.raises(NoEvidence):
        cross_check(State("gdb", {"cpu0/X0": 1}), State("stream", {"cpu0/X1": 1}))


def test_different_views_are_not_compared() -> None:
    with pytest.raises(UsageError, match="cross_check"):
        compare(State("gdb", {"cpu0/X0": 1}), State("stream", {"cpu0/X0": 1}))


def test_no_rule_hides_a_timer_or_misses_its_reason() -> None:
    for rule in RULES:
        assert rule.reason and rule.source
        assert not any(re.fullmatch(rule.pattern, name.partition("/")[2]) for name in MUST)
    assert rule_for("cpu0/CNTHV_CTL_EL2").kind is Kind.MUST_SURVIVE
    assert rule_for("cpu12/PMCCNTR_EL0").kind is Kind.FORWARD
    assert rule_for("globalstate/runstate").kind is Kind.REWRITTEN


def test_saved_and_loaded(golden: Golden, tmp_path: Path) -> None:
    state = _state(golden("cortex-a57-saved"))
    state.save(tmp_path / "state.json")
    assert State.load(tmp_path / "state.json") == state


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"format": "x", "version": 1}', '{"format": "arm64 machine state", "version": 2, "view": "gdb"}'],
)
def test_not_a_saved_state(tmp_path: Path, text: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="not a saved state"):
        State.load(path)


def test_gdb_names() -> None:
    state = State.from_gdb(
        {0: {"x0": 1, "cpsr": 0x3C9, "z3": 5 << 128 | 7, "ID_PFR0": 2, "ID_AA64MMFR5_EL1_RESERVED": 0, "tpidr": 3}}
    )
    assert dict(state.registers) == {
        "cpu0/X0": 1,
        "cpu0/PSTATE": 0x3C9,
        "cpu0/Z3": 5 << 128 | 7,
        "cpu0/V3": 7,
        "cpu0/ID_PFR0_EL1": 2,
        "cpu0/S3_0_C0_C7_5": 0,
        "cpu0/TPIDR_EL0": 3,
    }


@pytest.mark.parametrize(
    "call",
    [
        lambda data: edit.set_register(data, "cpu0/NOT_A_REGISTER", 1),
        lambda data: edit.set_register(data, "cpu0/PC", 1, field="ISTATUS"),
        lambda data: edit.set_register(data, "cpu7/PC", 1),
        lambda data: edit.set_field(data, "no_device", "x", 1),
        lambda data: edit.set_field(data, "pl011", "no_field", 1),
        lambda data: edit.set_field(data, "globalstate", "runstate", b"x"),
        lambda data: edit.flip_byte(data, len(data)),
        lambda data: edit.cut(data, len(data)),
    ],
)
def test_edits_that_cannot_be(golden: Golden, call: Callable[[bytes], bytes]) -> None:
    with pytest.raises(UsageError):
        call(golden("cortex-a57-saved"))


def test_what_two_new_machines_have_is_told_by_name() -> None:
    source = State(
        "stream", {"cpu0/PIR_EL1": 1, "cpu0/ID_AA64MMFR2_EL1": 2 << 24, "cpu0/X0": 1, "cpu0/TCR_EL1": 1, "gicv3/a": 1}
    )
    destination = State(
        "stream", {"cpu0/0x6030000000140000": 3, "cpu0/ID_AA64MMFR2_EL1": 0, "cpu0/X0": 2, "cpu0/TCR_EL1": 2, "cpu1/PIR_EL1": 1}
    )
    assert between(source, destination) == (
        "; only the source has PIR_EL1; only the destination has KVM_REG_ARM_PSCI_VERSION; ID_AA64MMFR2_EL1.NV 2 -> 0"
    )
    assert between(source, source) == ""


def test_between_two_qemus_a_register_may_be_shown_by_one_only_but_never_change() -> None:
    gdb = [rule for rule in BETWEEN if rule.view in ("", "gdb")]
    before = State("gdb", {"cpu0/VBAR": 1, "cpu0/TTBR0_EL1": 1, "cpu0/ID_AA64MMFR1_EL1": 2, "cpu0/PC": 4})
    assert compare(
        before, State("gdb", {"cpu0/VBAR_EL1": 1, "cpu0/TTBR0_EL1": 1, "cpu0/ID_AA64MMFR1_EL1": 1, "cpu0/PC": 4}), gdb
    ).same
    changed = compare(before, State("gdb", {**before.registers, "cpu0/TTBR0_EL1": 2}), gdb)
    assert [failure.name for failure in changed.failures] == ["cpu0/TTBR0_EL1"]


def test_what_the_stream_has_of_the_id_registers_must_survive_between_kernels() -> None:
    stream = [rule for rule in BETWEEN if rule.view in ("", "stream")]
    before = State("stream", {"cpu0/ID_AA64MMFR1_EL1": 2, "cpu0/PIR_EL1": 1, "cpu0/SCTLR_EL1": 1})
    after = State("stream", {"cpu0/ID_AA64MMFR1_EL1": 1})
    assert {failure.name for failure in compare(before, after, stream).failures} == {"cpu0/ID_AA64MMFR1_EL1", "cpu0/SCTLR_EL1"}


def test_a_hypervisor_that_went_on_into_its_guest_shows_other_masks() -> None:
    """Once in hundreds of runs the first look was before a guest hypervisor entered its guest, and the second after it."""
    there, then = (State("gdb", {"cpu0/PAUTH_CMASK": mask}) for mask in (0xFFFF_FF80_0000_0000, 0xFFFF_FFF0_0000_0000))
    assert compare(there, then, RULES).failures
    assert compare(there, then, (*RUNNING, *RULES)).same
