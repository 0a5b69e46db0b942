"""A stream of 1 GiB: how fast `harness show` and `harness diff` go through it, and how much memory that takes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.deadline import Deadline
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.qemu import migration
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Machine, Workshop
from harness.qemu.spec import MachineSpec, MemoryFile, Start

_SAVE_SECONDS = 120.0
_CHUNK = 1 << 20


def measure(mib: int) -> dict[str, float]:
    """Show a stream of a machine whose memory is full, and compare it with itself; the programs' time and greatest memory."""
    with tempfile.TemporaryDirectory() as directory:
        stream = _stream(Path(directory), mib)
        megabytes = stream.stat().st_size / 1e6
        show_s, show_mib = _run("show", str(stream), "ID_AA64MMFR1")
        diff_s, diff_mib = _run("diff", str(stream), str(stream))
    return {
        "stream_mb": megabytes,
        "show_s": show_s,
        "show_mb_per_s": megabytes / show_s,
        "show_peak_mib": show_mib,
        "diff_s": diff_s,
        "diff_mb_per_s": 2 * megabytes / diff_s,
        "diff_peak_mib": diff_mib,
    }


def _stream(place: Path, mib: int) -> Path:
    """Save a machine whose every page holds something."""
    memory, stream = place / "memory", place / "stream"
    chunk = os.urandom(_CHUNK)
    with memory.open("wb") as file:
        for _ in range(mib):
            file.write(chunk)
    spec = MachineSpec(guests.find().path("timers"), memory_mib=mib, memory_file=MemoryFile(memory, private=True))
    with LocalHost() as desk, Hub() as hub:
        shop = Workshop(desk, desk, hub, TargetCache())
        with Machine(spec, assets_qemu.resolve(None), shop, Timeline(), side="source", start=Start.PAUSED) as machine:
            migration.enable(machine)
            migration.send(machine, f"file:{stream}")
            migration.saved(machine, Deadline.after(_SAVE_SECONDS))
    return stream


def _run(*words: str) -> tuple[float, float]:
    """Run a command of the harness; return its seconds, and its greatest memory in MiB."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "harness.cli", *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    if code := os.waitstatus_to_exitcode(status):
        raise RuntimeError(f"harness {words[0]} ended with {code}")
    return seconds, usage.ru_maxrss / 1024
