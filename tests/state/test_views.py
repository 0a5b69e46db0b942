"""A gdb stub's names where they mean registers of EL2."""

from __future__ import annotations

import pytest

from harness.state.diff import cross_check
from harness.state.model import State
from harness.state.views import unredirected

E2H, EL2H, EL1H = 1 << 34, 0x3C9, 0x3C5
SEEN = {"cpu0/SCTLR_EL1": 5, "cpu0/CPACR_EL1": 6, "cpu0/SCTLR_EL2": 5, "cpu0/X0": 1, "gicv3/ctlr": 7}


def gdb(hcr: int, pstate: int) -> State:
    return State("gdb", {**SEEN, "cpu0/HCR_EL2": hcr, "cpu0/PSTATE": pstate})


def test_at_el2_with_e2h_el1s_names_mean_el2s_registers() -> None:
    seen = unredirected(gdb(E2H, EL2H)).registers
    assert "cpu0/SCTLR_EL1" not in seen and "cpu0/CPACR_EL1" not in seen
    assert (seen["cpu0/SCTLR_EL2"], seen["cpu0/CPTR_EL2"], seen["cpu0/X0"], seen["gicv3/ctlr"]) == (5, 6, 1, 7)


@pytest.mark.parametrize(("hcr", "pstate"), [(0, EL2H), (E2H, EL1H)])
def test_elsewhere_names_are_what_they_say(hcr: int, pstate: int) -> None:
    assert unredirected(gdb(hcr, pstate)) == gdb(hcr, pstate)


def test_a_register_that_the_stream_has_otherwise_is_found() -> None:
    stream = State("stream", {"cpu0/SCTLR_EL1": 9, "cpu0/SCTLR_EL2": 4, "cpu0/CPTR_EL2": 6, "cpu0/X0": 1})
    comparison = cross_check(unredirected(gdb(E2H, EL2H)), stream)
    assert [each.name for each in comparison.failures] == ["cpu0/SCTLR_EL2"] and comparison.compared == 3
