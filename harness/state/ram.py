"""The RAM section of a migration stream, stepped over.

Layout and flags: QEMU's `migration/ram.c` (RAM_SAVE_FLAG_*) and `docs/devel/migration/mapped-ram.rst`. Each record is
a 64-bit word, page address above, flags in the bits below the page size. Runs of pages are matched by one regular
expression, because a loop in Python over the 32768 zero pages of the two flash devices would cost more than all the
rest of the decoding.
"""

from __future__ import annotations

import mmap
import re
import zlib
from array import array
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache

from harness.state.cursor import Bad, Cursor

ZERO, MEM_SIZE, PAGE, EOS, CONTINUE, XBZRLE, COMPRESSED, FLUSH = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x100, 0x200
_MAPPED_HEADER = 4 + 8 + 8 + 8
_MANY = 1 << 24  # pages that any file may have; more only where it is that large
_AT_ONCE = 1024  # pages; what has been read of the file is given back after as many


@dataclass
class Block:
    """One RAM block: its size in bytes, and a CRC-32 of each page that was sent, 0 for one that is all zeros or was not."""

    size: int
    page_size: int
    pages: array[int] = field(default_factory=lambda: array("I"))
    # Pages sent as a difference to what the other side has, which says nothing by itself.
    opaque: int = 0


@dataclass
class Memory:
    """What the RAM sections of one stream hold, a digest for each page; the last one that was sent counts."""

    blocks: dict[str, Block] = field(default_factory=dict)
    _current: str = ""

    def announce(self, name: str, size: int, page_size: int) -> None:
        """Note a block of the list at the beginning."""
        self.blocks[name] = Block(size, page_size, array("I", bytes(4 * (size // page_size))))

    def enter(self, name: str) -> None:
        """Note the block that following pages belong to."""
        self._current = name

    def put(self, address: int, content: bytes | memoryview | None, at: int) -> None:
        """Note a page of the current block, None for one that cannot be read. Raises Bad where there is no such page."""
        block = self.blocks.get(self._current)
        if block is None or address // block.page_size >= len(block.pages):
            raise Bad(f"a page at {address:#x} of block {self._current!r}, which is not that large", at)
        if content is None:
            block.opaque += 1
        else:
            block.pages[address // block.page_size] = digest(content)

    def fill(self, address: int, byte: int, at: int) -> None:
        """Note a page that is one byte all over."""
        block = self.blocks.get(self._current)
        self.put(address, bytes([byte]) * (block.page_size if byte and block else 1), at)


def digest(page: bytes | memoryview) -> int:
    """Return a page's CRC-32, 0 where it is all zeros and 1 where its CRC is 0."""
    crc = zlib.crc32(page)
    return 0 if crc == _of_zeros(len(page)) and not any(page) else crc or 1


@cache
def _of_zeros(size: int) -> int:
    return zlib.crc32(bytes(size))


@cache
def _pages(page_bits: int) -> re.Pattern[bytes]:
    """Match many consecutive pages of the current block: zero pages and whole ones.

    There is nothing to go back for, but a possessive repetition goes wrong before Python 3.11.5 (python/cpython issue 106052).
    """
    clear = b"".join(re.escape(bytes([byte])) for byte in range(0, 256, 1 << page_bits - 8))
    zero, page = ZERO | CONTINUE, PAGE | CONTINUE
    return re.compile(b"(?:.{6}[%b](?:\\x%02x.|\\x%02x.{%d})){1,%d}" % (clear, zero, page, 1 << page_bits, _AT_ONCE), re.DOTALL)


def step_over(
    cursor: Cursor, page_bits: int, capabilities: Collection[str], blocks: dict[str, int], memory: Memory | None = None
) -> None:
    """Move to the end of one RAM section; note the size in bytes of each block it announces in `blocks`, pages in `memory`."""
    pages = _pages(page_bits)
    while True:
        while match := pages.match(cursor.data, cursor.at):
            if memory is not None:
                _note(memory, match.group(), 1 << page_bits, cursor.at)
            _give_back(cursor, match.start(), match.end())
            cursor.at = match.end()
        begin = cursor.at
        word = cursor.u64()
        flags = word & (1 << page_bits) - 1
        if flags == EOS:
            return
        if flags == MEM_SIZE:
            _block_list(cursor, word - flags, capabilities, blocks, memory, 1 << page_bits)
        elif flags & ~CONTINUE in (ZERO, PAGE, XBZRLE, COMPRESSED):
            if not flags & CONTINUE:
                name = cursor.text(cursor.u8())
                if memory is not None:
                    memory.enter(name)
            _page(cursor, flags & ~CONTINUE, word - flags, 1 << page_bits, memory)
        elif flags != FLUSH:
            raise Bad(f"unknown flags {flags:#x} in RAM", begin)


def _note(memory: Memory, run: bytes, size: int, begin: int) -> None:
    """Note a run of pages of the current block."""
    at, end, mask = 0, len(run), size - 1
    view = memoryview(run)
    while at < end:
        word = int.from_bytes(view[at : at + 8], "big")
        if word & ZERO:
            memory.fill(word & ~mask, run[at + 8], begin + at)
            at += 9
        else:
            memory.put(word & ~mask, view[at + 8 : at + 8 + size], begin + at)
            at += 8 + size


def _give_back(cursor: Cursor, begin: int, end: int) -> None:
    """Let the kernel take back a part of a mapped file that will not be read again."""
    if isinstance(cursor.data, mmap.mmap):
        first = -(-begin // mmap.PAGESIZE) * mmap.PAGESIZE
        if end - first >= mmap.PAGESIZE:
            cursor.data.madvise(mmap.MADV_DONTNEED, first, (end - first) // mmap.PAGESIZE * mmap.PAGESIZE)


def _page(cursor: Cursor, kind: int, address: int, size: int, memory: Memory | None) -> None:
    begin = cursor.at
    content: bytes | None = None
    match kind:
        case 0x02:
            byte = cursor.u8()
            if memory is not None:
                memory.fill(address, byte, begin)
            return
        case 0x08:
            content = cursor.take(size)
        case 0x40:
            cursor.skip(1)
            cursor.skip(cursor.u16())
        case _:
            cursor.skip(cursor.u32())
    if memory is not None:
        memory.put(address, content, begin)


def _block_list(
    cursor: Cursor,
    total: int,
    capabilities: Collection[str],
    blocks: dict[str, int],
    memory: Memory | None,
    page_size: int,
) -> None:
    if memory is not None and total // page_size > max(cursor.size, _MANY):
        raise Bad(f"RAM of {total:#x} bytes, for which the stream is too small", cursor.at)
    while total > 0:
        name = cursor.text(cursor.u8())
        size = cursor.u64()
        total -= size
        if total < 0:
            break
        blocks[name] = size
        if memory is not None:
            memory.announce(name, size, page_size)
        if "x-ignore-shared" in capabilities:
            cursor.skip(8)
        if "mapped-ram" in capabilities:
            _mapped(cursor, name, size, page_size, memory)
    if total < 0:
        raise Bad("the RAM blocks are larger than their sum", cursor.at)


def _mapped(cursor: Cursor, name: str, size: int, page_size: int, memory: Memory | None) -> None:
    """Step over the block's header, its bitmap, and its pages, which have a fixed place in the file."""
    begin = cursor.at
    version, unit, bitmap, pages = cursor.u32(), cursor.u64(), cursor.u64(), cursor.u64()
    if version != 1 or unit != page_size or not begin + _MAPPED_HEADER <= bitmap <= pages:
        raise Bad("a mapped-ram header that cannot be", begin)
    cursor.skip(pages + size - cursor.at)
    if memory is None:
        return
    memory.enter(name)
    # Whether a page is there: bits of 64-bit words, least significant first, in the source's order of bytes.
    there = cursor.data[bitmap : bitmap + -(-size // page_size // 64) * 8]
    for number in range(size // page_size):
        if there[number // 8] >> number % 8 & 1:
            at = pages + number * page_size
            memory.put(number * page_size, cursor.data[at : at + page_size], at)
            if number % _AT_ONCE == _AT_ONCE - 1:
                _give_back(cursor, at - _AT_ONCE * page_size, at)
