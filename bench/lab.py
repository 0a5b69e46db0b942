"""How long a lab takes from nothing to its first output over SSH, cold and warm; and whether all of many come up."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median

from harness.assets import lab as lab_assets
from harness.assets import qemu as assets_qemu
from harness.assets.progress import PlainProgress
from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.lab.boot import LabSpec
from harness.lab.host import Lab
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop

_COMMAND_SECONDS = 60.0


@dataclass(frozen=True)
class _Bench:
    workshop: Workshop
    spec: LabSpec

    def first_output(self, *, warm: bool) -> float:
        """Return the seconds to the first output. Raises HarnessError where it does not come up, RuntimeError where it lies."""
        qemu = assets_qemu.resolve(None)
        began = time.perf_counter()
        with Lab(self.spec, qemu, self.workshop, Timeline(), PlainProgress(), warm=warm) as lab:
            done = lab.run(["echo", "up"], Deadline.after(_COMMAND_SECONDS))
            seconds = time.perf_counter() - began
        if done.stdout != b"up\n":
            raise RuntimeError(f"the lab answered {done}")
        return seconds


def cold_and_warm(pairs: int) -> dict[str, float]:
    """Return seconds to the first command's output, cold and warm taking turns; medians."""
    cold, warm = [], []
    with _bench() as bench:
        bench.first_output(warm=True)  # makes the template where there is none
        for _ in range(pairs):
            cold.append(bench.first_output(warm=False))
            warm.append(bench.first_output(warm=True))
    return {
        "pairs": pairs,
        "cold_s": median(cold),
        "warm_s": median(warm),
        "warm_worst_s": max(warm),
        "cold_over_warm": median(cold) / median(warm),
    }


def in_a_row(starts: int) -> dict[str, object]:
    """Start warm labs one after the other, and count those that did not answer."""
    taken: list[float] = []
    failed: list[str] = []
    with _bench() as bench:
        for _ in range(starts):
            try:
                taken.append(bench.first_output(warm=True))
            except HarnessError as error:
                failed.append(str(error))
    if not taken:
        raise RuntimeError(f"no lab came up: {failed[0]}")
    return {
        "starts": starts,
        "failed": len(failed),
        "first_failure": failed[0] if failed else "none",
        "median_s": median(taken),
        "worst_s": max(taken),
    }


@contextmanager
def _bench() -> Iterator[_Bench]:
    with LocalHost() as desk, Hub() as hub:
        yield _Bench(Workshop(desk, desk, hub, TargetCache()), LabSpec.of(lab_assets.resolve()))


@contextmanager
def bench_lab() -> Iterator[tuple[Lab, Workshop]]:
    """Give a warm lab, and what makes machines in it."""
    with _bench() as bench:
        shop = bench.workshop
        with Lab(bench.spec, assets_qemu.resolve(None), shop, Timeline(), PlainProgress()) as lab:
            yield lab, replace(shop, host=lab, targets=TargetCache())
