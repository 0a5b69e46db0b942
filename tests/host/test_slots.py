"""Slots: never more than there are, over all processes; given back by the dead; no two that wait for each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from filelock import FileLock

from harness.errors import HarnessError, Suspect, Verdict
from harness.host import slots

# Holds slots and says so; lets go when it is told to.
HOLDER = """
import sys
from pathlib import Path
from harness.host import slots
directory, vcpus, of = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with slots.held(directory, vcpus, of):
    print("held", flush=True)
    sys.stdin.readline()
print("free", flush=True)
"""
# Takes and gives back many times; the file of the moment's holders shows whether there were ever too many.
CROWD = """
import os, sys
from pathlib import Path
from harness.host import slots
directory, vcpus, of, rounds = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
for _ in range(rounds):
    with slots.held(directory, vcpus, of):
        os.write(1, b"+%d\\n" % vcpus)
        os.write(1, b"-%d\\n" % vcpus)
"""


class Holder:
    """Another process that wants slots."""

    def __init__(self, directory: Path, vcpus: int, of: int) -> None:
        argv = [sys.executable, "-c", HOLDER, str(directory), str(vcpus), str(of)]
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def word(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def free(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.word() == "free"


@pytest.fixture
def holders() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _hold(stack: ExitStack, directory: Path, vcpus: int, of: int) -> Holder:
    holder = Holder(directory, vcpus, of)
    stack.callback(holder.process.communicate)
    stack.callback(holder.process.kill)
    return holder


def taken(directory: Path, vcpus: int, of: int, patience: float, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether this process gets slots before its patience ends."""
    monkeypatch.setattr(slots, "WAIT_SECONDS", patience)
    try:
        with slots.held(directory, vcpus, of):
            return True
    except HarnessError:
        return False


def test_one_that_wants_more_than_all_gets_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with slots.held(tmp_path / "new" / "slots", 100, 3):
        assert not taken(tmp_path / "new" / "slots", 1, 3, 0.2, monkeypatch)
    assert taken(tmp_path / "new" / "slots", 3, 3, 10, monkeypatch)


def test_what_one_process_holds_another_does_not_get(
    tmp_path: Path, holders: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = _hold(holders, tmp_path, 2, 3)
    assert holder.word() == "held"
    assert taken(tmp_path, 1, 3, 10, monkeypatch)
    assert not taken(tmp_path, 2, 3, 0.2, monkeypatch)
    holder.free()
    assert taken(tmp_path, 3, 3, 10, monkeypatch)


def test_the_dead_give_back(tmp_path: Path, holders: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = _hold(holders, tmp_path, 3, 3)
    assert holder.word() == "held"
    holder.process.kill()
    holder.process.wait()
    assert taken(tmp_path, 3, 3, 10, monkeypatch)


def test_two_that_want_all_do_not_wait_for_each_other(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CROWD, str(tmp_path), "4", "4", "20"]
    crowd = [subprocess.Popen(argv, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(30) for process in crowd] == [0, 0]


def test_never_more_than_there_are(tmp_path: Path) -> None:
    """All write to one pipe while they hold slots, so the sum of what they wrote is what was held at each moment."""
    reading, writing = os.pipe()
    argv = [sys.executable, "-c", CROWD, str(tmp_path)]
    crowd = [subprocess.Popen([*argv, str(want), "3", "20"], stdout=writing) for want in (1, 2, 3)]
    os.close(writing)
    held = peak = 0
    with os.fdopen(reading) as said:
        for line in said:
            held += int(line)
            peak = max(peak, held)
            assert 0 <= held <= 3
    assert peak == 3 and held == 0
    assert [process.wait(30) for process in crowd] == [0, 0, 0]


def test_waiting_costs_no_time_of_the_processor(tmp_path: Path, holders: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = _hold(holders, tmp_path, 1, 1)
    assert holder.word() == "held"
    began, worked = time.monotonic(), time.thread_time()
    assert not taken(tmp_path, 1, 1, 0.5, monkeypatch)
    assert time.thread_time() - worked < 0.5 * (time.monotonic() - began)


def test_a_big_one_is_not_overtaken_for_ever(tmp_path: Path) -> None:
    """Small ones come and go without a pause, and yet the one that wants all gets its turn."""
    done = threading.Event()

    def small() -> None:
        while not done.is_set():
            with slots.held(tmp_path, 1, 2):
                time.sleep(0)

    crowd = [threading.Thread(target=small) for _ in range(3)]
    for thread in crowd:
        thread.start()
    try:
        with slots.held(tmp_path, 2, 2):
            pass
    finally:
        done.set()
        for thread in crowd:
            thread.join(10)


def test_the_wait_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "WAIT_SECONDS", 0.05)
    late = pytest.raises(HarnessError, match="no slot for 2 vCPUs in 0 s; other runs hold them all")
    with slots.held(tmp_path, 1, 2), late as caught, slots.held(tmp_path, 2, 2):
        pass
    assert (caught.value.suspect, caught.value.verdict) == (Suspect.HOST, Verdict.ERROR), "nothing was tried"


def test_the_wait_at_the_door_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "WAIT_SECONDS", 0.05)
    late = pytest.raises(HarnessError, match="no slot for 1 vCPU in 0 s")
    with FileLock(tmp_path / "door"), late as caught, slots.held(tmp_path, 1, 2):
        pass
    assert (caught.value.suspect, caught.value.verdict) == (Suspect.HOST, Verdict.ERROR)
    with slots.held(tmp_path, 1, 2):
        pass


def test_capacity_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5, 7})
    assert slots.capacity() == 3 * slots.VCPUS_PER_CORE
