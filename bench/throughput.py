"""How fast streams are decoded and compared."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from bench import floor
from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.state.diff import compare
from harness.state.model import State
from harness.state.stream import decode


def measure(repeats: int) -> dict[str, float]:
    """Decode a real stream and compare it with itself, `repeats` times each; medians."""
    with tempfile.TemporaryDirectory() as directory:
        floor.save_and_restore(assets_qemu.resolve(None), guests.find().path("timers"), Path(directory))
        path = Path(directory) / "stream"
        megabytes = path.stat().st_size / 1e6
        decoding = _median_ms(lambda: State.from_stream(decode(path)), repeats)
        one, other = (State.from_stream(decode(path)) for _ in range(2))
        comparing = _median_ms(lambda: compare(one, other), repeats)
    return {
        "stream_mb": megabytes,
        "names": len(one.registers),
        "decode_ms": decoding,
        "decode_mb_per_s": 1000 * megabytes / decoding,
        "diff_ms": comparing,
        "decode_and_diff_mb_per_s": 1000 * 2 * megabytes / (2 * decoding + comparing),
    }


def _median_ms(function: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        function()
        taken.append(time.perf_counter() - began)
    return 1000 * median(taken)
