"""A host reached by SSH: an arm64 computer, or a lab, which is one too.

Programs talk over their standard streams, and Unix sockets are reached through the connection (OpenSSH's direct-streamlocal),
so no port is opened that other users of the host could connect to. A lost connection is the host's fault, and every call says
so at once.
"""

from __future__ import annotations

import io
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath, PurePosixPath
from typing import Self

from paramiko import Channel, ChannelException

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessBug, HarnessError, HostFailure
from harness.host import facts
from harness.host.keeper import Keeper, refused
from harness.host.link import BROKEN, Link, Login, connect, status_of
from harness.host.local import end_stream
from harness.host.protocol import Completed, Facts
from harness.host.streams import CHUNK, Sink, Source, Streams, bridge

# An emulated CPU needs about a second for the handshake, and several when the machine is busy.
CONNECT_SECONDS = 60.0
OPEN_SECONDS = 30.0
# No byte moved for so long ends a copy; there is no other limit, because the size and the line are not ours.
STALL_SECONDS = 60.0
# Output of a program that has ended may be held open by what it started; its last words have so long to arrive.
LINGER_SECONDS = 1.0

# $1: target, $2: size in bytes, $3: file mode. Whole or not at all, whatever breaks.
_PUT = r"""
export LC_ALL=C
t=$1.$$.part
cat >"$t" && size=$(wc -c <"$t") && chmod "$3" "$t" || { rm -f "$t"; exit 1; }
[ "$size" -eq "$2" ] && mv -f "$t" "$1" && exit 0
echo "$size of $2 bytes arrived" >&2
rm -f "$t"
exit 1
"""
_GET = 'export LC_ALL=C; size=$(wc -c <"$1") && echo "$size" && exec cat <"$1"'


class SshHost:
    """A host at the other end of a stream. Use it as a context manager.

    `dial` opens the stream. `cause` is asked why a connection was lost and may know better ("its kernel panicked").
    """

    # Descriptors do not travel over SSH. signal=off: a byte 3 in the stream is data, not an interrupt.
    stdio_chardev = "stdio,signal=off"

    def __init__(
        self,
        name: str,
        dial: Callable[[], socket.socket],
        login: Login,
        *,
        cause: Callable[[], HarnessError | None] | None = None,
        connect_seconds: float = CONNECT_SECONDS,
    ) -> None:
        self.name = name
        self._dial = dial
        self._login = login
        self._cause = cause
        self._connect_seconds = connect_seconds
        self._why: HarnessError | None = None
        self._link: Link | None = None
        self._keeper: Keeper | None = None
        self._brought: dict[tuple[str, int, int], PurePosixPath] = {}
        self._bringing = threading.Lock()

    def __enter__(self) -> Self:
        """Connect, log in, make the private directory. Raises HostFailure, UsageError."""
        deadline = Deadline.after(self._connect_seconds)
        try:
            self._link = connect(self._dial, self._login, self.name, deadline)
        except HostFailure:
            if (better := self._better()) is not None:
                raise better from None
            raise
        try:
            with self._answering():
                self._keeper = Keeper(self._link, self.name)
        except HarnessError:
            self._link.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs, remove the private directory, disconnect. A host that is lost has nothing left to end."""
        with suppress(HarnessError):  # lost, or just now; the keeper does its work when it hears of it
            self.check()
            self._kept().close(Deadline.after(OPEN_SECONDS))
        self._why = self._why or HostFailure("the connection was closed", where=self.name)
        self._live().close()

    def facts(self) -> Facts:
        """Return what the host says of itself. Raises HostFailure."""
        return facts.read(self.run(["sh", "-c", facts.SCRIPT], Deadline.after(OPEN_SECONDS)), self.name)

    def check(self) -> None:
        """Raise the cause when the connection is lost, or the keeper, which has ended everything then."""
        if self._why is None and self._keeper is not None and self._keeper.ended:
            why = "its keeper has ended: somebody killed it, or it had heard nothing from here for two minutes"
            self.lose(self._better() or HostFailure(why, where=self.name))
        if self._why is not None or not self._live().is_active():
            raise self._lost()

    def lose(self, why: HarnessError) -> None:
        """Give the host up: from now on everything raises `why`, and whoever waits is woken."""
        self._why = self._why or why
        self._live().close()

    def give_up(self) -> None:
        """Have nobody use it any more, for whatever has happened; whoever made it makes a fresh one."""
        self.lose(HostFailure("it was given up after a failure", where=self.name))

    def run(self, argv: Sequence[str], deadline: Deadline, *, stdin: bytes = b"") -> Completed:
        """Run a command to its end. Raises HostFailure, DeadlineExpired (it is killed)."""
        out, err = io.BytesIO(), io.BytesIO()
        source = io.BytesIO(stdin)
        with self._command(argv, (lambda: source.read(CHUNK)) if stdin else None, out.write, err.write, deadline) as streams:
            if not streams.ended.wait(deadline.remaining):
                self.check()
                what = f"{argv[0]} did not end within {deadline.seconds:.1f} s and was killed"
                raise DeadlineExpired(what, where=self.name)
        return Completed(tuple(argv), self.status(streams.channel), out.getvalue(), err.getvalue())

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str], stderr: Path) -> SshProcess:
        """Start a program; its standard error goes to a file on this computer. Raises HostFailure."""
        return SshProcess(self, argv, env, stderr)

    def put(self, source: Path, target: PurePath) -> None:
        """Copy a file to the host, with its mode, whole or not at all. Raises HostFailure (a full disk is named)."""
        try:
            with source.open("rb") as file:
                about = os.fstat(file.fileno())
                argv = ["sh", "-c", _PUT, "put", str(target), str(about.st_size), f"{about.st_mode & 0o777 | 0o600:o}"]
                self._copy(argv, lambda: file.read(CHUNK), lambda _: None, f"{source} to {target}")
        except OSError as error:
            raise HostFailure(f"cannot be read: {error.strerror or error}", where=str(source)) from error

    def get(self, source: PurePath, target: Path) -> None:
        """Copy a file from the host, whole or not at all. Raises HostFailure."""
        part = target.with_name(f"{target.name}.{os.getpid()}.{threading.get_ident()}.part")
        try:
            with part.open("wb") as file:
                sized = _Sized(file.write)
                self._copy(["sh", "-c", _GET, "get", str(source)], None, sized, f"{source} to {target}")
            if sized.missing:
                raise HostFailure(f"{sized.missing} bytes of {source} did not arrive", where=self.name)
            part.replace(target)
        except OSError as error:
            raise HostFailure(f"cannot be written: {error.strerror or error}", where=str(target)) from error
        finally:
            part.unlink(missing_ok=True)

    def bring(self, source: Path) -> PurePosixPath:
        """Return where a file of this computer is on the host, copied there the first time. Raises HostFailure."""
        try:
            about = source.stat()
        except OSError as error:
            raise HostFailure(f"cannot be read: {error.strerror}", where=str(source)) from error
        key = (str(source.absolute()), about.st_mtime_ns, about.st_size)
        with self._bringing:
            if key not in self._brought:
                target = self.directory("brought") / source.name
                self.put(source, target)
                self._brought[key] = target
            return self._brought[key]

    def connect(self, path: PurePath) -> socket.socket:
        """Return a stream connected to a Unix socket of the host. Raises HostFailure when nobody listens there."""
        with self._answering():
            try:
                return bridge(self._live().open_streamlocal(str(path), OPEN_SECONDS))
            except ChannelException as error:
                raise HostFailure(
                    f"cannot connect to {path}: {error.text or 'nobody listens there'}", where=self.name
                ) from error

    def directory(self, name: str) -> PurePosixPath:
        """Return a new, empty private directory on the host; it is gone when the harness or the connection is."""
        with self._answering():
            return self._kept().directory(name)

    # -- for a user at a terminal, and for others who come this way

    def execute(self, command: str) -> Channel:
        """Start a line of the login shell; the caller reads the channel, with which it ends. Raises HostFailure."""
        with self._answering():
            return self._live().execute(command, OPEN_SECONDS)

    def login_shell(self, terminal: str, columns: int, rows: int) -> Channel:
        """Start the login shell on a terminal of its own. Raises HostFailure."""
        with self._answering():
            channel = self._live().open_session(timeout=OPEN_SECONDS)
            channel.get_pty(terminal, columns, rows)
            channel.invoke_shell()
            return channel

    def open_loopback(self, port: int) -> Channel:
        """Return a channel to a TCP port of the host's own loopback. Raises HostFailure when nobody listens there."""
        with self._answering():
            here = ("127.0.0.1", port)
            try:
                return self._live().open_channel("direct-tcpip", here, ("127.0.0.1", 0), timeout=OPEN_SECONDS)
            except ChannelException as error:
                what = f"cannot connect to its port {port}: {error.text or 'nobody listens'}"
                raise HostFailure(what, where=self.name) from error

    # -- for its processes

    def start(self, argv: Sequence[str], env: Mapping[str, str], seconds: float) -> tuple[int, Channel]:
        """Start a program on a channel of its own, and return its number with the keeper. Raises HostFailure."""
        variables = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
        number, command = self._kept().guarded([*variables, *argv])
        with self._answering():
            return number, self._live().execute(command, seconds)

    def end(self, number: int, channel: Channel, *, running: bool) -> None:
        """Kill a program that runs, let the keeper forget one that does not. A host that is lost has done so itself."""
        with suppress(HostFailure):
            if running:
                self._kept().kill(number)
            else:
                self._kept().forget(number)
        if not running:
            with suppress(*BROKEN):
                channel.close()

    def status(self, channel: Channel) -> int:
        """Return the exit status of a program that has ended. Raises HostFailure when none was told."""
        status = status_of(channel)
        if status is not None:
            return status
        # A channel ends a moment before its transport does.
        self._live().join(LINGER_SECONDS)
        self.check()
        raise HostFailure("the SSH server ended a program without its exit status", where=self.name)

    # -- within

    @contextmanager
    def _command(
        self, argv: Sequence[str], stdin: Source | None, stdout: Sink, stderr: Sink, deadline: Deadline | None
    ) -> Iterator[Streams]:
        """Start a command, and kill it if it still runs when the block is left."""
        number, channel = self.start(argv, {}, OPEN_SECONDS if deadline is None else deadline.remaining)
        streams = Streams(channel, stdin, stdout, stderr, None)
        try:
            yield streams
        finally:
            if not streams.ended.is_set():
                self.end(number, channel, running=True)
                streams.ended.wait(LINGER_SECONDS)
            self.end(number, channel, running=False)

    def _copy(self, argv: Sequence[str], stdin: Source | None, stdout: Sink, what: str) -> None:
        """Run a command that moves a file, for as long as bytes move.

        Raises HostFailure with its reason, OSError for the file on this computer.
        """
        err = io.BytesIO()
        with self._command(argv, stdin, stdout, err.write, None) as streams:
            while not streams.ended.wait(1.0):
                if time.monotonic() - streams.moved > STALL_SECONDS:
                    self.check()
                    raise HostFailure(f"no byte moved for {STALL_SECONDS:.0f} s while copying {what}", where=self.name)
        if streams.error is not None:
            raise streams.error
        if self.status(streams.channel) != 0:
            raise refused(err.getvalue().decode("utf-8", "replace").strip(), self.name)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Make a broken connection, whatever it raises, the host's failure with its cause."""
        self.check()
        try:
            yield
        except (HostFailure, *BROKEN) as error:
            broken = error.__cause__ if isinstance(error, HostFailure) else error
            if isinstance(broken, BROKEN) and not isinstance(broken, ChannelException):
                # Whoever writes may find the connection broken a moment before the transport, which reads, has ended.
                self._live().join(LINGER_SECONDS)
            if self._why is not None or not self._live().is_active():
                raise self._lost() from error
            if isinstance(error, HostFailure):
                raise
            raise HostFailure(f"does not answer: {error}", where=self.name) from error

    def _lost(self) -> HarnessError:
        if self._why is None:
            self._why = self._better() or HostFailure("the connection was lost", where=self.name)
        return self._why

    def _better(self) -> HarnessError | None:
        return self._cause() if self._cause is not None else None

    def _live(self) -> Link:
        if self._link is None:
            raise HarnessBug(f"{self.name} was used before it was entered")
        return self._link

    def _kept(self) -> Keeper:
        if self._keeper is None:
            raise HarnessBug(f"{self.name} was used before it was entered")
        return self._keeper


class SshProcess:
    """A program on a host reached by SSH."""

    def __init__(self, host: SshHost, argv: Sequence[str], env: Mapping[str, str], stderr: Path) -> None:
        self._host = host
        self._closed = False
        self._number, self._channel = host.start(argv, env, OPEN_SECONDS)
        self.stdio, self._theirs = socket.socketpair()
        self._errors = stderr.open("wb", buffering=0)
        self._streams = Streams(self._channel, lambda: self._theirs.recv(CHUNK), self._take, self._errors.write, LINGER_SECONDS)
        self._streams.on_end(self._ended)

    def _take(self, data: bytes) -> None:
        self._theirs.sendall(data)

    def _ended(self) -> None:
        """Let both directions of our socket end, as they do when a local program ends."""
        with suppress(OSError):  # closed by `close`
            self._theirs.shutdown(socket.SHUT_RDWR)

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal's number) or None while it runs. Raises HostFailure."""
        if self._streams.ended.is_set():
            return self._host.status(self._channel)
        self._host.check()
        return None

    def wait(self, deadline: Deadline) -> int | None:
        """Return the exit status, or None where the deadline comes first. Raises HostFailure."""
        self._streams.ended.wait(deadline.remaining)
        return self.poll()

    def kill(self) -> None:
        """Kill it at once (SIGKILL), and what it started in its process group; no error where it has ended."""
        if not self._streams.ended.is_set():
            self._host.end(self._number, self._channel, running=True)

    def on_exit(self, heard: Callable[[], None]) -> None:
        """Have `heard` called once, by another thread unless it is over, when it has ended or its host is lost."""
        self._streams.on_end(heard)

    def close(self) -> None:
        """Kill it if it runs, wait for its end, and close what was opened. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self.kill()
        self._streams.ended.wait(OPEN_SECONDS)
        self._host.end(self._number, self._channel, running=False)
        end_stream(self.stdio)
        self._theirs.close()
        self._errors.close()


class _Sized:
    """Takes a line with a number and then so many bytes; `missing` says how many did not come."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._head: bytes | None = b""
        self.missing = 0

    def __call__(self, data: bytes) -> None:
        if self._head is not None:
            size, newline, rest = (self._head + data).partition(b"\n")
            self._head = None if newline else size
            if not newline:
                return
            self.missing, data = int(size), rest
        self._sink(data)
        self.missing -= len(data)
