"""This computer as a host: private directories and processes that do not outlive the harness.

Three guards, because each alone leaves a gap:

* every child is started through setpriv(1) with a parent-death signal, so `kill -9` of the harness kills it (prctl(2),
  PR_SET_PDEATHSIG); one whose parent died before the signal was asked for sees that it has another parent, and ends;
* a child talks over a socket that it inherited, so nothing waits for a socket to appear, and nobody else can connect;
* one tiny shell per run, the keeper, sleeps in read(2) on a pipe that only the harness holds; when the harness is gone, by
  whatever cause, the read ends and the keeper removes the run's private directory.
"""

from __future__ import annotations

import ctypes
import errno
import math
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import IO, Self

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostFailure, MissingError
from harness.host import facts
from harness.host.protocol import Completed, Facts

# $1 is the directory. SIGINT and SIGTERM to the group must not stop the keeper before its work is done.
_KEEPER = 'trap "" INT TERM HUP; read -r _; rm -rf -- "$1"'

# $1 is the parent that the child must still have, the rest the command.
_IF_PARENT_LIVES = 'test "$PPID" = "$1" && shift && exec "$@"'


@dataclass
class LocalHost:
    """This computer. Use it as a context manager: leaving it removes the private directory and all below."""

    name: str = field(init=False, default="this computer")
    # A socket carries descriptors too (unix(7), SCM_RIGHTS), which QMP's getfd wants.
    stdio_chardev: str = field(init=False, default="socket,fd=0")
    root: Path = field(init=False)
    _keeper: subprocess.Popen[bytes] = field(init=False, repr=False)
    _made: int = field(init=False, default=0, repr=False)

    def __enter__(self) -> Self:
        """Make the private directory (mode 0700) and start its keeper."""
        # Unix socket paths end at 108 bytes (unix(7)), so the directory stays near the root.
        base = os.environ.get("XDG_RUNTIME_DIR")
        usable = base if base and len(base) < 40 and os.access(base, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="armvirt-", dir=usable))
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the private directory and let the keeper go."""
        shutil.rmtree(self.root, ignore_errors=True)
        self._keeper.communicate()

    def facts(self) -> Facts:
        """Return what this computer says of itself."""
        return facts.read(self.run(["sh", "-c", facts.SCRIPT], Deadline.after(10)), self.name)

    def check(self) -> None:
        """Do nothing: this computer is there while the harness is."""

    def run(self, argv: Sequence[str], deadline: Deadline, *, stdin: bytes = b"") -> Completed:
        """Run a command to its end. Raises DeadlineExpired (it is killed), MissingError when setpriv is not there."""
        pipe = subprocess.PIPE
        with _started(argv, {}, stdin=pipe, stdout=pipe, stderr=pipe) as process:
            limit, over, data = deadline, deadline.expired, stdin
            while process.returncode is None:
                try:
                    stdout, stderr = process.communicate(data, limit.remaining)
                except subprocess.TimeoutExpired:
                    if limit.expired:
                        if over or not (later := limit.put_off()):
                            what = f"{argv[0]} did not end within {limit.seconds:.1f} s and was killed"
                            raise DeadlineExpired(what, where=self.name) from None
                        limit = later
                    data = b""  # all the rest of it is on its way
        return Completed(tuple(argv), process.returncode, stdout, stderr)

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str], stderr: Path) -> LocalProcess:
        """Start `argv` with its stderr in a file; it dies with the harness, and a terminal's Ctrl-C does not reach it.

        Raises MissingError when setpriv is not there; a program that is not there is told on stderr, with exit status 127.
        """
        ours, theirs = socket.socketpair()
        with theirs, stderr.open("wb") as errors:
            try:
                process = _start(argv, env, stdin=theirs, stdout=theirs, stderr=errors)
            except MissingError:
                ours.close()
                raise
        return LocalProcess(process, ours)

    def put(self, source: Path, target: PurePath) -> None:
        """Copy a file, whole or not at all. Raises HostFailure (a full disk is named)."""
        self._copy(source, Path(target))

    def get(self, source: PurePath, target: Path) -> None:
        """Copy a file, whole or not at all. Raises HostFailure."""
        self._copy(Path(source), target)

    def _copy(self, source: Path, target: Path) -> None:
        part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            shutil.copy(source, part)
            part.replace(target)
        except OSError as error:
            part.unlink(missing_ok=True)
            full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            what = (
                f"the disk of {self.name} is full" if full else f"cannot copy {source} to {target}: {error.strerror or error}"
            )
            raise HostFailure(what, where=str(target)) from error

    def bring(self, source: Path) -> PurePath:
        """Return the file itself: it is here. Raises HostFailure where it is not."""
        if not source.is_file():
            raise HostFailure("no such file", where=str(source))
        return source.absolute()

    def connect(self, path: PurePath) -> socket.socket:
        """Return a stream connected to a Unix socket. Raises HostFailure when nobody listens there."""
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(str(path))
        except OSError as error:
            stream.close()
            raise HostFailure(f"cannot connect: {error.strerror or error}", where=str(path)) from error
        return stream

    def directory(self, name: str) -> Path:
        """Return a new, empty private directory for one case or machine."""
        self._made += 1
        path = self.root / f"{self._made}-{name}"
        path.mkdir()
        return path


class LocalProcess:
    """A program on this computer, leader of its own session; `kill` ends its whole process group."""

    def __init__(self, process: subprocess.Popen[bytes], stdio: socket.socket) -> None:
        self.stdio = stdio
        self.pid = process.pid
        self._process = process
        # It becomes readable at the exit and stays so, reaped or not (pidfd_open(2)).
        self._exit = os.pidfd_open(process.pid)

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal's number) or None while it runs."""
        return self._process.poll()

    def wait(self, deadline: Deadline) -> int | None:
        """Return the exit status, or None where the deadline comes first."""
        if self.poll() is None:
            _readable(self._exit, deadline)
        return self.poll()

    def kill(self) -> None:
        """Kill it at once (SIGKILL); no error where it has ended."""
        if self._process.poll() is None:
            _kill_group(self._process)

    def on_exit(self, heard: Callable[[], None]) -> None:
        """Have `heard` called once, by a thread of its own, when it has ended."""
        watched = os.dup(self._exit)

        def watch() -> None:
            _readable(watched, None)
            os.close(watched)
            heard()

        threading.Thread(target=watch, name=f"exit-{self.pid}", daemon=True).start()

    def close(self) -> None:
        """Kill it if it runs, reap it and close what was opened. May be called twice."""
        if self._exit < 0:
            return
        if self._process.returncode is None:
            _kill_group(self._process)
        self._process.wait()
        os.close(self._exit)
        self._exit = -1
        end_stream(self.stdio)


def _start(
    argv: Sequence[str],
    env: Mapping[str, str],
    *,
    stdin: int | socket.socket,
    stdout: int | socket.socket,
    stderr: int | IO[bytes],
) -> subprocess.Popen[bytes]:
    """Start a command that dies with this process. Raises MissingError when setpriv is not there."""
    guarded = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _IF_PARENT_LIVES, "start", str(os.getpid()), *argv]
    try:
        return subprocess.Popen(
            guarded,
            stdin=stdin if isinstance(stdin, int) else stdin.fileno(),
            stdout=stdout if isinstance(stdout, int) else stdout.fileno(),
            stderr=stderr,
            env={**os.environ, **env},
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingError("setpriv is not installed", where=str(error.filename), remedy="install util-linux") from error


@contextmanager
def _started(
    argv: Sequence[str], env: Mapping[str, str], *, stdin: int, stdout: int, stderr: int
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command over pipes, and leave nothing of it when the block is left by an error."""
    process = _start(argv, env, stdin=stdin, stdout=stdout, stderr=stderr)
    try:
        yield process
    finally:
        if process.returncode is None:
            _kill_group(process)
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Send SIGKILL to a process that is not reaped yet, and to all that it started in its group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _readable(fd: int, deadline: Deadline | None) -> None:
    """Wait until a descriptor is readable, or the deadline comes."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll(None if deadline is None else math.ceil(deadline.remaining * 1000))


def end_stream(stream: socket.socket) -> None:
    """Close a stream so that whoever still reads it, in another thread or through a file made of it, hears its end."""
    with suppress(OSError):  # the other side went first
        stream.shutdown(socket.SHUT_RDWR)
    stream.close()


def die_with_parent() -> None:
    """Make this process get SIGKILL when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).

    For workers of pytest-xdist, whose controller may be killed while they wait for a guest.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
