"""Bundles as they come by mail: as a directory, packed, or as something else."""

from __future__ import annotations

import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from harness.errors import UsageError
from harness.rerun import opened
from tests.rerun.test_failure import LOST
from tests.rerun.test_plan import PLAN

RECORD: dict[str, Any] = {
    "schema": 2,
    "case": {"bundle": "bundles/x"},
    "plan": json.loads(json.dumps(PLAN.to_data())),
    "failure": LOST.to_data(),
    "inputs": {"qemu": {"what": "QEMU", "version": "11.1.3", "sha256": "abc", "origin": "Debian trixie"}},
    "sources": {"guests": "abc"},
    "arguments": {"timer": "cntv", "ahead_us": 5, "strange": None},
    "provenance": {"harness": "v1"},
}


def bundle(folder: Path, **changed: object) -> Path:
    path = folder / "bundle"
    path.mkdir()
    (path / "case.json").write_text(json.dumps({**RECORD, **changed}))
    (path / "README.txt").write_text("it")
    return path


def test_a_directory(tmp_path: Path) -> None:
    found = opened.read(bundle(tmp_path))
    assert (found.plan, found.failure, found.harness, found.name) == (PLAN, LOST, "v1", "bundles/x")
    assert found.arguments == {"timer": "cntv", "ahead_us": 5}
    assert str(found.inputs["qemu"]) == "QEMU 11.1.3 (SHA-256 abc…, of Debian trixie)"


@pytest.mark.parametrize("how", ["w:gz", "w:xz", "w"])
@pytest.mark.parametrize("inside", ["bundle", "."])
def test_a_tar(tmp_path: Path, how: str, inside: str) -> None:
    with tarfile.open(tmp_path / "x.tar", how) as packed:  # type: ignore[call-overload]
        packed.add(bundle(tmp_path), inside)
    assert opened.read(tmp_path / "x.tar") == opened.read(tmp_path / "bundle")


def test_a_zip(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as packed:
        for path in folder.iterdir():
            packed.write(path, f"bundle/{path.name}")
    assert opened.read(tmp_path / "x.zip") == opened.read(folder)


@pytest.mark.parametrize("name", ["../case.json", "/case.json", "bundle/../case.json"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_that_lead_out_of_the_archive(tmp_path: Path, name: str, kind: str) -> None:
    record = bundle(tmp_path) / "case.json"
    if kind == "zip":
        with zipfile.ZipFile(tmp_path / "x", "w") as packed:
            packed.writestr(name, record.read_text())
    else:
        with tarfile.open(tmp_path / "x", "w:gz") as tar:
            member = tar.gettarinfo(record)
            member.name = name
            with record.open("rb") as file:
                tar.addfile(member, file)
    with pytest.raises(UsageError, match="which is not inside it"):
        opened.read(tmp_path / "x")


def test_a_link_is_no_file(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        member = tarfile.TarInfo("bundle/case.json")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        packed.addfile(member)
    with pytest.raises(UsageError, match="0 bundles in it"):
        opened.read(tmp_path / "x.tar")


def test_two_bundles(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    with tarfile.open(tmp_path / "x.tar", "w") as packed:
        packed.add(folder, "a")
        packed.add(folder, "b")
    with pytest.raises(UsageError, match="2 bundles in it, not one"):
        opened.read(tmp_path / "x.tar")


def test_a_record_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opened, "_LIMIT", 100)
    with pytest.raises(UsageError, match="longer than 100 bytes"):
        opened.read(bundle(tmp_path))


@pytest.mark.parametrize("cut", [20, 150])
def test_an_archive_that_is_cut(tmp_path: Path, cut: int) -> None:
    with tarfile.open(tmp_path / "x.tar.gz", "w:gz") as packed:
        packed.add(bundle(tmp_path), "bundle")
    (tmp_path / "cut").write_bytes((tmp_path / "x.tar.gz").read_bytes()[:cut])
    with pytest.raises(UsageError, match="the archive is damaged"):
        opened.read(tmp_path / "cut")


@pytest.mark.parametrize("schema", [1, 3, "2", None])
def test_a_schema_that_nobody_knows(tmp_path: Path, schema: object) -> None:
    with pytest.raises(UsageError, match=f"a bundle of schema {schema!r}; this harness reads 2; write it anew") as caught:
        opened.read(bundle(tmp_path, schema=schema))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["plan", "failure", "inputs", "sources", "provenance", "case", "arguments"])
@pytest.mark.parametrize("value", [None, [], 7, {"x": 1}])
def test_a_damaged_record_is_one_line(tmp_path: Path, key: str, value: object) -> None:
    if (key, value) in (("sources", {"x": 1}), ("provenance", {"x": 1}), ("arguments", {"x": 1})):
        return
    with pytest.raises(UsageError) as caught:
        opened.read(bundle(tmp_path, **{key: value}))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [("", "damaged"), ("hello", "damaged"), (None, "cannot be read \\(No such file")]
)
def test_what_is_no_bundle(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "x"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=words):
        opened.read(path)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a directory, and no bundle: it has no case.json; give the directory of"):
        opened.read(tmp_path)


def test_a_case_that_did_not_fail(tmp_path: Path) -> None:
    passed = {"verdict": "pass", "suspect": None, "words": ""}
    with pytest.raises(UsageError, match="it is of a case that did not fail"):
        opened.read(bundle(tmp_path, failure=passed))
