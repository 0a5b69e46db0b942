"""What every host can do, whichever it is: the same tests for this computer and for both kinds of SSH server."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostFailure
from harness.host.protocol import Host, Process

SOON = 20.0
# Listens at the path given and answers each line with itself in capitals.
LISTENER = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
os.write(1, b"!")
while True:
    connection = listener.accept()[0]
    while data := connection.recv(4096):
        connection.sendall(data.upper())
    connection.sendall(b"bye")
    connection.close()
"""


def soon() -> Deadline:
    return Deadline.after(SOON)


def gone(pid: int) -> bool:
    """Say whether a process goes soon; it is not ours to wait for."""
    deadline = soon()
    while not deadline.expired:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # gone before it was opened, or between that and the reading of it
            return True
        if "\nState:\tZ" in status:
            return True
        time.sleep(0.01)
    return False


def test_a_command_and_all_it_says(host: Host) -> None:
    argv = ["sh", "-c", 'cat; echo "$1" "$#" >&2; exit 7', "name", "a  b'c\"; $HOME\n*"]
    done = host.run(argv, soon(), stdin=b"\x00in\xff\n")
    assert done.argv == tuple(argv)
    assert done.status == 7
    assert done.stdout == b"\x00in\xff\n"
    assert done.stderr == b"a  b'c\"; $HOME\n* 1\n"


def test_a_command_without_input_sees_its_end(host: Host) -> None:
    assert host.run(["cat"], soon()).stdout == b""


def test_much_on_both_streams_at_once_and_in(host: Host) -> None:
    size = 10_000_000
    command = f"cat >/dev/null & head -c {size} /dev/zero >&2 & head -c {size} /dev/zero; wait"
    done = host.run(["sh", "-c", command], Deadline.after(60), stdin=bytes(3_000_000))
    assert (done.status, len(done.stdout), len(done.stderr)) == (0, size, size)


def test_a_command_that_does_not_read_its_input(host: Host) -> None:
    assert host.run(["true"], soon(), stdin=bytes(5_000_000)).status == 0


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL, signal.SIGABRT])
def test_a_signal_is_a_negative_status(host: Host, number: signal.Signals) -> None:
    assert host.run(["sh", "-c", f"kill -{int(number)} $$"], soon()).status == -number


def test_a_program_that_is_not_there(host: Host) -> None:
    done = host.run(["no-such-program"], soon())
    assert done.status == 127
    assert b"no-such-program" in done.stderr


def test_a_deadline_kills_the_command_and_its_children(host: Host, tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(DeadlineExpired, match=r"sh did not end within 0\.5 s") as caught:
        host.run(["sh", "-c", 'sleep 1000 & echo $$ $! >"$1"; wait', "name", str(tmp_path / "pids")], Deadline.after(0.5))
    assert caught.value.where == host.name
    assert time.monotonic() - began < 10
    pids = (tmp_path / "pids").read_text().split()
    assert len(pids) == 2 and all(gone(int(pid)) for pid in pids)


def spawned(host: Host, tmp_path: Path, *argv: str, **env: str) -> Process:
    return host.spawn(argv, env=env, stderr=tmp_path / "stderr.log")


def test_a_program_talks_and_ends(host: Host, tmp_path: Path) -> None:
    process = spawned(
        host, tmp_path, "sh", "-c", 'read line; echo "$line, $WORD"; echo last words >&2; exit 5', WORD="it's $me"
    )
    heard = threading.Event()
    process.on_exit(heard.set)
    assert process.poll() is None and process.wait(Deadline.after(0.05)) is None
    assert not heard.is_set()
    process.stdio.sendall(b"hello\n")
    with process.stdio.makefile() as said:
        assert said.read() == "hello, it's $me\n"
    assert process.wait(soon()) == 5
    assert process.poll() == 5
    assert heard.wait(SOON)
    assert (tmp_path / "stderr.log").read_text() == "last words\n"
    late = threading.Event()
    process.on_exit(late.set)
    assert late.wait(SOON)
    process.kill()
    process.close()
    process.close()


def test_a_program_that_is_killed(host: Host, tmp_path: Path) -> None:
    process = spawned(host, tmp_path, "sh", "-c", "echo $$; sleep 1000; echo")
    pid = int(process.stdio.recv(20))
    process.kill()
    assert process.wait(soon()) == -signal.SIGKILL
    process.kill()
    assert process.stdio.recv(20) == b""
    process.close()
    assert gone(pid)


def test_a_program_that_is_killed_at_birth(host: Host, tmp_path: Path) -> None:
    process = spawned(host, tmp_path, "sleep", "1000")
    process.kill()
    assert process.wait(soon()) == -signal.SIGKILL
    process.close()


def test_closing_ends_a_program(host: Host, tmp_path: Path) -> None:
    process = spawned(host, tmp_path, "sh", "-c", "echo $$; sleep 1000; echo")
    pid = int(process.stdio.recv(20))
    process.close()
    assert gone(pid)


def test_closing_wakes_who_reads(host: Host, tmp_path: Path) -> None:
    """A file made of a socket keeps it open, whatever is closed."""
    for _ in range(5):
        process = spawned(host, tmp_path, "sleep", "1000")
        with process.stdio.makefile("rb") as said:
            reader = threading.Thread(target=said.read, daemon=True)
            reader.start()
            process.close()
            reader.join(SOON)
            assert not reader.is_alive()


def test_a_program_sees_the_end_of_its_input(host: Host, tmp_path: Path) -> None:
    process = spawned(host, tmp_path, "sh", "-c", "cat; echo end")
    process.stdio.sendall(b"x\n")
    process.stdio.shutdown(socket.SHUT_WR)
    with process.stdio.makefile() as said:
        assert said.read() == "x\nend\n"
    assert process.wait(soon()) == 0
    process.close()


def test_a_program_with_much_to_say_both_ways(host: Host, tmp_path: Path) -> None:
    data = os.urandom(1 << 20)
    process = spawned(host, tmp_path, "cat")

    def feed() -> None:
        for _ in range(8):
            process.stdio.sendall(data)
        process.stdio.shutdown(socket.SHUT_WR)

    feeder = threading.Thread(target=feed)
    feeder.start()
    with process.stdio.makefile("rb") as said:
        assert said.read() == data * 8
    feeder.join()
    process.close()


def test_a_unix_socket(host: Host, tmp_path: Path) -> None:
    path = host.directory("listener") / "socket"
    process = spawned(host, tmp_path, sys.executable, "-c", LISTENER, str(path))
    assert process.stdio.recv(1) == b"!"
    for word in (b"one", b"two"):
        with host.connect(path) as stream:
            stream.sendall(word)
            assert stream.recv(10) == word.upper()
            stream.shutdown(socket.SHUT_WR)
            assert stream.recv(10) == b"bye"
            assert stream.recv(10) == b""
    process.close()


def test_a_unix_socket_that_is_not_there(host: Host) -> None:
    with pytest.raises(HostFailure, match="cannot connect") as caught:
        host.connect(host.directory("nothing") / "socket")
    assert "socket" in str(caught.value)


def test_files_there_and_back(host: Host, tmp_path: Path) -> None:
    source, back = tmp_path / "it's a file", tmp_path / "back"
    source.write_bytes(os.urandom(3_000_000))
    source.chmod(0o750)
    target = host.directory("files") / "a b"
    host.put(source, target)
    host.get(target, back)
    assert back.read_bytes() == source.read_bytes()
    assert host.run(["stat", "-c", "%a", str(target)], soon()).stdout == b"750\n"
    assert host.run(["ls", str(target.parent)], soon()).stdout == b"a b\n"


def test_an_empty_file(host: Host, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    target = host.directory("files") / "empty"
    host.put(tmp_path / "empty", target)
    host.get(target, tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b""


def test_files_that_are_not_there(host: Host, tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match=r"No such file"):
        host.get(host.directory("files") / "nothing", tmp_path / "back")
    with pytest.raises(HostFailure, match="No such file"):
        host.put(tmp_path / "nothing", host.directory("files") / "x")
    with pytest.raises(HostFailure, match=r"[Nn]o such file"):
        host.bring(tmp_path / "nothing")
    assert not list(tmp_path.glob("*.part"))


def test_a_file_is_brought_once_and_again_when_it_changes(host: Host, tmp_path: Path) -> None:
    source = tmp_path / "payload"
    source.write_text("one")
    first = host.bring(source)
    assert host.bring(source) == first
    assert host.run(["cat", str(first)], soon()).stdout == b"one"
    source.write_text("another")
    assert host.run(["cat", str(host.bring(source))], soon()).stdout == b"another"


def test_directories_are_private_and_differ(host: Host) -> None:
    one, other = host.directory("source"), host.directory("source")
    assert one != other
    assert host.run(["ls", str(one), str(other)], soon()).status == 0
    assert host.run(["stat", "-c", "%a", str(one.parent)], soon()).stdout == b"700\n"
    # A path of a Unix socket ends at 108 bytes (unix(7)); pytest's own directory above is long already.
    assert one.name.endswith("source")


def test_facts(host: Host) -> None:
    facts = host.facts()
    assert (facts.machine, facts.kernel) == (os.uname().machine, os.uname().release)
    assert facts.cpus >= 1 and facts.memory_mib > 100


def test_it_is_there(host: Host) -> None:
    host.check()
