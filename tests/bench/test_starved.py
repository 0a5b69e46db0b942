"""A computer that is too slow on purpose: threads lose the CPU and get it back, and nothing is left of it."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from bench import starved
from bench.starved import Starvation

ROOT = Path(__file__).parents[2]
CASE = """
import os, subprocess, time
import psutil
def test_it():
    child = subprocess.Popen(["sleep", "60"])
    end = time.monotonic() + 50
    while os.sched_getscheduler(child.pid) != os.SCHED_IDLE:
        assert time.monotonic() < end
    child.kill()
    child.wait()
    print("busy", *(each.pid for each in psutil.Process().children()), flush=True)
    END
"""


@pytest.fixture
def child() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as process:
        yield process.pid
        process.kill()


def test_a_thread_loses_the_cpu_and_gets_it_back(child: int, monkeypatch: pytest.MonkeyPatch) -> None:
    starvation = Starvation(random.Random(1))
    monkeypatch.setattr(starved, "SHARE", 1.0)
    starvation.choose([child], now=0)
    assert os.sched_getscheduler(child) == os.SCHED_IDLE
    monkeypatch.setattr(starved, "SHARE", 0.0)
    starvation.choose([child], now=starved.STARVES[0] / 2)
    assert os.sched_getscheduler(child) == os.SCHED_IDLE, "its time is not over"
    starvation.choose([child], now=starved.STARVES[1])
    assert os.sched_getscheduler(child) == os.SCHED_OTHER


def test_one_that_has_ended_is_left_alone() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    Starvation(random.Random(1)).choose([process.pid], now=0)


@pytest.mark.parametrize("killed", [False, True])
def test_busy_processes_end_with_the_run(killed: bool, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(CASE.replace("END", "time.sleep(50)" if killed else "pass"))
    command = [sys.executable, "-m", "pytest", "-sq", "-p", "bench.starved", "-p", "no:cacheprovider", "test_it.py"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    ) as run:
        assert run.stdout is not None
        said = next(line for line in run.stdout if line.startswith("busy"))
        busy = [psutil.Process(int(pid)) for pid in said.split()[1:]]
        assert len(busy) == len(os.sched_getaffinity(0))
        if killed:
            run.send_signal(signal.SIGKILL)
        run.communicate()
    assert psutil.wait_procs(busy, timeout=50)[1] == []
    assert run.returncode == (-signal.SIGKILL if killed else 0)
