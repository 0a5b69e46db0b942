"""This computer as a host: what it starts and makes does not outlive the harness, however that ends."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, MissingError
from harness.host.local import LocalHost

# A harness with a machine: says where its directory is and which process it started, then waits for ever.
HARNESS = """
import signal, sys
from pathlib import Path
from harness.host.local import LocalHost
with LocalHost() as host:
    child = host.spawn(["sleep", "1000"], env={}, stderr=host.directory("source") / "stderr.log")
    print(host.root, child.pid, flush=True)
    signal.pause()
"""


class Harness:
    """Another harness process, leader of its own process group."""

    def __init__(self, path: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HARNESS],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={**os.environ, "PATH": f"{path}:{os.environ['PATH']}", "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        assert self.process.stdout is not None
        root, pid = self.process.stdout.readline().split()
        self.root = Path(root)
        self.child = int(pid)
        self.exit_of_child = os.pidfd_open(self.child)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        os.close(self.exit_of_child)


def gone(pidfd: int, deadline: Deadline) -> bool:
    return bool(select.select([pidfd], [], [], deadline.remaining)[0])


def vanished(path: Path, deadline: Deadline) -> bool:
    """Nobody tells when a directory goes, and the process that removes it is not ours."""
    while path.exists() and not deadline.expired:
        time.sleep(0.01)
    return not path.exists()


def test_the_directory_is_private_and_goes() -> None:
    with LocalHost() as host:
        assert stat.S_IMODE(host.root.stat().st_mode) == 0o700
        one, other = host.directory("source"), host.directory("source")
        assert one != other and one.is_dir() and other.is_dir()
        assert len(str(one / "destination-10.sock")) < 108
        (one / "file").write_text("x")
        root = host.root
    assert not root.exists()
    assert host._keeper.returncode is not None


def test_the_directory_goes_after_an_error() -> None:
    host = LocalHost()
    with pytest.raises(LookupError), host:
        raise LookupError
    assert not host.root.exists()


def test_kill_9_leaves_no_process_and_no_directory() -> None:
    harness = Harness()
    try:
        assert harness.root.is_dir()
        os.kill(harness.process.pid, signal.SIGKILL)
        soon = Deadline.after(10)
        assert gone(harness.exit_of_child, soon)
        assert vanished(harness.root, soon)
    finally:
        harness.close()


def test_a_child_that_had_not_yet_asked_to_die_with_us(tmp_path: Path) -> None:
    """The harness is killed between its fork and the child's prctl(2): here setpriv is held up for that long."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    slow = tmp_path / "setpriv"
    slow.write_text(f'#!/bin/sh\nread -r _ < {fifo}\nexec {shutil.which("setpriv")} "$@"\n')
    slow.chmod(0o755)
    harness = Harness(path=str(tmp_path))
    try:
        harness.process.kill()
        harness.process.wait()
        assert not gone(harness.exit_of_child, Deadline.after(0))
        fifo.write_text("go\n")
        assert gone(harness.exit_of_child, Deadline.after(10))
    finally:
        harness.close()


def test_ctrl_c_reaches_the_harness_and_not_its_children() -> None:
    """A terminal sends SIGINT to the whole group; the harness decides what becomes of its machines."""
    harness = Harness()
    try:
        assert os.getpgid(harness.child) != os.getpgid(harness.process.pid)
        assert os.getsid(harness.child) == harness.child
        os.killpg(harness.process.pid, signal.SIGSTOP)
        os.killpg(harness.process.pid, signal.SIGINT)
        assert not gone(harness.exit_of_child, Deadline.after(0.1))
        os.killpg(harness.process.pid, signal.SIGCONT)
        harness.process.wait(10)
        assert vanished(harness.root, Deadline.after(10))
        assert gone(harness.exit_of_child, Deadline.after(10))
    finally:
        harness.close()


def test_a_child_has_its_socket_and_variables_and_no_other_descriptors(tmp_path: Path) -> None:
    other = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(other, True)
    with LocalHost() as host:
        command = 'echo "$WORD"; for fd in /proc/$$/fd/*; do readlink -- "$fd"; done; echo bad news >&2'
        child = host.spawn(["sh", "-c", command], env={"WORD": "hello"}, stderr=tmp_path / "log")
        with child.stdio.makefile() as said:
            word, *files = said.read().splitlines()
        assert child.wait(Deadline.after(10)) == 0
        child.close()
    os.close(other)
    assert word == "hello"
    assert files[0] == files[1] and files[0].startswith("socket:")
    assert files[2] == str(tmp_path / "log")
    assert str(tmp_path) not in files
    assert (tmp_path / "log").read_text() == "bad news\n"


def test_descriptors_travel_over_a_childs_socket(tmp_path: Path) -> None:
    """QMP's getfd needs them (unix(7), SCM_RIGHTS)."""
    takes = "import os, socket; s = socket.socket(fileno=0); os.write(socket.recv_fds(s, 1, 1)[1][0], b'got it')"
    with LocalHost() as host, (tmp_path / "file").open("wb") as file:
        child = host.spawn([sys.executable, "-c", takes], env={}, stderr=tmp_path / "log")
        socket.send_fds(child.stdio, [b"x"], [file.fileno()])
        assert child.wait(Deadline.after(20)) == 0
        child.close()
    assert (tmp_path / "file").read_text() == "got it"


def test_without_setpriv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalHost() as host:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingError, match="setpriv.*install util-linux"):
            host.spawn(["true"], env={}, stderr=tmp_path / "log")


def test_a_runtime_directory_with_a_long_path_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    with LocalHost() as host:
        assert long not in host.root.parents


def test_without_setpriv_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with LocalHost() as host:
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(MissingError, match="install util-linux"):
            host.run(["true"], Deadline.after(10))


def test_a_command_that_ended_while_all_stood_still_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of its time is noticed long after that, as on a virtual computer that was paused."""
    communicate = subprocess.Popen.communicate
    waited: list[float] = []

    def stand_still(
        self: subprocess.Popen[bytes], data: bytes | None = None, timeout: float | None = None
    ) -> tuple[bytes, bytes]:
        if timeout is None:
            return communicate(self, data)
        waited.append(timeout)
        if len(waited) == 1:
            time.sleep(timeout + 1.5)
            raise subprocess.TimeoutExpired("cat", timeout)
        return communicate(self, data, timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", stand_still)
    with LocalHost() as host:
        assert host.run(["echo", "it"], Deadline.after(0.5)).stdout == b"it\n"
    assert len(waited) == 2


def test_a_command_without_an_end_is_killed() -> None:
    with LocalHost() as host, pytest.raises(DeadlineExpired, match=r": sleep did not end within 0\.2 s and was killed"):
        host.run(["sleep", "60"], Deadline.after(0.2))
