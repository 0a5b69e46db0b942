"""What carries bytes between an SSH channel and this computer: threads, so that both ends are plain blocking streams."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from paramiko import Channel

from harness.host.link import BROKEN

CHUNK = 1 << 16
Source = Callable[[], bytes]
Sink = Callable[[bytes], object]


class Streams:
    """The three streams of a program on the other side, each carried by a thread, and its end.

    `ended` is set when the exit status is known, or the channel closed without one, and the output is complete. A program whose
    output others hold open has `linger` seconds for that (None: as long as it takes).
    """

    def __init__(self, channel: Channel, stdin: Source | None, stdout: Sink, stderr: Sink, linger: float | None) -> None:
        self.channel = channel
        self.ended = threading.Event()
        # When the last byte moved, on the monotonic clock, and what went wrong with a stream of this computer.
        self.moved = time.monotonic()
        self.error: OSError | None = None
        self._linger = linger
        self._lock = threading.Lock()
        self._hearers: list[Callable[[], None]] = []
        pumps = [_thread(self._outward, channel.recv, stdout), _thread(self._outward, channel.recv_stderr, stderr)]
        if stdin is not None:
            _thread(self._inward, stdin)
        else:
            with suppress(*BROKEN):  # the end of the channel tells
                channel.shutdown_write()
        _thread(self._end, pumps)

    def on_end(self, heard: Callable[[], None]) -> None:
        """Have `heard` called once when it has ended; at once where it has."""
        with self._lock:
            if not self.ended.is_set():
                self._hearers.append(heard)
                return
        heard()

    def _outward(self, receive: Callable[[int], bytes], sink: Sink) -> None:
        """Carry output until it ends. Where nobody takes it any more it is still drained, so that the program goes on."""
        broken = False
        with suppress(*BROKEN):  # the connection is gone, and with it the channel
            while data := receive(CHUNK):
                self.moved = time.monotonic()
                if broken:
                    continue
                try:
                    sink(data)
                except OSError as error:
                    broken, self.error = True, error

    def _inward(self, source: Source) -> None:
        """Carry input until it ends. A program that reads no more says by its exit status what it thinks of that."""
        while True:
            try:
                data = source()
            except ValueError:  # a file that was closed: whoever gave it has heard the end already
                return
            except OSError as error:
                self.error, data = error, b""
            try:
                if not data:
                    self.channel.shutdown_write()
                    return
                self.channel.sendall(data)
            except BROKEN:
                return
            self.moved = time.monotonic()

    def _end(self, pumps: list[threading.Thread]) -> None:
        self.channel.status_event.wait()
        for pump in pumps:
            pump.join(self._linger)
        with self._lock:
            self.ended.set()
        for heard in self._hearers:
            heard()


def bridge(channel: Channel) -> socket.socket:
    """Return a socket that is connected to what the channel is connected to. Either side may close."""
    ours, theirs = socket.socketpair()
    lead(channel, theirs)
    return ours


def lead(channel: Channel, theirs: socket.socket) -> None:
    """Connect a socket with what the channel is connected to, and close both at the end. Either side may close."""

    def outward() -> None:
        with suppress(*BROKEN):  # whoever broke it knows; the other end hears that it ended
            while data := channel.recv(CHUNK):
                theirs.sendall(data)
        with suppress(OSError):
            theirs.shutdown(socket.SHUT_WR)

    def inward() -> None:
        with suppress(*BROKEN):
            while data := theirs.recv(CHUNK):
                channel.sendall(data)
            channel.shutdown_write()
        out.join()
        theirs.close()
        with suppress(*BROKEN):
            channel.close()

    out = _thread(outward)
    _thread(inward)


def _thread(function: Callable[..., None], *args: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, name="harness-ssh", daemon=True)
    thread.start()
    return thread
