"""Reads from an ELF file which libraries it asks for, and has it start faster (System V ABI, chapters 4 and 5).

64-bit little-endian files only.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path

AARCH64 = 183
"""e_machine of arm64 (EM_AARCH64)."""
_PT_NULL, _PT_LOAD, _PT_DYNAMIC, _PT_GNU_RELRO = 0, 1, 2, 0x6474E552
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_FLAGS, _DT_FLAGS_1 = 0, 1, 5, 30, 0x6FFFFFFB
_BIND_NOW = {_DT_FLAGS: 8, _DT_FLAGS_1: 1}
"""DF_BIND_NOW and DF_1_NOW."""


def machine(data: bytes) -> int | None:
    """Return e_machine; None where `data` is no 64-bit little-endian ELF file."""
    if data[:6] != b"\x7fELF\x02\x01" or len(data) < 64:
        return None
    return int(struct.unpack_from("<H", data, 18)[0])


def needed(data: bytes) -> tuple[str, ...]:
    """Return the sonames in DT_NEEDED, in order; none for a static program. Raises ValueError where the file is cut short."""
    try:
        return _needed(data)
    except (struct.error, ValueError, StopIteration) as error:
        raise ValueError(f"the ELF file is cut short or damaged ({error})") from error


def closure(programs: Iterable[bytes], libraries: Mapping[str, Path]) -> tuple[dict[str, Path], tuple[str, ...]]:
    """Return all libraries that the programs need, directly or not, by soname; and the sonames that `libraries` lacks."""
    found: dict[str, Path] = {}
    lacking: set[str] = set()
    waiting = list(programs)
    while waiting:
        for soname in needed(waiting.pop()):
            if soname in found or soname in lacking:
                continue
            if (path := libraries.get(soname)) is None:
                lacking.add(soname)
                continue
            found[soname] = path
            waiting.append(path.read_bytes())
    return found, tuple(sorted(lacking))


def lazy(data: bytes) -> bytes:
    """Return the file with each function bound when it is first called, where it says that all are bound at the start.

    Distributions link for hardening (-z now -z relro). Of QEMU's start in a lab, where every lookup is emulated, that is about
    half. What is bound late needs a table that stays writable, so RELRO goes too. Raises ValueError for a damaged file.
    """
    try:
        changed = bytearray(data)
        for position, tag, value in _dynamic(data):
            if value & _BIND_NOW.get(tag, 0):
                struct.pack_into("<Q", changed, position + 8, value & ~_BIND_NOW[tag])
        if changed != data:
            for position, kind, *_ in _segments(data):
                if kind == _PT_GNU_RELRO:
                    struct.pack_into("<I", changed, position, _PT_NULL)
        return bytes(changed)
    except struct.error as error:
        raise ValueError(f"the ELF file is cut short or damaged ({error})") from error


def _needed(data: bytes) -> tuple[str, ...]:
    loads = [(offset, address, length) for _, kind, offset, address, length in _segments(data) if kind == _PT_LOAD]
    names: list[int] = []
    strings = 0
    for _, tag, value in _dynamic(data):
        if tag == _DT_NEEDED:
            names.append(value)
        elif tag == _DT_STRTAB:
            strings = next(offset + value - address for offset, address, length in loads if 0 <= value - address < length)
    return tuple(data[strings + name : data.index(b"\0", strings + name)].decode() for name in names)


def _segments(data: bytes) -> list[tuple[int, int, int, int, int]]:
    """Return of each segment where its header is, its type, its place in the file and in memory, its length in the file."""
    (table,) = struct.unpack_from("<Q", data, 32)
    size, count = struct.unpack_from("<HH", data, 54)
    found = []
    for position in range(table, table + size * count, size):
        kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, position)
        found.append((position, kind, offset, address, length))
    return found


def _dynamic(data: bytes) -> list[tuple[int, int, int]]:
    """Return of each entry of the dynamic section where it is, its tag and its value; nothing for a static program."""
    start = next((offset for _, kind, offset, *_ in _segments(data) if kind == _PT_DYNAMIC), None)
    if start is None:
        return []
    found = []
    for position in itertools.count(start, 16):
        tag, value = struct.unpack_from("<QQ", data, position)
        if tag == _DT_NULL:
            break
        found.append((position, tag, value))
    return found
