"""What a host has packed of its results: files and folders are taken, and nothing that leads elsewhere."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from harness.errors import HostFailure
from harness.fleet.unit import _unpack


def packed(folder: Path, *members: tarfile.TarInfo) -> Path:
    path = folder / "out.tar"
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def file(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size = 3
    return member


def link(name: str, to: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, to
    return member


def test_files_are_taken_and_links_are_not(tmp_path: Path) -> None:
    _unpack(packed(tmp_path, file("./bundles/a/case.json"), link("./away", "/etc")), tmp_path / "into")
    assert (tmp_path / "into" / "bundles" / "a" / "case.json").read_bytes() == b"xxx"
    assert not (tmp_path / "into" / "away").is_symlink()


@pytest.mark.parametrize("name", ["../out.txt", "/tmp/out-of-the-results"])
def test_a_way_out_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(HostFailure, match="leads out of the results"):
        _unpack(packed(tmp_path, file(name)), tmp_path / "into")
