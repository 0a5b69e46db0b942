"""A reading position in bytes that never runs past the end: the base of the stream decoder."""

from __future__ import annotations

import mmap
import struct


class Bad(Exception):
    """What is wrong with the bytes, and at which offset. Never leaves the decoder: it becomes a StreamError."""

    def __init__(self, what: str, offset: int, remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.offset = offset
        self.remedy = remedy


class Cursor:
    """Big-endian reads at `at`; every one of them raises Bad where too few bytes are left."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self.data = data
        self.size = len(data)
        self.at = 0

    def skip(self, count: int) -> int:
        """Step over `count` bytes and return the offset they begin at."""
        begin = self.at
        if count > self.size - begin:
            raise Bad("the stream was cut off", self.size)
        self.at = begin + count
        return begin

    def take(self, count: int) -> bytes:
        """Return the next `count` bytes."""
        begin = self.skip(count)
        return self.data[begin : begin + count]

    def peek(self, count: int) -> bytes:
        """Return up to `count` bytes without moving."""
        return self.data[self.at : self.at + count]

    def u8(self) -> int:
        """Read one byte."""
        return self.data[self.skip(1)]

    def u16(self) -> int:
        """Read two bytes."""
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        """Read four bytes."""
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        """Read eight bytes."""
        return int.from_bytes(self.take(8), "big")

    def text(self, length: int) -> str:
        """Read `length` bytes of a name."""
        begin = self.at
        raw = self.take(length)
        try:
            return raw.decode("ascii")
        except UnicodeDecodeError:
            raise Bad(f"a name that is not text: {raw[:32]!r}", begin) from None

    def integers(self, code: str, count: int) -> tuple[int, ...]:
        """Read `count` integers of one `struct` format letter."""
        layout = struct.Struct(f">{count}{code}")
        return layout.unpack_from(self.data, self.skip(layout.size))

    def count(self, number: int, size: int) -> int:
        """Return `number`, how many things of at least `size` bytes each should follow; Bad where they cannot."""
        if number * size > self.size - self.at:
            raise Bad("the stream was cut off", self.size)
        return number

    def find(self, what: bytes) -> int:
        """Return the next offset of `what`."""
        found = self.data.find(what, self.at)
        if found < 0:
            raise Bad("the stream was cut off", self.size)
        return found
