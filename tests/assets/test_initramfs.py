from __future__ import annotations

import io
import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from harness.assets import initramfs, userland
from harness.assets.initramfs import Entry

NAMES = st.text("abcdefghij", min_size=1, max_size=9)
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)


def packed(entries: list[Entry]) -> bytes:
    out = io.BytesIO()
    initramfs.write(entries, out)
    return out.getvalue()


def unpack(data: bytes) -> dict[str, tuple[int, bytes, tuple[int, int]]]:
    """Read an archive as its format is documented, field by field."""
    found: dict[str, tuple[int, bytes, tuple[int, int]]] = {}
    position = 0
    while True:
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * n : position + 14 + 8 * n], 16) for n in range(13)]
        _, mode, user, group, _, mtime, size, _, _, major, minor, length, checksum = fields
        assert (user, group, mtime, checksum) == (0, 0, 0, 0)
        name = data[position + 110 : position + 110 + length]
        assert name.endswith(b"\0")
        position += 110 + length + -(110 + length) % 4
        content = data[position : position + size]
        position += size + -size % 4
        if name == b"TRAILER!!!\0":
            assert position == len(data)
            return found
        path = name[:-1].decode()
        assert path not in found
        assert "/" not in path or path.rpartition("/")[0] in found, "a directory comes before what is in it"
        found[path] = (mode, content, (major, minor))


@given(st.dictionaries(PATHS, st.binary(max_size=99), max_size=8))
def test_what_was_written_is_read_back_and_order_does_not_matter(files: dict[str, bytes]) -> None:
    files = {path: data for path, data in files.items() if not any(other.startswith(f"{path}/") for other in files)}
    entries = [initramfs.file(path, content) for path, content in files.items()]
    data = packed(entries)
    assert {name: entry[1] for name, entry in unpack(data).items() if stat.S_ISREG(entry[0])} == files
    assert packed(entries[::-1]) == data


def test_kinds_of_files() -> None:
    found = unpack(packed([initramfs.link("lib", "usr/lib"), initramfs.character_device("dev/console", 5, 1)]))
    assert found["lib"] == (stat.S_IFLNK | 0o777, b"usr/lib", (0, 0))
    assert found["dev"] == (stat.S_IFDIR | 0o755, b"", (0, 0))
    assert found["dev/console"] == (stat.S_IFCHR | 0o600, b"", (5, 1))


def test_times_and_owners_on_this_computer_do_not_matter(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/program").write_bytes(b"x")
    (tmp_path / "a/program").chmod(0o700)
    (tmp_path / "link").symlink_to("a/program")
    before = packed(list(initramfs.tree(tmp_path, "opt/")))
    os.utime(tmp_path / "a/program", (1, 1))
    (tmp_path / "a/program").chmod(0o755)
    assert packed(list(initramfs.tree(tmp_path, "opt/"))) == before
    assert unpack(before)["opt/a/program"] == (stat.S_IFREG | 0o755, b"x", (0, 0))
    assert unpack(before)["opt/link"][1] == b"a/program"


def test_the_harnesss_own_files_make_a_system_that_can_start() -> None:
    found = unpack(packed(userland.own_entries(("/opt/qemu/q", "-x"), ["/lib/modules/00-virtio.ko"])))
    assert found["init"][0] & 0o111 and found["init"][1].startswith(b"#!/usr/bin/busybox sh\n")
    assert found["usr/bin/qemu-system-aarch64"][1] == b'#!/bin/sh\nexec /opt/qemu/q -x "$@"\n'
    assert found["usr/lib/modules/load"][1] == b"/lib/modules/00-virtio.ko\n"
    assert stat.S_IMODE(found["tmp"][0]) == 0o1777
    assert stat.S_IMODE(found["root/.ssh"][0]) == stat.S_IMODE(found["root"][0]) == 0o700, "the SSH server refuses others"
