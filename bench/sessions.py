"""Pytest sessions as subprocesses, with the times of all phases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Session:
    """What the clock wrote down of one session. All times in seconds."""

    began: float
    ended: float
    phases: list[Mapping[str, Any]]

    def cases(self, word: str = "") -> dict[str, float]:
        """Return setup, call and teardown together, of each test with the word in its id."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for phase in self.phases:
            if word in phase["nodeid"]:
                seconds[phase["nodeid"]] += phase["stop"] - phase["start"]
        return dict(seconds)

    @property
    def span(self) -> float:
        """From the beginning of the first phase to the end of the last: without start-up and collection."""
        return max(float(phase["stop"]) for phase in self.phases) - self._first

    @property
    def start_up(self) -> float:
        """From the beginning to the first phase: collection, and workers' start."""
        return self._first - self.began

    @property
    def _first(self) -> float:
        return min(float(phase["start"]) for phase in self.phases)


def run(scratch: Path, *words: str, **environment: str) -> Session:
    """Run pytest with these arguments. Raises RuntimeError with its last lines unless it ran cases and all went well."""
    clock = scratch / "clock.json"
    clock.unlink(missing_ok=True)
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "bench.clock", "--clock", str(clock), "--out", str(scratch / "out")]
    argv += ["-p", "no:cacheprovider", "--basetemp", str(scratch / "pytest"), *words]
    done = subprocess.run(argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    session = Session(**json.loads(clock.read_text("utf-8")))
    if not session.phases:
        raise RuntimeError("pytest ran nothing")
    return session


def file_case(scratch: Path, repeats: int) -> dict[str, float]:
    """Return what the harness costs over its floor, per case of the lifecycle `file`."""
    session = run(scratch, "bench/scenarios", BENCH_REPEATS=str(repeats))
    floor = [
        phase["properties"]["seconds"]
        for phase in session.phases
        if "test_floor" in phase["nodeid"] and phase["when"] == "call"
    ]
    calls = [p["stop"] - p["start"] for p in session.phases if "test_harness" in p["nodeid"] and p["when"] == "call"]
    cases = list(session.cases("test_harness").values())
    assert len(floor) == len(cases) == repeats, "as many floors as cases"
    everything = session.cases().values()
    return {
        "repeats": repeats,
        "floor_ms": 1000 * median(floor),
        "harness_call_ms": 1000 * median(calls),
        "harness_case_ms": 1000 * median(cases),
        "ratio": median(cases) / median(floor),
        "pytest_between_phases_ms": 1000 * (session.span - sum(everything)) / len(everything),
        "start_up_ms": 1000 * session.start_up,
    }


def workers(scratch: Path, selection: list[str], turns: int) -> dict[str, float]:
    """Return scenarios a minute with one worker and with two, taking turns."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    count = 0
    for _ in range(turns):
        for number, rate in rates.items():
            session = run(scratch, *selection, "-n", str(number))
            count = len(session.cases())
            rate.append(60 * count / session.span)
    return {
        "cases": count,
        "turns": turns,
        "one_worker_per_minute": median(rates[1]),
        "two_workers_per_minute": median(rates[2]),
        "ratio": median(rates[2]) / median(rates[1]),
    }


def floor_loops(repeats: int, turns: int) -> dict[str, float]:
    """Return the floor's cases a minute in one loop and in two at once, taking turns: what the computer has to give."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(turns):
        for number, rate in rates.items():
            began = time.perf_counter()
            argv = [sys.executable, "-m", "bench.floor", str(repeats)]
            loops = [subprocess.Popen(argv, cwd=ROOT) for _ in range(number)]
            statuses = [loop.wait() for loop in loops]
            if any(statuses):
                raise RuntimeError("the floor failed")
            rate.append(60 * number * repeats / (time.perf_counter() - began))
    return {
        "repeats": repeats,
        "one_loop_per_minute": median(rates[1]),
        "two_loops_per_minute": median(rates[2]),
        "ratio": median(rates[2]) / median(rates[1]),
    }
