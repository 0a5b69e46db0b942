"""Templates as assets: named after what they are made of, made once, removed when nobody holds them."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import cast

import pytest

from harness.assets import cache
from harness.assets.progress import PlainProgress
from harness.assets.qemu import QemuBinary
from harness.events import Timeline
from harness.lab import template
from harness.lab.boot import Kvm, LabSpec
from harness.qemu.machine import Workshop

SPEC = LabSpec(Path("Image"), Path("initramfs.cpio"), "content-1")
NO_WORKSHOP = cast("Workshop", None)


def qemu(path: Path, version: str = "11.1.3 (Debian 1:11.1.3)") -> QemuBinary:
    return QemuBinary((str(path),), {}, (11, 1, 3), version, "test")


@pytest.fixture
def binary(tmp_path: Path) -> QemuBinary:
    (tmp_path / "qemu").write_bytes(b"a program")
    return qemu(tmp_path / "qemu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Have templates made without a lab; a line in the file that is returned for each."""
    count = tmp_path / "made"
    count.touch()

    def make(place: Path, *_: object) -> cache.Facts:
        time.sleep(0.2)
        with count.open("a") as file:
            file.write("once\n")
        (place / "state").write_bytes(b"s" * 4096)
        (place / "memory").write_bytes(b"m" * 8192)
        return {"kvm": asdict(Kvm("VHE+NV2", "", cpu_has_nv2=True))}

    monkeypatch.setattr(template, "_make", make)
    return count


def hold(spec: LabSpec, binary: QemuBinary) -> Path:
    with template.held(spec, binary, NO_WORKSHOP, Timeline(), PlainProgress()) as found:
        assert found.kvm == Kvm("VHE+NV2", "", cpu_has_nv2=True)
        return found.directory


def test_equal_labs_have_one_template(binary: QemuBinary) -> None:
    elsewhere = replace(SPEC, kernel=Path("the/same/Image"), initramfs=Path("the/same/initramfs.cpio"))
    assert SPEC.key(binary) == elsewhere.key(binary)


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, content="content-2"),
        replace(SPEC, cpu="neoverse-v1"),
        replace(SPEC, vcpus=3),
        replace(SPEC, memory_mib=1024),
        replace(SPEC, append="nokaslr"),
    ],
    ids=["content", "cpu", "vcpus", "memory", "append"],
)
def test_whatever_differs_makes_another_template(other: LabSpec, binary: QemuBinary) -> None:
    assert SPEC.key(binary) != other.key(binary)


def test_another_qemu_makes_another_template(binary: QemuBinary, tmp_path: Path) -> None:
    before = SPEC.key(binary)
    assert before != SPEC.key(qemu(tmp_path / "qemu", "11.1.4"))
    (tmp_path / "qemu").write_bytes(b"another program")
    assert before != SPEC.key(binary)


def test_a_template_is_made_once_by_whoever_asks_first(made: Path, binary: QemuBinary) -> None:
    fork = multiprocessing.get_context("fork")
    askers = [fork.Process(target=hold, args=(SPEC, binary)) for _ in range(8)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join(60)
    assert [asker.exitcode for asker in askers] == [0] * 8
    assert made.read_text() == "once\n"


def test_prune_removes_what_was_not_used_for_long(made: Path, binary: QemuBinary) -> None:
    old, young = hold(SPEC, binary), hold(replace(SPEC, vcpus=3), binary)
    os.utime(old / cache.MARKER, (0, time.time() - 10 * 86400))
    assert template.prune(max_age_days=9, max_bytes=1 << 40) == [old]
    assert template.kept() == [young]
    assert hold(SPEC, binary) == old
    assert made.read_text().count("once") == 3


def test_a_use_makes_a_template_young(made: Path, binary: QemuBinary) -> None:
    old = hold(SPEC, binary)
    os.utime(old / cache.MARKER, (0, time.time() - 10 * 86400))
    hold(SPEC, binary)
    assert template.prune(max_age_days=9, max_bytes=1 << 40) == []
    assert made.read_text() == "once\n"


@pytest.mark.usefixtures("made")
def test_prune_by_size_begins_with_the_longest_unused(binary: QemuBinary) -> None:
    specs = [replace(SPEC, vcpus=number) for number in (1, 2, 3)]
    places = [hold(spec, binary) for spec in specs]
    for age, place in zip((30, 20, 10), places, strict=True):
        os.utime(place / cache.MARKER, (0, time.time() - age))
    room = template.size(places[2]) + template.size(places[1])
    assert template.prune(max_age_days=1, max_bytes=room) == [places[0]]
    assert template.prune(max_age_days=1, max_bytes=0) == places[1:]


@pytest.mark.usefixtures("made")
def test_prune_passes_over_a_template_in_use(binary: QemuBinary) -> None:
    with template.held(SPEC, binary, NO_WORKSHOP, Timeline(), PlainProgress()) as found:
        assert template.prune(max_age_days=0, max_bytes=0) == []
        assert (found.directory / "state").exists()
    assert template.prune(max_age_days=0, max_bytes=0) == [found.directory]


def test_one_that_is_removed_while_somebody_waits_for_it_is_made_again(made: Path, binary: QemuBinary) -> None:
    place = hold(SPEC, binary)
    found: list[Path] = []
    asker = threading.Thread(target=lambda: found.append(hold(SPEC, binary)))
    with (place / "state").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        asker.start()
        time.sleep(0.3)
        assert found == []
        cache.remove(place)
    asker.join(60)
    assert found == [place]
    assert made.read_text().count("once") == 2


def test_the_size_is_what_the_disk_gives(tmp_path: Path) -> None:
    with (tmp_path / "memory").open("wb") as file:
        file.write(b"m" * 65536)
        file.truncate(1 << 30)
    assert 65536 <= template.size(tmp_path) < 1 << 20
