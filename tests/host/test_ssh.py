"""A host reached by SSH: whose keys are right, what happens when it is lost, and what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

import pytest

from harness.deadline import Deadline
from harness.errors import HarnessBug, HarnessError, HostFailure, Suspect, UsageError
from harness.host import keeper, ssh
from harness.host.link import LIGHT, Login
from harness.host.relay import pump
from harness.host.ssh import SshHost
from tests.host.ssh_server import USER, SshServer, new_key
from tests.host.test_every_host import gone, soon

LOST = "far: the connection was lost"


def test_another_host_key_is_refused(server: SshServer) -> None:
    login = Login(USER, (server.user_key,), (new_key(),))
    with (
        pytest.raises(UsageError, match=r"far: the host shows a key that is not the known one \(ssh-ed25519 SHA256:"),
        SshHost("far", server.dial, login),
    ):
        pass
    assert not server.commands


def test_a_key_that_does_not_open(server: SshServer) -> None:
    login = Login(USER, (new_key(), new_key()), (server.host_key,))
    with (
        pytest.raises(UsageError, match="far: someone cannot log in: .*; name the right user and key"),
        SshHost("far", server.dial, login),
    ):
        pass
    with (
        pytest.raises(UsageError, match="there is no key to offer"),
        SshHost("far", server.dial, Login(USER, (), (server.host_key,))),
    ):
        pass


def test_the_second_key_opens(server: SshServer) -> None:
    login = Login(USER, (new_key(), server.user_key), (server.host_key,), LIGHT)
    with SshHost("far", server.dial, login) as host:
        assert host.run(["true"], soon()).status == 0
        assert host._link is not None
        assert vars(host._link)["remote_cipher"] == "aes128-ctr"


def test_private_keys_are_in_no_representation(server: SshServer) -> None:
    assert "key" not in repr(server.login()).replace("_keys", "").lower()


def test_nobody_answers(server: SshServer) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    with pytest.raises(HostFailure, match="far: no SSH connection"), SshHost("far", lambda: ours, server.login()):
        pass


def test_somebody_answers_nothing(server: SshServer) -> None:
    ours, theirs = socket.socketpair()
    began = time.monotonic()
    with (
        theirs,
        pytest.raises(HostFailure, match="far: no SSH connection"),
        SshHost("far", lambda: ours, server.login(), connect_seconds=0.3),
    ):
        pass
    assert time.monotonic() - began < 10


def test_a_host_that_was_not_entered(server: SshServer) -> None:
    with pytest.raises(HarnessBug, match="far was used before it was entered"):
        SshHost("far", server.dial, server.login()).check()


def test_a_private_directory_that_cannot_be_made(server: SshServer) -> None:
    server.env["TMPDIR"] = "/nowhere"
    with (
        pytest.raises(HostFailure, match="far: .*/nowhere/armvirt-.*No such file"),
        SshHost("far", server.dial, server.login()),
    ):
        pass


def test_what_a_user_types_is_never_shell_text(far: SshHost, tmp_path: Path) -> None:
    nasty = f"$(touch {tmp_path}/made); `touch {tmp_path}/made` & 'a\"b"
    process = far.spawn(["sh", "-c", 'printf %s "$X"', "name"], env={"X": nasty}, stderr=tmp_path / "log")
    with process.stdio.makefile() as said:
        assert said.read() == nasty
    process.close()
    assert far.run(["printf", "%s", nasty], soon()).stdout.decode() == nasty
    assert not (tmp_path / "made").exists()


# -- lost


Waits = Callable[[SshHost, Path], object]


WAITS: dict[str, Waits] = {
    "run": lambda host, _: host.run(["sleep", "1000"], Deadline.after(60)),
    "run with output": lambda host, _: host.run(["sh", "-c", "cat /dev/zero | head -c 100000; sleep 1000"], Deadline.after(60)),
    "wait": lambda host, path: host.spawn(["sleep", "1000"], env={}, stderr=path / "log").wait(Deadline.after(60)),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_connection_lost_in_a_wait_ends_it_at_once(server: SshServer, far: SshHost, tmp_path: Path, wait: str) -> None:
    cut = threading.Timer(0.3, server.cut)
    cut.start()
    began = time.monotonic()
    with pytest.raises(HostFailure) as caught:
        WAITS[wait](far, tmp_path)
    assert str(caught.value) == LOST and caught.value.suspect is Suspect.HOST
    assert time.monotonic() - began < 5


AFTER: dict[str, Callable[[SshHost, Path], object]] = {
    "check": lambda host, _: host.check(),
    "run": lambda host, _: host.run(["true"], soon()),
    "facts": lambda host, _: host.facts(),
    "spawn": lambda host, path: host.spawn(["true"], env={}, stderr=path / "log"),
    "put": lambda host, _: host.put(Path(__file__), PurePosixPath("/tmp/x")),
    "get": lambda host, path: host.get(PurePosixPath("/etc/passwd"), path / "x"),
    "bring": lambda host, _: host.bring(Path(__file__)),
    "connect": lambda host, _: host.connect(PurePosixPath("/tmp/x")),
    "directory": lambda host, _: host.directory("x"),
}


@pytest.mark.parametrize("call", AFTER)
def test_after_the_loss_everything_says_so(server: SshServer, far: SshHost, tmp_path: Path, call: str) -> None:
    process = far.spawn(["sleep", "1000"], env={}, stderr=tmp_path / "log")
    heard = threading.Event()
    process.on_exit(heard.set)
    server.cut()
    assert heard.wait(5)
    with pytest.raises(HostFailure) as caught:
        AFTER[call](far, tmp_path)
    assert str(caught.value) == LOST


def test_a_program_whose_host_is_lost(server: SshServer, far: SshHost, tmp_path: Path) -> None:
    process = far.spawn(["sh", "-c", "echo $$; exec sleep 1000"], env={}, stderr=tmp_path / "log")
    pid = int(process.stdio.recv(20))
    heard = threading.Event()
    process.on_exit(heard.set)
    server.cut()
    assert heard.wait(5)
    with pytest.raises(HostFailure, match=LOST):
        process.poll()
    assert process.stdio.recv(1) == b""
    process.kill()
    process.close()
    assert gone(pid)


def test_a_stream_to_a_socket_ends_with_the_connection(server: SshServer, far: SshHost) -> None:
    path = far.directory("listener") / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        stream = far.connect(path)
        server.cut()
        stream.settimeout(5)
        assert stream.recv(1) == b""
        stream.close()


def test_who_knows_better_is_asked_for_the_cause(server: SshServer) -> None:
    cause: list[HarnessError] = []
    better = HostFailure("its QEMU was killed", where="lab")
    with SshHost("lab", server.dial, server.login(), cause=lambda: cause[0] if cause else None) as host:
        host.check()
        cause.append(better)
        server.cut()
        with pytest.raises(HostFailure, match="lab: its QEMU was killed"):
            host.run(["true"], soon())
        cause.clear()
        with pytest.raises(HostFailure, match="lab: its QEMU was killed"):
            host.check()


def test_a_cause_at_the_handshake(server: SshServer) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    why = HostFailure("its kernel panicked", where="lab")
    with (
        pytest.raises(HostFailure, match="its kernel panicked"),
        SshHost("lab", lambda: ours, server.login(), cause=lambda: why),
    ):
        pass


def test_a_host_that_is_given_up_wakes_all(far: SshHost, tmp_path: Path) -> None:
    """A panicked kernel answers nothing, and its connection stays open."""
    panic = HostFailure("its kernel panicked: Oops", where="far", suspect=Suspect.KERNEL_L0)
    process = far.spawn(["sleep", "1000"], env={}, stderr=tmp_path / "log")
    threading.Timer(0.2, far.lose, [panic]).start()
    with pytest.raises(HostFailure, match="its kernel panicked") as caught:
        far.run(["sleep", "1000"], Deadline.after(60))
    assert caught.value is panic
    with pytest.raises(HostFailure, match="its kernel panicked"):
        process.wait(Deadline.after(60))
    process.close()


def test_a_copy_in_which_nothing_moves(far: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "STALL_SECONDS", 0.5)
    fifo = PurePosixPath(far.directory("x") / "fifo")
    far.run(["mkfifo", str(fifo)], soon())
    with pytest.raises(HostFailure, match=r"no byte moved for 0 s|no byte moved for 1 s"):
        far.get(fifo, tmp_path / "file")
    assert not list(tmp_path.glob("file*"))


# -- full disks


@pytest.fixture
def full(server: SshServer, tmp_path: Path) -> SshServer:
    """A server on which cat fails as it does on a full disk."""
    programs = tmp_path / "programs"
    programs.mkdir()
    cat = programs / "cat"
    cat.write_text("#!/bin/sh\nhead -c 1000\necho 'cat: write error: No space left on device' >&2\nexit 1\n")
    cat.chmod(0o755)
    server.env["PATH"] = f"{programs}:{server.env['PATH']}"
    return server


def test_a_full_disk_there_is_named(full: SshServer, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(2_000_000))
    with SshHost("far", full.dial, full.login()) as host:
        target = host.directory("x") / "file"
        target_directory = str(target.parent)
        with pytest.raises(HostFailure, match="far: the disk of far is full"):
            host.put(tmp_path / "file", target)
        assert host.run(["ls", "-A", target_directory], soon()).stdout == b""


def test_a_full_disk_here_is_named(far: SshHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The device /dev/full takes nothing (full(4))."""
    monkeypatch.setattr(Path, "with_name", lambda _self, _name: Path("/dev/full"))
    monkeypatch.setattr(Path, "unlink", lambda _self, **_: None)
    with pytest.raises(HostFailure, match="x: cannot be written: No space left on device"):
        far.get(PurePosixPath("/etc/passwd"), tmp_path / "x")


def test_a_copy_that_is_cut_short_leaves_nothing(far: SshHost) -> None:
    """The size is told first, and what arrives is measured: the half is never taken for the whole."""
    directory = far.directory("x")
    done = far.run(["sh", "-c", ssh._PUT, "put", str(directory / "file"), "10", "600"], soon(), stdin=b"half")
    assert done.status == 1 and b"4 of 10 bytes arrived" in done.stderr
    assert far.run(["ls", "-A", str(directory)], soon()).stdout == b""


# -- what is left behind: the fixture `server` sees that the directory is empty and everything has ended


def test_leaving_kills_what_runs_and_removes_the_directory(server: SshServer, tmp_path: Path) -> None:
    with SshHost("far", server.dial, server.login()) as host:
        process = host.spawn(["sh", "-c", "sleep 1000 & echo $$ $!; wait"], env={}, stderr=tmp_path / "log")
        pids = [int(pid) for pid in process.stdio.recv(50).split()]
        root = host.directory("x").parent
        assert Path(root).is_dir()
    assert not Path(root).exists()
    assert all(gone(pid) for pid in pids)
    with pytest.raises(HostFailure, match="the connection was closed"):
        host.check()
    process.close()


def test_a_lost_connection_leaves_nothing(server: SshServer, far: SshHost, tmp_path: Path) -> None:
    process = far.spawn(["sh", "-c", "sleep 1000 & echo $$ $!; wait"], env={}, stderr=tmp_path / "log")
    pids = [int(pid) for pid in process.stdio.recv(50).split()]
    root = Path(far.directory("x").parent)
    server.cut()
    assert all(gone(pid) for pid in pids)
    deadline = soon()
    while root.exists() and not deadline.expired:
        time.sleep(0.01)
    assert not root.exists()


def test_the_keeper_forgets_what_has_ended(far: SshHost, tmp_path: Path) -> None:
    """A number of a process is another's tomorrow."""
    far.run(["true"], soon())
    far.spawn(["true"], env={}, stderr=tmp_path / "log").close()
    records = Path(far.directory("x").parent) / "pids"
    assert list(records.iterdir()) == []


class Line:
    """What is between us and the server; it can be dead, and neither end hears of that."""

    def __init__(self, server: SshServer) -> None:
        self._server = server
        self._open = threading.Event()
        self._open.set()
        self.die, self.live = self._open.clear, self._open.set

    def dial(self) -> socket.socket:
        ours, near = socket.socketpair()
        far = self._server.dial()
        for source, sink in ((near, far), (far, near)):
            threading.Thread(target=pump, args=(source, sink, self._passing), daemon=True).start()
        return ours

    def _passing(self, data: bytes) -> Iterator[bytes]:
        self._open.wait()
        yield data


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> float:
    """Have the keeper give the harness up after so many seconds."""
    monkeypatch.setattr(keeper, "_BEAT_SECONDS", 0.2)
    monkeypatch.setattr(keeper, "_TICK_SECONDS", 0.5)
    return 2.0


SHELLS = [["dash"], ["bash", "--posix"], ["busybox", "sh"]]


@pytest.fixture(params=[pytest.param(shell, id=shell[0]) for shell in SHELLS if shutil.which(shell[0])])
def shelled(request: pytest.FixtureRequest, server: SshServer) -> SshServer:
    """A server whose users have one login shell or the other."""
    server.sessions = True
    server.shell = request.param
    return server


def session(leader: int) -> list[str]:
    """Return which programs of a session run."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # gone
            name, _, fields = path.read_text().rpartition(")")
            state, _, _, of = fields.split()[:4]
            if of == str(leader) and state != "Z":
                found.append(name.partition("(")[2])
    return found


def emptied(leader: int) -> bool:
    """Say whether all programs of a session end soon."""
    deadline = soon()
    while session(leader) and not deadline.expired:
        time.sleep(0.01)
    return not session(leader)


@pytest.mark.usefixtures("brisk")
def test_a_line_that_dies_in_silence_leaves_nothing(shelled: SshServer, tmp_path: Path) -> None:
    line = Line(shelled)
    with SshHost("far", line.dial, shelled.login()) as host:
        process = host.spawn(["sh", "-c", "sleep 1000 & echo $$ $!; wait"], env={}, stderr=tmp_path / "log")
        pids = [int(pid) for pid in process.stdio.recv(50).split()]
        line.die()
        assert all(gone(pid) for pid in pids)
        assert emptied(shelled.running[0].pid)
        assert not host._kept().ended, "nothing has come through"
        line.live()
        process.wait(soon())
        assert host._kept()._channel.status_event.wait(soon().remaining)
        with pytest.raises(HostFailure, match="far: its keeper has ended: .*heard nothing from here"):
            host.check()
        with pytest.raises(HostFailure, match="far: its keeper has ended"):
            host.run(["true"], soon())
        process.close()


def test_a_host_to_which_nothing_is_said_keeps_its_programs(shelled: SshServer, brisk: float, tmp_path: Path) -> None:
    with SshHost("far", shelled.dial, shelled.login()) as host:
        process = host.spawn(["sleep", "1000"], env={}, stderr=tmp_path / "log")
        assert process.wait(Deadline.after(brisk * 1.5)) is None
        process.close()


def test_nothing_of_the_keeper_is_left(shelled: SshServer) -> None:
    with SshHost("far", shelled.dial, shelled.login()) as host:
        host.check()
        assert len(session(shelled.running[0].pid)) >= 2, "somebody watches"
    assert emptied(shelled.running[0].pid)


@pytest.mark.usefixtures("brisk")
def test_a_keeper_that_was_killed_leaves_nothing(shelled: SshServer, tmp_path: Path) -> None:
    with SshHost("far", shelled.dial, shelled.login()) as host:
        process = host.spawn(["sh", "-c", "echo $$; exec sleep 1000"], env={}, stderr=tmp_path / "log")
        pid = int(process.stdio.recv(20))
        shelled.running[0].send_signal(signal.SIGKILL)
        assert gone(pid)
        assert emptied(shelled.running[0].pid)
        with pytest.raises(HostFailure, match="far: its keeper has ended: somebody killed it"):
            host.directory("x")
        process.close()


@pytest.mark.usefixtures("brisk")
def test_a_keeper_that_cannot_write_kills_all_the_same(shelled: SshServer, tmp_path: Path) -> None:
    with SshHost("far", shelled.dial, shelled.login()) as host:
        killed = Path(host.directory("x").parent) / "killed"
        process = host.spawn(["sh", "-c", "echo $$; exec sleep 1000"], env={}, stderr=tmp_path / "log")
        pid = int(process.stdio.recv(20))
        killed.rmdir()
        process.kill()
        assert gone(pid)
        host.directory("y")
        process.close()


def test_a_program_that_starts_after_the_end_ends(server: SshServer, far: SshHost) -> None:
    """The keeper has done its work when the record is to be made: nobody would ever kill this one."""
    number, command = far._kept().guarded(["sleep", "1000"])
    assert number > 0
    far.__exit__()
    with SshHost("again", server.dial, server.login()) as again:
        done = again.run(["sh", "-c", command], soon())
    assert done.status == 126


def test_a_program_whose_record_was_read_before_it_was_written_ends(far: SshHost) -> None:
    """The keeper moved the records and found this one empty: nobody would ever kill this program."""
    root = Path(far._kept().root)
    number, command = far._kept().guarded(["sleep", "30"])
    record = root / "pids" / str(number)
    os.mkfifo(record)
    full = os.open(record, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while os.write(full, bytes(1 << 12)):
            pass
    with subprocess.Popen(["/bin/sh", "-c", command]) as program:
        deadline = soon()
        while not any(os.path.realpath(opened) == str(record) for opened in Path(f"/proc/{program.pid}/fd").iterdir()):
            assert not deadline.expired and program.poll() is None
            time.sleep(0.01)
        (root / "pids").rename(root / "ended")
        os.read(full, 1 << 16)
        assert program.wait(20) == 126
    os.close(full)
    shutil.rmtree(root / "ended")  # a pipe, which the keeper would wait for
