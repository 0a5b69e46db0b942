from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest

from harness.assets import kernels
from harness.errors import UsageError
from tests.assets import lab_samples as samples

ALL = kernels.parse_config(samples.CONFIG)


def test_a_kernel_with_everything_lacks_nothing() -> None:
    assert kernels.missing(ALL) == []


@pytest.mark.parametrize("requirement", kernels.REQUIREMENTS, ids=lambda requirement: requirement.option)
def test_each_option_is_missed_and_its_purpose_said(requirement: kernels.Requirement) -> None:
    name = f"CONFIG_{requirement.option}"
    text = samples.CONFIG.replace(f"{name}=y\n", f"# {name} is not set\n")
    assert kernels.missing(kernels.parse_config(text)) == [f"{name} is not set (for {requirement.purpose})"]


def test_a_module_will_do_where_its_file_is_there() -> None:
    config = {**ALL, "CONFIG_VIRTIO_PCI": "m"}
    assert kernels.missing(config, frozenset({"virtio_pci"})) == []
    assert kernels.missing(config) == ["CONFIG_VIRTIO_PCI=m, and its module is not there (for the control port)"]
    assert kernels.missing({**ALL, "CONFIG_DEVTMPFS": "m"}, frozenset({"virtio_pci"})) != [], (
        "only what can be a module may be one"
    )


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_says_its_version_and_its_configuration(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "Image"
    data = samples.image(config="CONFIG_KVM=y\n# CONFIG_X is not set\n")
    path.write_bytes(gzip.compress(data) if packed else data)
    read = kernels.read_image(path)
    assert (read.data, read.version, read.config) == (data, samples.VERSION, {"CONFIG_KVM": "y"})


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "the file is empty"),
        (b"text", "this is no arm64 Image"),
        (bytes(0x202) + b"HdrS" + bytes(4096), "x86 kernel"),
        (b"MZ\0\0zimg" + bytes(4096), "EFI zboot"),
        (samples.elf(), "ELF file"),
        (samples.image()[:8000], "cut short: 8000 bytes of 8192"),
        (samples.image()[:100], "cut short: 100 bytes of 4096"),
        (samples.image(flags=1), "big-endian"),
        (gzip.compress(samples.image())[:-9], "gzip file is cut short or damaged"),
        (b"\x1f\x8b" + bytes(20), "gzip file is cut short or damaged"),
        (samples.image().replace(b"Linux version", b"Other version"), "not of Linux"),
    ],
)
def test_what_is_no_kernel_is_one_line_that_says_what_it_is(data: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=says) as caught:
        kernels.read_image(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_configuration_is_checked_and_where_none_is_known_nothing_is_claimed(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(samples.image(config=samples.CONFIG.replace("CONFIG_KVM=y", "")))
    with pytest.raises(UsageError, match="cannot run a lab: CONFIG_KVM is not set .for /dev/kvm.; build it with"):
        kernels.take(path, None, None)
    path.write_bytes(samples.image())
    assert kernels.take(path, None, None).image.config is None
    with pytest.raises(UsageError, match="CONFIG_SMP is not set"):
        kernels.take(path, None, {name: value for name, value in ALL.items() if name != "CONFIG_SMP"})


def modules_below(directory: Path) -> Path:
    drivers = directory / "lib/modules" / samples.VERSION / "kernel/drivers"
    drivers.mkdir(parents=True)
    (drivers / "virtio_console.ko.xz").write_bytes(lzma.compress(samples.module("virtio,virtio-ring")))
    (drivers / "virtio.ko.gz").write_bytes(gzip.compress(samples.module("virtio_ring")))
    (drivers / "virtio-ring.ko").write_bytes(samples.module())
    (drivers / "unwanted.ko").write_bytes(samples.module())
    return drivers


def test_modules_come_after_those_they_need_and_unpacked(tmp_path: Path) -> None:
    drivers = modules_below(tmp_path)
    for place in (tmp_path, tmp_path / "lib/modules", drivers):
        found = kernels.modules(place, samples.VERSION)
        assert [module.name for module in found] == ["virtio_ring", "virtio", "virtio_console"]
        assert all(module.data.startswith(b"\x7fELF") for module in found)


def test_modules_that_cannot_be_loaded_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such directory"):
        kernels.modules(tmp_path / "nowhere", samples.VERSION)
    with pytest.raises(UsageError, match="no kernel module in it"):
        kernels.modules(tmp_path, samples.VERSION)
    drivers = modules_below(tmp_path)
    with pytest.raises(UsageError, match="is of kernel 7.3.4.*, not 9.9"):
        kernels.modules(drivers, "9.9")
    (drivers / "virtio-ring.ko").unlink()
    with pytest.raises(UsageError, match="module virtio_ring is needed and not there"):
        kernels.modules(tmp_path, samples.VERSION)
    (drivers / "virtio-ring.ko.zst").write_bytes(b"x")
    with pytest.raises(UsageError, match="compressed as .zst"):
        kernels.modules(tmp_path, samples.VERSION)
    (drivers / "virtio.ko.gz").write_bytes(b"x")
    with pytest.raises(UsageError, match="the module is damaged"):
        kernels.modules(tmp_path, samples.VERSION)
