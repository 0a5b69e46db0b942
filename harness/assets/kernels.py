"""Reads kernels for a lab: is the file an arm64 Image, which version, has it what a lab needs.

All of it is read from the file (Documentation/arch/arm64/booting.rst in the kernel's tree for the header), so that a
kernel that cannot do is named before anything is booted. Where no configuration can be found, nothing is claimed.
"""

from __future__ import annotations

import gzip
import lzma
import re
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

_OTHERS = (
    (4, b"zimg", "this is an EFI zboot image (vmlinuz.efi), which only firmware can start"),
    (0x202, b"HdrS", "this is an x86 kernel (bzImage)"),
    (0, b"\x7fELF", "this is an ELF file (vmlinux), not an Image"),
)
"""Offset, mark and meaning of files that are taken for an Image."""
_GIVE = "give arch/arm64/boot/Image or Image.gz of a built kernel tree"


@dataclass(frozen=True)
class Requirement:
    """An option that a lab's kernel has to have, and what it is needed for. `module`: its name, where it may be one."""

    option: str
    purpose: str
    module: str = ""


REQUIREMENTS = (
    Requirement("VIRTUALIZATION", "KVM is offered beneath it"),
    Requirement("KVM", "/dev/kvm"),
    Requirement("SMP", "a second vCPU"),
    Requirement("HOTPLUG_CPU", "vCPUs come on line after the start"),
    Requirement("BLK_DEV_INITRD", "the lab's programs are an initramfs"),
    Requirement("BINFMT_ELF", "programs"),
    Requirement("BINFMT_SCRIPT", "the first process is a script"),
    Requirement("MULTIUSER", "the SSH server sets its user"),
    Requirement("FUTEX", "QEMU and Python"),
    Requirement("EPOLL", "QEMU's main loop"),
    Requirement("EVENTFD", "QEMU's main loop"),
    Requirement("SIGNALFD", "QEMU's main loop"),
    Requirement("MEMBARRIER", "QEMU ends at once without it"),
    Requirement("PROC_FS", "/proc"),
    Requirement("SYSFS", "/sys, where the control port is found"),
    Requirement("DEVTMPFS", "/dev"),
    Requirement("TMPFS", "temporary files"),
    Requirement("SHMEM", "temporary files"),
    Requirement("UNIX98_PTYS", "a shell"),
    Requirement("NET", "sockets"),
    Requirement("UNIX", "the sockets of the QEMU inside"),
    Requirement("SERIAL_AMBA_PL011", "the console"),
    Requirement("SERIAL_AMBA_PL011_CONSOLE", "the kernel log"),
    Requirement("PCI", "the control port"),
    Requirement("PCI_HOST_GENERIC", "the control port"),
    Requirement("VIRTIO_PCI", "the control port", "virtio_pci"),
    Requirement("VIRTIO_CONSOLE", "the control port", "virtio_console"),
)
"""In the order in which they are reported; the fragment lab.config sets the same ones."""


def missing(config: Mapping[str, str], modules: frozenset[str] = frozenset()) -> list[str]:
    """Return one sentence for each requirement that `config` (as `parse_config`) does not meet; `modules` are at hand. Pure."""
    sentences = []
    for requirement in REQUIREMENTS:
        name = f"CONFIG_{requirement.option}"
        value = config.get(name)
        if value == "y" or (value == "m" and requirement.module in modules):
            continue
        state = "=m, and its module is not there" if value == "m" else " is not set"
        sentences.append(f"{name}{state} (for {requirement.purpose})")
    return sentences


def parse_config(text: str) -> dict[str, str]:
    """Return the options that are set, by name with its CONFIG_, from a kernel's .config."""
    lines = (line.partition("=") for line in text.splitlines() if line.startswith("CONFIG_"))
    return {name: value for name, _, value in lines}


def require(config: Mapping[str, str], modules: frozenset[str], where: str) -> None:
    """Raise UsageError that names all that is missing, first what matters most."""
    lacking = missing(config, modules)
    if lacking:
        remedy = "build it with harness/assets/lab.config merged in; a module needs --lab-modules DIR"
        raise UsageError(f"this kernel cannot run a lab: {', '.join(lacking)}", where=where, remedy=remedy)


@dataclass(frozen=True)
class Image:
    """An uncompressed arm64 Image, what it says it is (as in `uname -r`), and its configuration where one is embedded."""

    data: bytes
    version: str
    config: Mapping[str, str] | None


def read_image(path: Path) -> Image:
    """Read an Image or Image.gz. Raises UsageError with one line for whatever else the file is."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the kernel cannot be read: {error.strerror}", where=str(path), remedy=_GIVE) from error
    where = str(path)
    if data[:2] == b"\x1f\x8b":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise UsageError(f"the gzip file is cut short or damaged: {error}", where=where, remedy=_GIVE) from error
    if problem := _not_an_image(data):
        raise UsageError(problem, where=where, remedy=_GIVE)
    banner = re.search(rb"Linux version (\d[\w.+~-]*) ", data)
    if banner is None:
        raise UsageError("an arm64 Image, but not of Linux, or cut short: no version in it", where=where, remedy=_GIVE)
    return Image(data, banner[1].decode(), _embedded_config(data))


def _not_an_image(data: bytes) -> str | None:
    """Return what the file is instead of an arm64 Image, or None."""
    if data[56:60] == b"ARM\x64" and len(data) >= 64:
        (flags,) = struct.unpack_from("<Q", data, 24)
        if flags & 1:
            return "the kernel is big-endian; the lab's programs are little-endian"
        return f"the file is cut short: {len(data)} bytes of {size}" if (size := _size_on_disk(data)) > len(data) else None
    if not data:
        return "the file is empty"
    return next((what for offset, mark, what in _OTHERS if data[offset : offset + len(mark)] == mark), "this is no arm64 Image")


def _size_on_disk(data: bytes) -> int:
    """Return how long the file is according to its PE header; a kernel without CONFIG_EFI has none, and may be any length."""
    if len(data) < 4096:
        return 4096  # no kernel is smaller; with EFI, the header alone takes that much
    (header,) = struct.unpack_from("<I", data, 60)
    if data[header : header + 4] != b"PE\0\0":
        return 0
    sections, optional = struct.unpack_from("<H12xH", data, header + 6)
    table = header + 24 + optional
    return max((sum(struct.unpack_from("<II", data, table + 40 * n + 16)) for n in range(sections)), default=0)


def _embedded_config(data: bytes) -> dict[str, str] | None:
    """Return the configuration that CONFIG_IKCONFIG puts into a kernel, between two marks (kernel/configs.c)."""
    start = data.find(b"IKCFG_ST\x1f\x8b")
    end = data.find(b"IKCFG_ED", start)
    if start < 0 or end < 0:
        return None
    return parse_config(gzip.decompress(data[start + 8 : end]).decode())


@dataclass(frozen=True)
class Module:
    """A kernel module, uncompressed."""

    name: str
    data: bytes

    def info(self, key: str) -> str:
        """Return a value from its .modinfo section; empty where it has none."""
        found = re.search(rb"\0%s=([^\0]*)\0" % key.encode(), self.data)
        return found[1].decode() if found else ""


def modules(directory: Path, version: str) -> tuple[Module, ...]:
    """Return the modules that a lab needs and those they depend on, in the order in which they can be loaded.

    `directory` is as `make modules_install` leaves it, or one of its parents, or just holds the files. A requirement whose
    module is not there is taken to be built in. Raises UsageError: no such directory, another kernel's modules.
    """
    if not directory.is_dir():
        raise UsageError("there is no such directory", where=str(directory), remedy="give a directory of kernel modules")
    places = (directory / "lib/modules" / version, directory / version, directory)
    place = next(place for place in places if place.is_dir())
    files = {_name(path): path for path in sorted(place.rglob("*.ko*"))}
    if not files:
        raise UsageError("there is no kernel module in it", where=str(place), remedy="leave --lab-modules away")
    loaded: dict[str, Module] = {}
    for requirement in REQUIREMENTS:
        if requirement.module in files:
            _load(requirement.module, files, version, loaded)
    return tuple(loaded.values())


def _load(name: str, files: Mapping[str, Path], version: str, loaded: dict[str, Module]) -> None:
    """Put a module behind those it depends on. The kernel's build refuses circles."""
    if name in loaded:
        return
    if name not in files:
        raise UsageError(f"the module {name} is needed and not there", where=str(next(iter(files.values())).parent))
    module = Module(name, _unpacked(files[name]))
    built_for = module.info("vermagic").partition(" ")[0]
    if built_for != version:
        raise UsageError(f"the module is of kernel {built_for or 'unknown'}, not {version}", where=str(files[name]))
    for dependency in filter(None, module.info("depends").split(",")):
        _load(dependency.replace("-", "_"), files, version, loaded)
    loaded[name] = module


@dataclass(frozen=True)
class Kernel:
    """A kernel that can run a lab, as far as can be told without booting it, with the modules to load."""

    image: Image
    modules: tuple[Module, ...]


def take(path: Path, directory: Path | None, config: Mapping[str, str] | None) -> Kernel:
    """Read an Image, and modules from `directory` where there is one; check `config`, else what is embedded in the Image.

    Raises UsageError when it is no arm64 Image or lacks what a lab needs.
    """
    image = read_image(path)
    loadable = modules(directory, image.version) if directory else ()
    known = config if config is not None else image.config
    if known is not None:
        require(known, frozenset(module.name for module in loadable), str(path))
    return Kernel(image, loadable)


def _name(path: Path) -> str:
    return path.name.partition(".ko")[0].replace("-", "_")


def _unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    try:
        match path.suffix:
            case ".ko":
                return data
            case ".xz":
                return lzma.decompress(data)
            case ".gz":
                return gzip.decompress(data)
    except (lzma.LZMAError, OSError, EOFError, zlib.error) as error:
        raise UsageError(f"the module is damaged: {error}", where=str(path)) from error
    raise UsageError(f"modules compressed as {path.suffix} cannot be read", where=str(path), remedy="unpack them first")
