"""Small stand-ins for what a lab is made of: kernels, modules, ELF files, and assets in the cache."""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Sequence
from pathlib import Path

from harness.assets import cache, kernels, lab_parts

VERSION = "7.3.4+deb13-cloud-arm64"
CONFIG = "".join(f"CONFIG_{requirement.option}=y\n" for requirement in kernels.REQUIREMENTS)


def image(version: str = VERSION, config: str | None = None, flags: int = 0b1010, size: int = 8192) -> bytes:
    """Return an arm64 Image with a PE header that says how long it is."""
    header = struct.pack("<2sH4xQQQ24xII", b"MZ", 0xFA40, 0, size, flags, 0x644D5241, 64)
    pe = b"PE\0\0" + struct.pack("<HH12xHH", 0xAA64, 2, 160, 0x206) + bytes(160)
    sections = struct.pack("<8sIIII16x", b".text", 0, 0, 4096, 4096) + struct.pack(
        "<8sIIII16x", b".data", 0, 0, size - 8192, 8192
    )
    body = header + pe + sections + b"Linux version %s (x@y) (gcc) #1 SMP\n\0" % version.encode()
    if config is not None:
        body += b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED"
    return body.ljust(size, b"\0")


def module(depends: str = "", version: str = VERSION) -> bytes:
    """Return what looks like a module to those who read its .modinfo only."""
    return f"\x7fELF\0license=GPL\0depends={depends}\0name=x\0vermagic={version} SMP mod_unload aarch64\0".encode()


def elf(
    needed: Sequence[str] = (),
    machine: int = 183,
    tail: bytes = b"",
    flags: Sequence[tuple[int, int]] = (),
    relro: int = 0x6474E552,
) -> bytes:
    """Return a 64-bit ELF file with a dynamic section that asks for `needed`; without any it is static.

    `flags` are further dynamic entries, `relro` the type of its last segment.
    """
    names = b"\0" + b"".join(name.encode() + b"\0" for name in needed)
    base, strings = 0x10000, 64 + 3 * 56
    dynamic, position = b"", 1
    for name in needed:
        dynamic += struct.pack("<QQ", 1, position)
        position += len(name) + 1
    dynamic += b"".join(struct.pack("<QQ", *flag) for flag in flags)
    dynamic += struct.pack("<QQQQ", 5, base + strings, 0, 0)
    total = strings + len(names) + len(dynamic)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 3 if needed else 1, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, total, total, 4096)
    table = struct.pack("<IIQQQQQQ", 2, 6, strings + len(names), 0, 0, len(dynamic), len(dynamic), 8)
    protected = struct.pack("<IIQQQQQQ", relro, 4, 0, base, base, total, total, 1)
    return header + load + table + protected + names + dynamic + tail


def qemu(needed: Sequence[str] = (), version: str = "11.1.3 (Debian x)") -> bytes:
    """Return a program that says it is a QEMU."""
    return elf(needed, tail=f"\0QEMU emulator version {version}\n\0".encode())


def asset(place: Path, files: dict[str, bytes], **facts: object) -> Path:
    """Put a complete asset into the cache."""
    for name, content in files.items():
        path = place / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (place / cache.MARKER).write_text(json.dumps({"origin": "Debian x", "content": place.name, **facts}))
    return place


def set_up(suite: str = lab_parts.DEFAULT_SUITE) -> None:
    """Put into the cache what set-up gets from Debian for a lab of this suite."""
    base, kernel, inner = (part.place for part in lab_parts.needed(suite, suite))
    asset(base, {"usr/bin/busybox": b"shell"})
    (kernel / "tree/modules").mkdir(parents=True)
    asset(kernel, {"Image": image()}, version=VERSION, modules=lab_parts.content(kernel / "tree/modules"))
    libraries = {"lib/libc.so.6": elf(["ld-linux-aarch64.so.1"]), "lib/ld-linux-aarch64.so.1": elf()}
    asset(inner, {"bin/qemu-system-aarch64": qemu(["libc.so.6"]), **libraries}, version="11.1.3 (Debian x)")
