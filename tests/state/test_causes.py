"""Causes: what real QEMUs said, and what two states add; a text that nobody knows stays unknown."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.state import edit
from harness.state.causes import Cause, Finding, Said, classify
from harness.state.model import State
from harness.state.stream import decode

CASES: list[Mapping[str, Any]] = tomllib.loads((Path(__file__).parent / "causes.toml").read_text("ascii"))["case"]
REFUSED = Said(
    "destination",
    stderr="error while loading state for instance 0x0 of device 'cpu'\nload of migration failed: Operation not permitted\n",
    exit_status=1,
)


def said(case: Mapping[str, Any], side: str) -> Said | None:
    return Said(side, **case[side]) if side in case else None


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['qemu']}: {case['what']}")
def test_words_of_real_qemus(case: Mapping[str, Any]) -> None:
    found = classify(said(case, "source"), said(case, "destination"))
    assert (found.cause, found.culprit) == (case["cause"], case["culprit"])
    assert bool(found.text) == (found.cause is Cause.UNKNOWN)


def test_the_cases_are_of_all_three_qemus_and_nearly_all_causes() -> None:
    assert {case["qemu"] for case in CASES} == {"7.2.22", "10.0.13", "11.1.3"}
    by_words_alone = {*Cause} - {Cause.TIMEOUT, Cause.REGISTER_REFUSED}
    assert {case["cause"] for case in CASES} == by_words_alone


@pytest.mark.parametrize(
    ("source", "destination", "words"),
    [
        (None, Said("destination", stderr="something new\n", exit_status=1), "something new"),
        (Said("source", "failed", "Sibling indicated error 1"), Said("destination"), "Sibling indicated error 1"),
        (Said("source", "completed"), Said("destination", exit_status=1), ""),
        # The source's lost connection is the consequence of what nobody knows.
        (
            Said("source", "failed", "Unable to write to socket: Broken pipe"),
            Said("destination", stderr="something new\n", exit_status=1),
            "something new; Unable to write to socket: Broken pipe",
        ),
    ],
)
def test_unknown_words_are_not_guessed_at(source: Said | None, destination: Said, words: str) -> None:
    assert classify(source, destination) == Finding(Cause.UNKNOWN, text=words)


def test_warnings_are_no_reasons() -> None:
    warned = Said("destination", stderr='qemu-system-aarch64: warning: Unknown ramblock "x"\n')
    assert classify(None, warned).cause is Cause.UNKNOWN


def test_kvm_names_registers() -> None:
    words = (
        "handle_cpreg_only_in_incoming_stream: system register op0:3 op1:0 crn:9 crm:14 op2:6 in the incoming stream but unknown "
        "on the destination: fail migration\nFailed to put registers after init: Invalid argument\n"
    )
    assert classify(None, Said("destination", stderr=words)) == Finding(Cause.REGISTER_MISSING, "PMMIR_EL1")
    refused = "Could not set register system register op0:3 op1:0 crn:0 crm:7 op2:2 to 12 (is 13)\nCould not set register fw reg 0 to 1 (is 2)\n"
    assert classify(None, Said("destination", stderr=refused)) == Finding(Cause.REGISTER_REFUSED, "ID_AA64MMFR2_EL1, fw reg 0")


def test_a_guest_that_may_not_go_is_blocked() -> None:
    source = Said("source", error="Live migration disabled because KVM nested virt is enabled")
    assert classify(source, None) == Finding(Cause.BLOCKED, "KVM nested virt is enabled")


def states(golden: Callable[[str], bytes], change: Callable[[bytes], bytes]) -> tuple[State, State]:
    data = golden("max-saved")
    return State.from_stream(decode(data)), State.from_stream(decode(change(data)))


def test_states_name_a_register_that_the_destination_lacks(golden: Callable[[str], bytes]) -> None:
    before, there = states(golden, lambda data: edit.drop_register(data, "cpu0/TCR2_EL1"))
    missing = Finding(Cause.REGISTER_MISSING, "TCR2_EL1")
    assert classify(None, REFUSED, before, there) == missing
    nameless = Said(
        "destination", stderr="Invalid value 414 expecting positive value <= 413\nFailed to load cpu:cpreg_vmstate_array_len\n"
    )
    assert classify(None, nameless) == Finding(Cause.REGISTER_MISSING)
    assert classify(None, nameless, before, there) == missing


def test_states_name_a_register_whose_value_is_refused(golden: Callable[[str], bytes]) -> None:
    before, there = states(golden, lambda data: edit.set_register(data, "cpu0/ID_AA64MMFR1_EL1", 1))
    assert classify(None, REFUSED, before, there) == Finding(Cause.REGISTER_REFUSED, "ID_AA64MMFR1_EL1")


def test_states_that_are_alike_or_differ_in_what_can_be_written_tell_nothing(golden: Callable[[str], bytes]) -> None:
    vague = Finding(Cause.DEVICE_SECTION, "cpu")
    before, there = states(golden, lambda data: edit.set_register(data, "cpu0/TCR_EL1", 1))
    assert classify(None, REFUSED) == classify(None, REFUSED, before, before) == classify(None, REFUSED, before, there) == vague


def test_states_do_not_change_what_is_no_matter_of_registers(golden: Callable[[str], bytes]) -> None:
    before, there = states(golden, lambda data: edit.drop_register(data, "cpu0/TCR2_EL1"))
    ram = Said("destination", stderr='Unknown ramblock "mach-virt.tag", cannot accept migration\n')
    assert classify(None, ram, before, there) == Finding(Cause.RAM_BLOCK, "mach-virt.tag")


def test_a_long_list_is_counted() -> None:
    names = "".join(f"only_in_incoming_stream: R{n} (0x{n}) in the incoming stream but unknown\n" for n in range(6))
    assert classify(None, Said("destination", stderr=names)).culprit == "R0, R1, R2, R3 and 2 more"
