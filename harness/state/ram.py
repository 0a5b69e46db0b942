"""The RAM section of a migration stream, stepped over.

Layout and flags: QEMU's `migration/ram.c` (RAM_SAVE_FLAG_*) and `docs/devel/migration/mapped-ram.rst`. Each record is
a 64-bit word, page address above, flags in the bits below the page size. Runs of pages are matched by one regular
expression, because a loop in Python over the 32768 zero pages of the two flash devices would cost more than all the
rest of the decoding.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from harness.state.cursor import Bad, Cursor

ZERO, MEM_SIZE, PAGE, EOS, CONTINUE, XBZRLE, COMPRESSED, FLUSH = 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x100, 0x200
_MAPPED_HEADER = 4 + 8 + 8 + 8


@cache
def _pages(page_bits: int) -> re.Pattern[bytes]:
    """Match as many consecutive pages of the current block as there are: zero pages and whole ones."""
    clear = b"".join(re.escape(bytes([byte])) for byte in range(0, 256, 1 << page_bits - 8))
    zero, page = ZERO | CONTINUE, PAGE | CONTINUE
    return re.compile(b"(?:.{6}[%b](?:\\x%02x.|\\x%02x.{%d}))++" % (clear, zero, page, 1 << page_bits), re.DOTALL)


def step_over(cursor: Cursor, page_bits: int, capabilities: Collection[str], blocks: dict[str, int]) -> None:
    """Move to the end of one RAM section; note the size in bytes of each block it announces in `blocks`."""
    pages = _pages(page_bits)
    while True:
        if match := pages.match(cursor.data, cursor.at):
            cursor.at = match.end()
        begin = cursor.at
        word = cursor.u64()
        flags = word & (1 << page_bits) - 1
        if flags == EOS:
            return
        if flags == MEM_SIZE:
            _block_list(cursor, word - flags, capabilities, blocks)
        elif flags & ~CONTINUE in (ZERO, PAGE, XBZRLE, COMPRESSED):
            if not flags & CONTINUE:
                cursor.text(cursor.u8())
            _page(cursor, flags & ~CONTINUE, 1 << page_bits)
        elif flags != FLUSH:
            raise Bad(f"unknown flags {flags:#x} in RAM", begin)


def _page(cursor: Cursor, kind: int, size: int) -> None:
    match kind:
        case 0x02:
            cursor.skip(1)
        case 0x08:
            cursor.skip(size)
        case 0x40:
            cursor.skip(1)
            cursor.skip(cursor.u16())
        case _:
            cursor.skip(cursor.u32())


def _block_list(cursor: Cursor, total: int, capabilities: Collection[str], blocks: dict[str, int]) -> None:
    while total > 0:
        name = cursor.text(cursor.u8())
        size = cursor.u64()
        blocks[name] = size
        total -= size
        if "x-ignore-shared" in capabilities:
            cursor.skip(8)
        if "mapped-ram" in capabilities:
            _mapped(cursor, size)
    if total < 0:
        raise Bad("the RAM blocks are larger than their sum", cursor.at)


def _mapped(cursor: Cursor, size: int) -> None:
    """Step over the block's header, its bitmap, and its pages, which have a fixed place in the file."""
    begin = cursor.at
    version, _page_size, bitmap, pages = cursor.u32(), cursor.u64(), cursor.u64(), cursor.u64()
    if version != 1 or not begin + _MAPPED_HEADER <= bitmap <= pages:
        raise Bad("a mapped-ram header that cannot be", begin)
    cursor.skip(pages + size - cursor.at)
