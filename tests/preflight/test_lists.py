"""Registers that only one of two kernels has are told by name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.errors import StateDiffers, Unsupported
from harness.preflight.facts import HostFacts, LevelFacts
from harness.preflight.lists import same_list

REGISTERS = {"MIDR_EL1": 0x410FD490, "X0": 0, "PMMIR_EL1": 1}


def host(kernel: str, registers: dict[str, int], *, interface: tuple[str, ...] = ("ICC_PMR_EL1",)) -> HostFacts:
    level = LevelFacts(("pmu",), registers, {}, dict.fromkeys(interface, 0))
    return HostFacts("lab", kernel, 62_500_000, 4096, 48, {"pmu": True}, {"el1": (level,)})


def test_one_list_is_counted() -> None:
    assert same_list(host("6.12.117+deb13", REGISTERS), host("7.3.4", REGISTERS), "el1") == 4


def test_what_comes_and_goes_is_named() -> None:
    older = host("6.12.117+deb13", {**REGISTERS, "PIR_EL1": 0, "TCR2_EL1": 0}, interface=("ICC_PMR_EL1", "ICH_VTR_EL2"))
    newer = host("7.3.4", {**REGISTERS, "KVM_VENDOR_HYP_BMAP_2": 0})
    says = (
        r"^only 6\.12\.117, the source, has ICH_VTR_EL2, PIR_EL1, TCR2_EL1; "
        r"only 7\.3\.4, the destination, has KVM_VENDOR_HYP_BMAP_2$"
    )
    with pytest.raises(StateDiffers, match=says) as raised:
        same_list(older, newer, "el1")
    assert raised.value.suspect == "kernel (L0)"


def test_other_cpus_and_other_features_are_not_compared() -> None:
    with pytest.raises(Unsupported, match="different CPUs"):
        same_list(host("7.3.4", REGISTERS), host("7.3.4", {**REGISTERS, "MIDR_EL1": 1}), "el1")
    without = replace(host("7.3.4", REGISTERS), levels={})
    with pytest.raises(Unsupported, match="makes no vCPUs at el1 with pmu"):
        same_list(host("7.3.4", REGISTERS), without, "el1")
