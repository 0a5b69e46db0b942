from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.assets import cache, doctor, guests, lab, lab_parts, setup
from harness.assets.debian import SUITES
from harness.errors import MissingError, UsageError
from tests.assets import lab_samples as samples
from tests.assets.conftest import Programs, Told

LOADER = ("/opt/qemu/lib/ld-linux-aarch64.so.1", "--library-path", "/opt/qemu/lib", "/opt/qemu/bin/qemu-system-aarch64")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "Image"
    path.write_bytes(samples.image(version="7.4.0-mine"))
    return path


def test_the_default_is_what_set_up_got(tmp_path: Path) -> None:
    samples.set_up()
    found = lab.resolve()
    assert found.kernel.read_bytes() == samples.image()
    assert found.kernel_version == samples.VERSION
    assert (found.qemu.version, found.qemu.version_text, found.qemu.argv) == ((11, 1, 3), "11.1.3 (Debian x)", LOADER)
    assert b"shell" in found.initramfs.read_bytes()
    assert lab.resolve() == found
    assert all(cache.ready(place) and not place.is_relative_to(tmp_path / "other") for place in found.places)


def test_the_same_inputs_give_the_same_bytes() -> None:
    samples.set_up()
    first = lab.resolve()
    content = first.initramfs.read_bytes()
    cache.remove(first.initramfs.parent)
    assert lab.resolve() == first
    assert first.initramfs.read_bytes() == content


def test_a_users_kernel_needs_no_new_initramfs_and_changes_the_key(image: Path) -> None:
    samples.set_up()
    found = lab.resolve(str(image))
    assert found.kernel_version == "7.4.0-mine"
    first = lab.resolve(str(image))
    image.write_bytes(samples.image(version="7.4.1-mine"))
    second = lab.resolve(str(image))
    assert first == found and first.key != second.key
    assert first.kernel.read_bytes() != second.kernel.read_bytes(), "what was taken stays as it was"


def test_modules_are_taken_along(image: Path, tmp_path: Path) -> None:
    samples.set_up()
    (tmp_path / "ko").mkdir()
    (tmp_path / "ko/virtio_pci.ko").write_bytes(samples.module(version="7.4.0-mine"))
    found = lab.resolve(str(image), tmp_path / "ko")
    assert b"/lib/modules/00-virtio_pci.ko\n" in found.initramfs.read_bytes()
    assert found.key != lab.resolve(str(image)).key
    with pytest.raises(UsageError, match="--lab-modules: a suite's kernel has its own"):
        lab.resolve("trixie-backports", tmp_path)


def test_a_users_qemu_gets_the_libraries_it_needs(tmp_path: Path) -> None:
    samples.set_up()
    path = tmp_path / "qemu"
    path.write_bytes(samples.qemu(["libc.so.6", "libmine.so.1"], "12.0.50 (v11-9-gabc)"))
    with pytest.raises(UsageError, match="not in Debian's QEMU: libmine.so.1; put them"):
        lab.resolve(qemu=str(path))
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/libmine.so.1").write_bytes(samples.elf())
    found = lab.resolve(qemu=str(path))
    assert (found.qemu.version, found.qemu.version_text) == ((12, 0, 50), "12.0.50 (v11-9-gabc)")
    assert found.qemu.argv == LOADER
    path.write_bytes(samples.qemu(version="12.0.51"))
    assert lab.resolve(qemu=str(path)).qemu.argv == ("/opt/qemu/bin/qemu-system-aarch64",), "a static one starts by itself"


def test_choices_that_cannot_be_meant(tmp_path: Path, image: Path) -> None:
    samples.set_up()
    with pytest.raises(UsageError, match="--lab-kernel: there is no nowhere; give a kernel's Image or a suite: bookworm"):
        lab.resolve("nowhere")
    with pytest.raises(UsageError, match="is a directory"):
        lab.resolve(qemu=str(tmp_path))
    with pytest.raises(UsageError, match="not a program for arm64"):
        lab.resolve(qemu=str(image))
    other = tmp_path / "other"
    other.write_bytes(samples.elf(machine=62))
    with pytest.raises(UsageError, match="not a program for arm64"):
        lab.resolve(qemu=str(other))
    other.write_bytes(samples.elf())
    with pytest.raises(UsageError, match="not a QEMU: no version in it"):
        lab.resolve(qemu=str(other))


def test_what_has_not_been_set_up_names_the_command() -> None:
    with pytest.raises(MissingError, match="base of Debian trixie has not been set up; run `harness setup`$"):
        lab.resolve()
    samples.set_up()
    with pytest.raises(
        MissingError, match="kernel of Debian trixie has not been set up; run `harness setup --lab-kernel trixie`"
    ):
        lab.resolve("trixie")
    with pytest.raises(MissingError, match="QEMU of Debian sid has not been set up; run `harness setup --lab-qemu sid`"):
        lab.resolve(qemu="sid")


@pytest.fixture
def fake_arm64(programs: Programs, tmp_path: Path) -> None:
    """Install an mmdebstrap that unpacks small stand-ins, and for this computer a Python that only copies."""
    files = {"image": samples.image(), "config": samples.CONFIG.encode(), "dropbear": samples.elf(["libc.so.6"])}
    files |= {"qemu": samples.qemu(["libc.so.6"]), "libc": samples.elf(["ld-linux-aarch64.so.1"]), "ld": samples.elf()}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    programs.add("native-python", 'for last; do :; done; for f in $(find "$last" -name "*.py"); do cp "$f" "${f}c"; done')
    programs.add(
        "mmdebstrap",
        f"""for word; do case "$word" in --arch*) arm64=yes ;; --*) ;; */*) target=$word ;; esac; done
        lib=$target/usr/lib/some-linux-gnu; python=$target/usr/lib/python3.13; modules=$target/usr/lib/modules/{samples.VERSION}
        mkdir -p "$target/usr/bin" "$target/usr/sbin" "$lib" "$python/test" "$python/lib-dynload" "$modules"
        echo libc6_1_arm64.deb > "$target/packages.txt"
        if [ "$arm64" ]; then
            cp {tmp_path}/qemu "$target/usr/bin/qemu-system-aarch64"; cp {tmp_path}/qemu "$target/usr/bin/python3.13"
            cp {tmp_path}/dropbear "$target/usr/sbin/dropbear"; echo shell > "$target/usr/bin/busybox"
            cp {tmp_path}/libc "$lib/libc.so.6"; cp {tmp_path}/ld "$lib/ld-linux-aarch64.so.1"; cp {tmp_path}/ld "$lib/libjunk.so.1"
            echo 1 > "$python/os.py"; echo 1 > "$python/test/junk.py"; cp {tmp_path}/ld "$python/lib-dynload/_ssl.so"
            cp {tmp_path}/image "$modules/vmlinuz"; cp {tmp_path}/config "$modules/config"; echo x > "$modules/junk.ko"
        else
            printf '#!/bin/sh\\nshift 2\\nexec "$@"\\n' > "$lib/ld-linux-fake.so.1"; chmod 755 "$lib/ld-linux-fake.so.1"
            cp {programs.folder}/native-python "$target/usr/bin/python3.13"
        fi""",
    )


@pytest.mark.usefixtures("fake_arm64")
def test_installing_keeps_what_a_lab_needs_and_nothing_else(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.assets.system.native", lambda: False)
    lab_parts.install([(None, None)], told)
    trees = [part.place / "tree" for part in lab_parts.needed()]
    kept = [{str(path.relative_to(tree)) for path in tree.rglob("*") if not path.is_dir()} for tree in trees]
    gnu = "usr/lib/aarch64-linux-gnu"
    loader = "usr/lib/ld-linux-aarch64.so.1"
    assert kept[0] == {
        *("usr/bin/busybox", "usr/bin/python3", "usr/bin/python3.13", "usr/sbin/dropbear", "usr/lib/python3.13/os.pyc"),
        *(f"{gnu}/libc.so.6", f"{gnu}/ld-linux-aarch64.so.1", loader),
    }
    assert kept[1] == {"Image"}
    assert kept[2] == {"bin/qemu-system-aarch64", "lib/libc.so.6", "lib/ld-linux-aarch64.so.1"}
    assert [sorted(path.name for path in part.place.iterdir()) for part in lab_parts.needed()] == [["asset.json", "tree"]] * 3
    before = lab.resolve()
    lab_parts.install([(None, None)], told, again=True)
    assert lab.resolve() == before, "the same packages give the same bytes"


@pytest.mark.usefixtures("fake_arm64")
def test_a_packaged_kernel_is_checked_too(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.assets.system.native", lambda: False)
    (tmp_path / "config").write_text(samples.CONFIG.replace("CONFIG_KVM=y\n", ""))
    with pytest.raises(UsageError, match="CONFIG_KVM is not set"):
        lab_parts.install([(None, None)], told)
    assert not cache.ready(lab_parts.needed()[1].place)


def test_a_users_mistake_is_found_before_anything_is_downloaded(told: Told, programs: Programs, tmp_path: Path) -> None:
    programs.add("mmdebstrap", "echo called >> $0.called; exit 1")
    (tmp_path / "bad").write_bytes(b"x")
    for wanted in (
        setup.Wanted(lab_kernels=(str(tmp_path / "bad"),)),
        setup.Wanted(lab_qemus=(str(tmp_path / "bad"),)),
        setup.Wanted(lab_modules=tmp_path),
    ):
        with pytest.raises(UsageError):
            setup.run(wanted, told)
    assert not list(programs.folder.glob("*.called")) and not told.steps


def test_pruning_keeps_the_labs_that_were_asked_for(told: Told, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.assets.guests.find", lambda: guests.Payloads(cache.root() / "guests/x"))
    for suite in ("trixie", lab_parts.DEFAULT_SUITE):
        samples.set_up(suite)
    default, other, own = lab.resolve(), lab.resolve("trixie", qemu="trixie"), lab.resolve(str(image))
    setup.prune(setup.Wanted(lab_kernels=(str(image),)), told)
    assert lab.resolve(str(image)) == own and own.kernel.exists()
    assert not other.kernel.exists() and not default.kernel.exists()
    assert own.initramfs.exists() and not default.initramfs.exists(), "each has its kernel in it"


def test_how_many_labs_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 10_000 * 1_048_576

    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert doctor.labs_that_fit() == 4, "memory is what is scarce"
    assert doctor.labs_that_fit(memory_mib=256) == 8, "cores are: two vCPUs to each"
    assert doctor.labs_that_fit(memory_mib=256, vcpus=4) == 4
    Memory.available = 2048 * 1_048_576
    assert doctor.labs_that_fit() == 0


def test_the_suites_are_debians_own() -> None:
    assert lab_parts.DEFAULT_SUITE in SUITES
