"""The floor does what it is measured for: the figures beside it mean nothing where it does not."""

from __future__ import annotations

from pathlib import Path

from bench import floor
from harness.assets import guests
from harness.assets import qemu as assets_qemu


def test_the_floor_saves_and_restores(tmp_path: Path) -> None:
    seconds = floor.save_and_restore(assets_qemu.resolve(None), guests.find().path("timers"), tmp_path)
    assert seconds > 0
    assert (tmp_path / "stream").read_bytes().startswith(b"QEVM")
