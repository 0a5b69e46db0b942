"""Instructions that a vCPU is made to execute: each once, whatever else the stub has to report meanwhile."""

from __future__ import annotations

from typing import cast

import pytest

from harness.errors import HarnessBug
from harness.lab.rearm import _step
from harness.qemu.gdb import GdbControl


class Stub:
    """Two vCPUs; the first steps do not go where they should."""

    PC = "pc"

    def __init__(self, *first: int) -> None:
        self.pc = 0x1000
        self.first = list(first)

    def step(self) -> None:
        self.pc += self.first.pop(0) if self.first else 4

    def register(self, _: str) -> int:
        return self.pc


def test_a_step_that_another_vcpu_ended_is_made_again() -> None:
    stub = Stub(0)
    _step(cast(GdbControl, stub), 0x1000)
    assert stub.pc == 0x1004


@pytest.mark.parametrize("first", [(0,) * 16, (0x200,), (0, -8)], ids=["it never moves", "an exception", "back"])
def test_a_vcpu_that_goes_elsewhere_is_an_error(first: tuple[int, ...]) -> None:
    with pytest.raises(HarnessBug, match="instead of 0x1004"):
        _step(cast(GdbControl, Stub(*first)), 0x1000)
