"""A machine's serial console: a full log on disk, and pexpect on what has not been read yet.

The I/O thread owns the socket's reading side. It appends every byte to the log as it comes, whether or not anybody waits,
so QEMU never stalls on a full socket and the log is complete at any moment. pexpect searches a bounded window of the rest.
"""

from __future__ import annotations

import errno
import io
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pexpect
from pexpect.socket_pexpect import SocketSpawn

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestFailure, GuestSilent, HostFailure, QemuFailure
from harness.events import Timeline
from harness.qemu.hub import Hub

# What a guest says when it is lost; a wait for anything else ends here. The payloads' own panic line is part of their
# protocol; the rest are Linux's (kernel/panic.c, arch/arm64/mm/fault.c, kernel/watchdog.c, kernel/rcu/tree_stall.h).
PANICS = re.compile(
    rb"@\d+ panic [^\n]*\n|Kernel panic - not syncing[^\n]*\n|Unable to handle kernel [^\n]*\n|"
    rb"Internal error: [^\n]*\n|watchdog: BUG: soft lockup[^\n]*\n|rcu: INFO: rcu_\w+ (?:self-)?detected stall[^\n]*\n"
)
# The end only: a pattern for the whole line takes quadratic time on a long one, and `before` holds the line.
_END = re.compile(rb"\n")
# pexpect searches the newest WINDOW bytes only, so a read must stay below it or a line could pass unseen.
_READ = 2048
_WINDOW = 8192


class Console(SocketSpawn):  # type: ignore[type-arg]  # generic in the stubs only
    """The console of one machine.

    `closed_by_qemu` is called when QEMU has closed it and everything has been read; `alarmed` each time before more is waited
    for, and raises when QEMU has said that nothing more will come.
    """

    _before: io.BytesIO

    def __init__(self, hub: Hub, ours: socket.socket, side: str, log: Path, timeline: Timeline) -> None:
        super().__init__(ours, maxread=_READ, searchwindowsize=_WINDOW)
        self.delayafterread = None
        self._hub = hub
        self._side = side
        self._timeline = timeline
        self._path = log
        self._log_file = log.open("wb", buffering=0)
        self._broken: OSError | None = None
        self._unread = bytearray()
        self._ended = False
        self.closed_by_qemu: Callable[[], None] = lambda: None
        self.alarmed: Callable[[], None] = lambda: None
        self._deadline = Deadline.after(0)
        ours.setblocking(False)
        hub.post(hub.loop.add_reader, ours.fileno(), self._readable)

    def _readable(self) -> None:
        try:
            data = self.socket.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if data:
            self.heard(data)
        else:
            self._hub.loop.remove_reader(self.socket.fileno())
            self._ended = True
            self._hub.heard()

    def heard(self, data: bytes) -> None:
        """Take what the guest has said. Called by the I/O thread."""
        self._keep(data)
        self._unread += data
        self._hub.heard()

    def _keep(self, data: bytes) -> None:
        """Write all of it to the log, or remember why not: nobody would hear of an error in the I/O thread."""
        try:
            while data:
                data = data[self._log_file.write(data) :]
        except OSError as error:
            self._broken = self._broken or error

    def check_log(self) -> None:
        """Raise HostFailure where not all that was heard is in the log."""
        if self._broken is not None:
            what = f"cannot be written: {self._broken.strerror or self._broken}"
            remedy = "make room there" if self._broken.errno in (errno.ENOSPC, errno.EDQUOT) else ""
            raise HostFailure(what, where=str(self._path), remedy=remedy)

    def _take(self, size: int) -> bytes | None:
        if self._unread:
            data = bytes(self._unread[:size])
            del self._unread[: len(data)]  # not `size`: the I/O thread may have added to it meanwhile
            return data
        if self._ended:
            self.closed_by_qemu()
            raise pexpect.EOF("the console closed")
        self.check_log()
        self.alarmed()
        return None

    def read_nonblocking(self, size: int = 1, timeout: float | None = -1) -> bytes:  # noqa: ARG002  # pexpect's signature
        """Return up to `size` bytes as soon as there are any.

        Raises what `closed_by_qemu` raises, pexpect.EOF or pexpect.TIMEOUT.
        """
        try:
            return self._hub.until(lambda: self._take(size), self._deadline, "console output")
        except DeadlineExpired as error:
            raise pexpect.TIMEOUT(error.what) from error

    def line(self, deadline: Deadline, what: str) -> str:
        """Return the next whole line without its end.

        Raises GuestFailure on a panic, GuestSilent naming `what` was waited for, what `closed_by_qemu` raises or QemuFailure
        when the console has closed, HostFailure where the line has not come yet and the log cannot be written.
        """
        self._deadline = deadline
        try:
            self.expect([_END], timeout=None)
        except pexpect.TIMEOUT:
            last = (self.before or b"")[-200:]
            raise GuestSilent(
                f"waited {deadline.seconds:.1f} s for {what}",
                where=f"{self._side} console",
                remedy=f"last bytes {last!r}",
            ) from None
        except pexpect.EOF:
            raise QemuFailure("the console closed, but QEMU runs on", where=self._side) from None
        raw = (self.before or b"") + b"\n"
        text = raw.decode("utf-8", "backslashreplace").rstrip("\r\n")
        self._timeline.add(self._side, "console", text)
        if PANICS.search(raw):
            raise GuestFailure(f"the guest panicked: {text}", where=f"{self._side} console")
        return text

    def leftover(self) -> tuple[list[str], bytes]:
        """Take what has come and not been read: whole lines, and the beginning of one.

        For a guest that goes on in another machine; half a line may have left it here and the other half there.
        """
        taken = bytes(self._unread)
        del self._unread[: len(taken)]  # what the I/O thread adds meanwhile stays
        data = self.buffer + taken
        self.buffer = b""
        self._before = io.BytesIO()  # pexpect's copy of what it has not matched yet; it would come up again
        *lines, rest = data.split(b"\n")
        return [line.decode("utf-8", "backslashreplace").rstrip("\r") for line in lines], rest

    def continues(self, beginning: bytes) -> None:
        """Read `beginning` before what this machine itself wrote: the half line from the machine before."""
        self._unread[:0] = beginning

    def say(self, data: bytes) -> None:
        """Send bytes to the guest. Raises what `closed_by_qemu` raises, or QemuFailure, where nobody takes them any more.

        A guest that has ended with words that nobody has heard yet is no failure: they may tell why, and reading on ends.
        """
        self._timeline.add(self._side, "send", repr(data.decode("latin-1")))
        try:
            self.socket.sendall(data)
        except OSError as error:
            if self._unread or self.buffer or not self._ended:
                return
            self.closed_by_qemu()
            raise QemuFailure(f"the console takes nothing any more: {error.strerror or error}", where=self._side) from error

    def close(self) -> None:
        """Stop reading and close the log; what was logged stays."""
        if not self._log_file.closed:
            if not self._ended:
                self._hub.call(self._hub.loop.remove_reader, self.socket.fileno())
                self._drain()
            self.socket.close()
            self._log_file.close()

    def _drain(self) -> None:
        """Log what QEMU had written before it went."""
        try:
            while data := self.socket.recv(65536):
                self._keep(data)
        except (BlockingIOError, ConnectionResetError):
            return
