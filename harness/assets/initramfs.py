"""Writes initramfs archives: the format `newc` of cpio, byte for byte the same from the same content.

The format is documented in the kernel's tree, Documentation/driver-api/early-userspace/buffer-format.rst: a header of
hexadecimal fields, the name, the content, each padded to four bytes. Archives can be put one behind the other, and a
later entry replaces an earlier one of the same name.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

_TRAILER = "TRAILER!!!"


class Sink(Protocol):
    """What bytes are written to: a file, a digest."""

    def write(self, data: bytes, /) -> object:
        """Take the bytes."""


@dataclass(frozen=True)
class Entry:
    """One file: its path without a leading slash, its mode with the type bits, and its content.

    The content is bytes (a symlink's target too), or a file of this computer. Everything belongs to root, at time 0.
    """

    path: str
    mode: int
    content: bytes | Path = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, permissions: int = 0o755) -> Entry:
    """Return a directory."""
    return Entry(path, stat.S_IFDIR | permissions)


def file(path: str, content: bytes | Path, permissions: int = 0o644) -> Entry:
    """Return a regular file."""
    return Entry(path, stat.S_IFREG | permissions, content)


def link(path: str, target: str) -> Entry:
    """Return a symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, target.encode())


def character_device(path: str, major: int, minor: int, permissions: int = 0o600) -> Entry:
    """Return a node of a character device."""
    return Entry(path, stat.S_IFCHR | permissions, device=(major, minor))


def tree(root: Path, prefix: str = "") -> Iterator[Entry]:
    """Yield every file, link and directory below `root`, with `prefix` before its path."""
    for path in sorted(root.rglob("*")):
        name = f"{prefix}{path.relative_to(root)}"
        if path.is_symlink():
            yield link(name, str(path.readlink()))
        elif path.is_dir():
            yield directory(name)
        else:
            yield file(name, path, 0o755 if os.access(path, os.X_OK) else 0o644)


def write(entries: Sequence[Entry], out: Sink) -> None:
    """Write the archive, sorted by path, with the directories that the entries lie in."""
    found = {entry.path: entry for entry in entries}
    for path in list(found):
        for parent in Path(path).parents:
            if str(parent) != ".":
                found.setdefault(str(parent), directory(str(parent)))
    # Parents sort before what lies in them: a path is a prefix of those below it.
    for number, path in enumerate(sorted(found), start=1):
        _write_entry(found[path], number, out)
    _write_entry(Entry(_TRAILER, 0), 0, out)


def _write_entry(entry: Entry, number: int, out: Sink) -> None:
    content = entry.content.read_bytes() if isinstance(entry.content, Path) else entry.content
    name = entry.path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, len(content), 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    out.write(_padded(header + name))
    out.write(_padded(content))


def _padded(data: bytes) -> bytes:
    return data + b"\0" * (-len(data) % 4)
