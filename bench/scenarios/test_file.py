"""One case of scenarios/timers again and again, and its floor before it each time."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from bench import floor
from harness.assets import qemu as assets_qemu
from harness.guest import timers
from harness.guest.payload import Guest
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Bench
from scenarios.timers.test_timers import test_each_interrupt_comes_once_and_in_time as scenario

REPEATS = Matrix(
    {
        "repeat": tuple(range(int(os.environ.get("BENCH_REPEATS", "3")))),
        "lifecycle": ("file",),
        "timer": ("cntv",),
        "instant": ("expired-masked",),
        "level": ("el1",),
        "by": ("cval",),
        "vcpus": (1,),
        "cpu": (floor.CPU,),
    }
)


@pytest.mark.matrix(REPEATS)
def test_floor(case: Params, bench: Bench, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    """The same QEMU steps, the same guest, nothing else."""
    asked = {"vcpus": case.vcpus, "timer": case.timer, "instant": case.instant, "by": case.by}
    asked |= timers.times(case.instant, timers.ahead_us(0))
    assert " ".join(f"{key}={value}" for key, value in asked.items()) == floor.APPEND, "both boot the same guest"
    seconds = floor.save_and_restore(assets_qemu.resolve(), bench.payloads.path("timers"), tmp_path)
    record_property("seconds", seconds)


@pytest.mark.matrix(REPEATS)
def test_harness(
    case: Params, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    """The scenario of scenarios/timers as it is."""
    scenario(case, boot, put_through, counts)
