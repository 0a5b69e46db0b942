"""A stream between two Unix sockets of this computer that fails on purpose: it stops, breaks or changes a byte at a mark.

For faults of a migration: QEMU connects to the line's socket and not to the destination's. A mark is a place after the head
of something in the stream (docs/devel/migration/main.rst in QEMU's tree, "Stream structure"), so a fault comes at the same
place in every run, and whoever waits for it hears of it by an event. Only what goes to the destination is stopped or changed;
the return path is carried as it is.
"""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from harness.deadline import Deadline
from harness.host.relay import pump

# So many bytes are remembered of what has passed, to find a head that came in two pieces.
_HEAD = 4096


@dataclass(frozen=True)
class Mark:
    """The place `offset` bytes after the end of the first match of `head` (a regular expression), on whichever connection."""

    head: bytes
    offset: int = 0

    @classmethod
    def section(cls, name: str, offset: int = 0) -> Mark:
        """Return the place `offset` bytes into the first section of that name, after its head."""
        word = name.encode()
        return cls(rb"(?s:[\x01\x04].{4})" + re.escape(bytes([len(word)]) + word) + rb"(?s:.{8})", offset)


# Magic and version, which only the main channel of a migration begins with.
MAIN = Mark(rb"QEVM(?s:.{4})")
# The footer of the section that announces the memory, and the head of the first one with pages.
PAGES = Mark(rb"(?s:\x7e(.{4})\x02\1)")
# The footer of a section with pages, and the head of the last one, before the devices; since 11.0 a command is between them.
LAST_PAGES = Mark(rb"(?s:\x7e(.{4})(?:\x08.{2}\x00\x00)?\x03\1)")
# The end of the section that announces the memory.
ANNOUNCED = Mark(rb"(?s:\x01(.{4})\x03ram.{8,4000}?\x7e\1)")
# The end of the last section and of the stream proper, and the beginning of what describes it in JSON (QEMU_VM_VMDESCRIPTION).
DESCRIPTION = Mark(rb"(?s:\x7e.{4}\x00\x06.{4})\{\"")
# The end of what a postcopy guest needs in order to run: a ping, and the command to (migration/migration.c, postcopy_start).
RUN = Mark(rb"\x08\x00\x02\x00\x04\x00{3}(?s:.)\x08\x00\x05\x00\x00")
# What a channel of multifd begins with (migration/multifd.c, MULTIFD_MAGIC).
CHANNEL = Mark(rb"\x11\x22\x33\x44")


class Line:
    """A Unix socket at `path`; whatever connects there is connected with the one at `target`. Use it as a context manager.

    `heard` is called, from a thread of the line, when its mark has been reached or something has connected.
    """

    def __init__(self, path: Path, target: Path, heard: Callable[[], None] = lambda: None) -> None:
        self.path = path
        # How many bytes have passed to the destination, and how many times it was connected.
        self.passed = 0
        self.connections = 0
        self._target, self._heard = target, heard
        self._changed = threading.Condition()
        self._marks: list[Mark] = []
        self._bits = 0
        self._held: list[_Connection] = []
        self._open: list[_Connection] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._run(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        """Cut it and listen no more."""
        self.close()

    def hold_at(self, *marks: Mark) -> None:
        """Let the connections that the marks are on stop there, until they are released or cut; others go on."""
        self._set(marks, 0)

    def flip_at(self, mark: Mark, bits: int = 0xFF) -> None:
        """Invert bits of the byte after the mark; the stream goes on."""
        self._set((mark,), bits)

    @property
    def reached(self) -> bool:
        """Whether every mark has been reached."""
        return not self._marks

    @property
    def holding(self) -> bool:
        """Whether something stands still."""
        return bool(self._held)

    def hold(self) -> None:
        """Let every connection stop where it is, until it is released or cut."""
        with self._changed:
            self._held = list(self._open)

    def release(self) -> None:
        """Let what was stopped go on."""
        with self._changed:
            self._held = []
            self._changed.notify_all()

    def cut(self) -> None:
        """Break every connection; what has not passed yet never will. Who connects later is connected."""
        with self._changed:
            for connection in self._open:
                connection.cut()
            self._marks = []
            self.release()

    def lose(self) -> None:
        """Break the connections that stand still; the others are carried on to their end."""
        with self._changed:
            for connection in self._held:
                connection.cut()
            self.release()

    def run_out(self, deadline: Deadline) -> None:
        """Wait until all that a sender which has ended had sent has passed, or until the deadline: nobody may be reading it."""
        with self._changed:
            self._changed.wait_for(lambda: all(each.has_passed or each.is_cut for each in self._open), deadline.remaining)

    def close(self) -> None:
        """Cut it and listen no more. May be called twice."""
        with suppress(OSError):  # closed before
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join()

    def _set(self, marks: Sequence[Mark], bits: int) -> None:
        with self._changed:
            self._marks, self._bits = list(marks), bits

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, name="harness-line", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):  # closed
            while True:
                near = self._listener.accept()[0]
                far = socket.socket(socket.AF_UNIX)
                try:
                    far.connect(str(self._target))
                except OSError:  # whoever listened there is gone; let the other side hear that
                    near.close()
                    far.close()
                    continue
                connection = _Connection(near, far)
                with self._changed:
                    self._open.append(connection)
                    self.connections += 1
                self._run(self._carry, connection)
                self._heard()

    def _carry(self, connection: _Connection) -> None:
        """Carry one connection until both of its ends have ended."""
        back = threading.Thread(target=self._back, args=(connection,), name="harness-line", daemon=True)
        back.start()
        pump(connection.near, connection.far, lambda data: self._pieces(connection, data))
        with self._changed:
            connection.has_passed = True
            self._changed.notify_all()
        back.join()
        with self._changed:
            self._open.remove(connection)
        connection.near.close()
        connection.far.close()

    def _back(self, connection: _Connection) -> None:
        pump(connection.far, connection.near)
        # A destination that has gone hears nothing any more, and the source has to be told as without a line.
        with self._changed:
            connection.cut()
            self._changed.notify_all()

    def _pieces(self, connection: _Connection, data: bytes) -> Iterator[bytes]:
        """Give what may pass of the data that was read."""
        with self._changed:
            places = {mark: place for mark in self._marks if (place := connection.find(mark, data)) is not None}
        connection.remember(data)
        for mark, place in places.items():
            # What comes at the end of what was read is held before more is there; a byte to be changed has to be.
            if place < len(data) + (not self._bits):
                yield self._passing(data[:place])
                data = self._at_mark(mark, connection, data[place:])
                break
        with self._changed:
            self._changed.wait_for(lambda: connection.is_cut or connection not in self._held)
        yield self._passing(data)

    def _at_mark(self, mark: Mark, connection: _Connection, rest: bytes) -> bytes:
        """Do what is to be done at the mark; return what is to follow."""
        with self._changed:
            self._marks = [each for each in self._marks if each is not mark]
            if not self._bits:
                self._held.append(connection)
            bits = self._bits
        self._heard()
        return bytes([rest[0] ^ bits]) + rest[1:] if bits else rest

    def _passing(self, data: bytes) -> bytes:
        with self._changed:
            self.passed += len(data)
        return data


class _Connection:
    """Two ends, and where a mark is in what goes from the one to the other."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.is_cut = False
        # All that the sender had sent until it ended.
        self.has_passed = False
        self._tail = b""
        self._read = 0
        self._found: dict[Mark, int] = {}

    def find(self, mark: Mark, data: bytes) -> int | None:
        """Return where the mark will be, from the beginning of `data`; None before its head has come."""
        if mark not in self._found:
            heads = re.finditer(mark.head, self._tail + data)
            ends = [head.end() for head in heads if head.end() > len(self._tail)]
            if not ends:
                return None
            self._found[mark] = self._read - len(self._tail) + ends[0] + mark.offset
        return self._found[mark] - self._read

    def remember(self, data: bytes) -> None:
        """Count what was read, and keep its end: a head may come in two pieces."""
        self._read += len(data)
        self._tail = (self._tail + data)[-_HEAD:]

    def cut(self) -> None:
        """End both directions on both sides."""
        self.is_cut = True
        for end in (self.near, self.far):
            with suppress(OSError):  # the other side has gone first
                end.shutdown(socket.SHUT_RDWR)
