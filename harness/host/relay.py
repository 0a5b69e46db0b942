"""A stream from a Unix socket of one host to a Unix socket of another, through this computer.

For a QEMU that migrates its guest to another host: it connects to a socket in its own private directory, and no port is
opened anywhere. One connection; the relay ends with it.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PurePath

from harness.errors import HostFailure
from harness.host.protocol import Host

# Runs on the first host: a socket at the path given; what comes there goes to standard output, and the reverse.
_LISTENER = """\
import os, socket, sys, threading
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(1)
os.write(1, b"!")
connection = listener.accept()[0]
def inward():
    while data := os.read(0, 1 << 16):
        connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
threading.Thread(target=inward, daemon=True).start()
while data := connection.recv(1 << 16):
    while data:
        data = data[os.write(1, data):]
"""
_SECONDS = 20.0


class Relay:
    """A relay from `path` on `near` to the listening socket `target` on `far`. Raises HostFailure if either is out of reach."""

    def __init__(self, near: Host, path: PurePath, far: Host, target: PurePath, log: Path) -> None:
        self.path = path
        self._process = near.spawn(["python3", "-c", _LISTENER, str(path)], env={}, stderr=log)
        try:
            self._begin(near, log)
            self._far = far.connect(target)
        except BaseException:
            self._process.close()
            raise
        ours = self._process.stdio
        for source, sink in ((ours, self._far), (self._far, ours)):
            threading.Thread(target=pump, args=(source, sink), name="harness-relay", daemon=True).start()

    def _begin(self, near: Host, log: Path) -> None:
        """Wait until the listener is there. Raises HostFailure."""
        ours = self._process.stdio
        ours.settimeout(_SECONDS)
        with suppress(OSError):  # it says nothing in time, or has gone
            if ours.recv(1) == b"!":
                ours.settimeout(None)
                return
        words = log.read_text("utf-8", "replace").strip().splitlines()
        raise HostFailure(f"no relay could be started: {words[-1] if words else 'it said nothing'}", where=near.name)

    def close(self) -> None:
        """End it, whatever is under way."""
        for end in (self._far, self._process.stdio):
            with suppress(OSError):  # the other side may have gone first
                end.shutdown(socket.SHUT_RDWR)
        self._far.close()
        self._process.close()


def _whole(data: bytes) -> Iterable[bytes]:
    return (data,)


def pump(source: socket.socket, sink: socket.socket, pieces: Callable[[bytes], Iterable[bytes]] = _whole) -> None:
    """Copy until the source ends, then say so to the sink. A broken stream is QEMU's to report, on both sides.

    `pieces` makes of what was read what is to be written, in its own time.
    """
    with suppress(OSError):
        while data := source.recv(1 << 16):
            for piece in pieces(data):
                sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
