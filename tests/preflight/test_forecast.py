"""Forecasts from facts that are made up, and what is said where another thing came."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.errors import UsageError
from harness.kvm.sample import Taken
from harness.plugin.carry import Outcome, disagreement
from harness.preflight import facts
from harness.preflight.facts import HostFacts, LevelFacts
from harness.preflight.forecast import Forecast, forecast
from harness.preflight.survey import choice_of

XNX, NV, PSCI = "ID_AA64MMFR1_EL1", "ID_AA64MMFR2_EL1", "KVM_PSCI_VERSION"
REGISTERS = {XNX: 0x1000_0000, NV: 0, PSCI: 0x10003, "TPIDR_EL1": 0, "KVM_SVE_VLS": 0b1011}
# XNX takes 0, which hides TPIDR_EL1; NV takes 2 and holds 0.
LEVEL = LevelFacts(
    ("pmu",),
    REGISTERS,
    {XNX: {28: {0: Taken(0, ("TPIDR_EL1",))}}, NV: {24: {2: Taken(0)}}},
    {"ICC_CTLR_EL1": 0x400, "ICC_AP1R0_EL1": 0},
)
NO_VM = Outcome(hindered=frozenset({"vm"}), why="EINVAL")
HOST = HostFacts("there", "7.3", 62_500_000, 4096, 48, {"pmu": True, "sve": False}, {"el1": (LEVEL,)})


def host(level: LevelFacts = LEVEL, **registers: int | None) -> HostFacts:
    held = {name: value for name, value in {**level.registers, **registers}.items() if value is not None}
    return replace(HOST, levels={"el1": (replace(level, registers=held),)})


def test_a_host_takes_its_own_guests() -> None:
    assert forecast(HOST, HOST, "el1") == Forecast("el1")
    assert forecast(HOST, HOST, "el1").sentence() == "will succeed"


@pytest.mark.parametrize(
    ("registers", "sentence"),
    [
        ({XNX: 0}, "will fail: TPIDR_EL1 is hidden there from a guest with such ID registers"),
        ({XNX: 0, "TPIDR_EL1": None}, "will succeed"),
        ({XNX: 0x2000_0000}, "will fail: ID_AA64MMFR1_EL1.XNX 0x1 -> 0x2, which it does not take"),
        ({NV: 2 << 24}, "will succeed and change ID_AA64MMFR2_EL1.NV 0x2 -> 0x0"),
        ({PSCI: 0x10001}, "will fail: KVM_PSCI_VERSION 0x10003 -> 0x10001, which it does not take"),
        ({"PIR_EL1": 0}, "will fail: PIR_EL1 is unknown there"),
        ({"TPIDR_EL1": 7}, "will succeed"),
        ({"TPIDR_EL1": None}, "will succeed (only the destination has TPIDR_EL1)"),
        ({"KVM_SVE_VLS": 0b11}, "will succeed"),
        (
            {"KVM_SVE_VLS": 0b1111},
            "will fail: KVM_SVE_VLS: the guest has vectors of 128, 256, 384, 512 bits, the destination of",
        ),
        ({"KVM_SVE_VLS": 0b11011}, "will fail: KVM_SVE_VLS"),
    ],
)
def test_registers_decide(registers: dict[str, int | None], sentence: str) -> None:
    said = forecast(host(LEVEL, **registers), HOST, "el1").sentence()
    assert said.startswith(sentence)
    assert said == sentence or sentence.startswith("will fail: KVM_SVE_VLS")


def test_features_addresses_levels_and_the_gic_decide() -> None:
    with_sve = replace(LEVEL, features=("pmu", "sve"))
    assert forecast(host(with_sve), HOST, "el1").hindered == {"sve": "the destination offers no sve for vCPUs"}
    poor = replace(HOST, offered={"pmu": True, "sve": True}, levels={"el1": (with_sve, LEVEL)})
    assert not forecast(HOST, poor, "el1").fails  # a guest without SVE stays without, wherever it goes
    assert "36 bits" in forecast(HOST, replace(HOST, ipa_bits=36), "el1").sentence()
    assert forecast(HOST, replace(HOST, levels={}), "el1").fails
    narrow = replace(LEVEL, interface={"ICC_CTLR_EL1": 0x300})
    refused = forecast(HOST, host(narrow), "el1").refused
    assert refused.keys() == {"ICC_CTLR_EL1", "ICC_AP1R0_EL1"}


def test_another_counter_is_a_change() -> None:
    said = forecast(HOST, replace(HOST, counter_hz=1_000_000_000), "el1")
    assert (said.fails, list(said.changed)) == (False, ["CNTFRQ_EL0"])


@pytest.mark.parametrize(
    ("foretold", "came", "says"),
    [
        (Forecast("el1"), Outcome(refused=frozenset({NV})), "failed: False was foretold, True came"),
        (Forecast("el1", refused={NV: ""}), Outcome(), "failed: True was foretold, False came"),
        (
            Forecast("el1", refused={NV: ""}),
            Outcome(refused=frozenset({NV, XNX})),
            f"refused: no more was foretold, {XNX} came",
        ),
        (Forecast("el1", refused={NV: ""}), NO_VM, "hindered: no more was foretold, vm came; EINVAL"),
        (Forecast("el1", hindered={"sve": ""}), NO_VM, "hindered: sve was foretold, vm came; EINVAL"),
        (Forecast("el1", hindered={"sve": ""}), Outcome(refused=frozenset({NV})), "hindered: sve was foretold, no more came"),
        (Forecast("el1"), NO_VM, "failed: False was foretold, True came; EINVAL"),
        (Forecast("el1", changed={NV: ""}), Outcome(), f"changed: {NV} was foretold, no more came"),
        (Forecast("el1"), Outcome(lacking=frozenset({XNX})), f"only at the destination: no more was foretold, {XNX} came"),
    ],
)
def test_a_forecast_that_does_not_come_true_is_told(foretold: Forecast, came: Outcome, says: str) -> None:
    assert says in disagreement(foretold, came)


@pytest.mark.parametrize(
    ("foretold", "came"),
    [
        (Forecast("el1"), Outcome()),
        (Forecast("el1", refused={NV: ""}), Outcome(refused=frozenset({NV}))),
        (Forecast("el1", hindered={"vm": "no sve"}), NO_VM),
        (
            Forecast("el1", changed={NV: "", "CNTFRQ_EL0": ""}, lacking=(XNX,)),
            Outcome(changed=frozenset({NV}), lacking=frozenset({XNX})),
        ),
    ],
)
def test_one_that_does_says_nothing(foretold: Forecast, came: Outcome) -> None:
    assert disagreement(foretold, came) == ""


@pytest.mark.parametrize(
    ("came", "sentence"),
    [
        (Outcome(), "succeeded"),
        (NO_VM, "failed: no VM for want of vm (EINVAL)"),
        (Outcome(refused=frozenset({NV, XNX})), f"failed: {XNX}, {NV} refused"),
        (
            Outcome(changed=frozenset({NV}), lacking=frozenset({XNX})),
            f"succeeded and changed {NV} (only the destination has {XNX})",
        ),
    ],
)
def test_an_outcome_in_words(came: Outcome, sentence: str) -> None:
    assert came.sentence() == sentence


def test_facts_come_back_from_their_file(tmp_path: Path) -> None:
    facts.save(HOST, tmp_path / "host.json")
    assert facts.load(tmp_path / "host.json") == HOST
    assert [path.name for path in tmp_path.iterdir()] == ["host.json"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "no facts of a host"),
        ('{"format": "other"}', "no facts of a host"),
        ('{"format": "armvirt-host-facts", "version": 9}', "version 9, not 1"),
        ('{"format": "armvirt-host-facts", "version": 1}', "damaged"),
        ('{"format": "armvirt-host-facts", "version": 1, "levels": {"el1": [{}]}}', "damaged"),
    ],
)
def test_a_file_that_holds_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "host.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=says) as caught:
        facts.load(path)
    assert "\n" not in str(caught.value)


def test_hosts_by_name() -> None:
    choice = choice_of("lab:max,lpa2=off@trixie")
    assert (choice.platform, choice.lab_cpu, choice.lab_kernel) == ("lab", "max,lpa2=off", "trixie")
    assert choice_of("lab") == choice_of("lab:neoverse-n2@x").__class__("lab")
    for wrong in ("lab:", "altra", "missing.json"):
        with pytest.raises(UsageError):
            choice_of(wrong)


def test_a_folder_that_is_not_there_is_told_before_a_host_is_asked(tmp_path: Path) -> None:
    run = CliRunner().invoke(main, ["preflight", "ssh:nowhere", f"--save={tmp_path / 'none' / 'facts'}"])
    assert run.exit_code == 2
    assert run.stderr.startswith(f"harness: {tmp_path / 'none'}: there is no such folder; make it")
