"""How long something wanted a CPU, as the kernel tells it, or does not."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.host import pressure

TEXT = """some avg10=99.17 avg60=98.98 avg300=97.86 total=4187911340
full avg10=0.00 avg60=0.00 avg300=0.00 total=17
"""


@pytest.mark.parametrize(("text", "seconds"), [(TEXT, 4187.91134), ("", 0.0), ("full total=17\n", 0.0)])
def test_what_is_told(text: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pressure, "_CPU", tmp_path / "cpu")
    assert pressure.stalled() == 0.0, "a kernel without it"
    (tmp_path / "cpu").write_text(text)
    assert pressure.stalled() == seconds
