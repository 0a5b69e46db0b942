from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.assets import elf
from tests.assets import lab_samples as samples


def test_what_a_program_asks_for() -> None:
    assert elf.needed(samples.elf(["libm.so.6", "libc.so.6"])) == ("libm.so.6", "libc.so.6")
    assert elf.needed(samples.elf()) == ()
    assert elf.machine(samples.elf()) == elf.AARCH64
    assert elf.machine(b"#!/bin/sh") is None


def test_a_real_program() -> None:
    data = Path(sys.executable).resolve().read_bytes()
    assert any(name.startswith("libc.so") for name in elf.needed(data))


@pytest.mark.parametrize("length", [60, 70, 180])
def test_a_file_that_is_cut_short(length: int) -> None:
    with pytest.raises(ValueError, match="cut short"):
        elf.needed(samples.elf(["libc.so.6"])[:length])


def test_libraries_of_libraries_count_and_those_that_lack_are_named(tmp_path: Path) -> None:
    there = {"a.so": tmp_path / "a", "b.so": tmp_path / "b", "unused.so": tmp_path / "u"}
    there["a.so"].write_bytes(samples.elf(["b.so", "gone.so"]))
    there["b.so"].write_bytes(samples.elf(["a.so"]))
    found, lacking = elf.closure([samples.elf(["a.so", "far.so"])], there)
    assert found == {"a.so": tmp_path / "a", "b.so": tmp_path / "b"}
    assert lacking == ("far.so", "gone.so")


def test_functions_are_bound_when_they_are_called_and_nothing_else_changes() -> None:
    eager = samples.elf(["libc.so.6"], flags=((30, 8 | 4), (0x6FFFFFFB, 0x08000001)))
    assert elf.lazy(eager) == samples.elf(["libc.so.6"], flags=((30, 4), (0x6FFFFFFB, 0x08000000)), relro=0)
    already = samples.elf(["libc.so.6"], flags=((30, 4),))
    assert elf.lazy(already) == already
    assert elf.lazy(samples.elf()) == samples.elf()
    with pytest.raises(ValueError, match="cut short"):
        elf.lazy(eager[:70])
