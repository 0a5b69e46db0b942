"""What a lab is made of: a kernel, and an initramfs with a shell, an SSH server, Python and a QEMU for arm64.

Kernels and QEMUs come from Debian's suites by name, or are the user's own files. Everything lies in the cache:

    lab/base-SUITE-N     shell, SSH server, Python: always of one suite
    lab/kernel-SUITE-N   Image, modules           lab/kernel-HASH    the user's
    lab/qemu-SUITE-N     program and libraries    lab/qemu-HASH      the user's
    lab/initramfs-HASH   made of the three when a combination is first asked for
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from harness.assets import cache, elf, initramfs, kernels, userland
from harness.assets import lab_parts as parts
from harness.assets.debian import SUITES
from harness.assets.progress import NoProgress, Progress
from harness.assets.qemu import QemuBinary
from harness.errors import MissingError, UsageError


@dataclass(frozen=True)
class LabAssets:
    """What a lab boots, all of it on disk."""

    kernel: Path
    """An uncompressed arm64 Image."""
    initramfs: Path
    kernel_version: str
    """As `uname -r` will say."""
    qemu: QemuBinary
    """The QEMU inside: its words start it in the lab, not on this computer."""
    key: str
    """Changes with every byte of kernel or initramfs, and with nothing else."""
    places: tuple[Path, ...]
    """The assets in the cache that these were made of."""


def resolve(
    kernel: str | None = None, modules: Path | None = None, qemu: str | None = None, progress: Progress | None = None
) -> LabAssets:
    """Return the assets that the choices mean: a suite's name or a file, and what set-up provides where there is none.

    `modules` belongs to a kernel that is a file. The user's own files are taken into the cache, and the initramfs is made where
    the combination is new (a second or less). Raises UsageError for a file that cannot be a lab's kernel or QEMU, MissingError
    for a suite that has not been set up.
    """
    listener = progress or NoProgress()
    base = _set_up(parts.BASE, "")
    kernel_asset = kernel_place(kernel, modules, listener)
    qemu_asset = qemu_place(qemu, listener)
    facts = parts.facts(kernel_asset)
    archive, digest = _initramfs(base, qemu_asset, kernel_asset, listener)
    key = hashlib.sha256(f"{facts['content']} {digest}".encode()).hexdigest()[:20]
    places = (base, kernel_asset, qemu_asset, archive.parent)
    return LabAssets(parts.tree(kernel_asset) / "Image", archive, str(facts["version"]), _binary(qemu_asset), key, places)


def check(kernel: str | None, modules: Path | None, qemu: str | None) -> None:
    """Raise UsageError where a choice that is a file cannot be meant, before anything is downloaded for it."""
    if kernel is not None and not parts.of_suite(kernel):
        kernels.take(_user_file(kernel, "--lab-kernel", "a kernel's Image"), modules, None)
    if qemu is not None and qemu not in SUITES:
        _user_qemu(qemu)


def kernel_place(choice: str | None, modules: Path | None, progress: Progress) -> Path:
    """Return the place of a kernel: a suite's, or the user's file taken into the cache. Errors as `resolve`."""
    choice = choice or parts.DEFAULT_SUITE
    if choice in SUITES:
        if modules is not None:
            raise UsageError("a suite's kernel has its own modules", where="--lab-modules", remedy="leave it away")
        return _set_up(parts.Part("kernel", choice), _option("--lab-kernel", choice))
    path = _user_file(choice, "--lab-kernel", "a kernel's Image")
    taken = kernels.take(path, modules, None)
    digest = hashlib.sha256(taken.image.data)
    for module in taken.modules:
        digest.update(module.data)
    place = parts.place(f"kernel-{digest.hexdigest()[:20]}")
    cache.produce(place, lambda made: parts.write_kernel(taken, parts.tree(made)), progress, megabytes=parts.MEGABYTES)
    return place


def qemu_place(choice: str | None, progress: Progress) -> Path:
    """Return the place of a lab's QEMU: a suite's, or the user's program taken into the cache with the libraries it needs.

    Errors as `resolve`.
    """
    choice = choice or parts.DEFAULT_SUITE
    if choice in SUITES:
        return _set_up(parts.Part("qemu", choice), _option("--lab-qemu", choice))
    path, data, version = _user_qemu(choice)
    debians = parts.tree(_set_up(parts.Part("qemu", parts.DEFAULT_SUITE), ""))
    own = [lib for folder in (path.parent, path.parent / "lib") for lib in sorted(folder.glob("*.so*"))]
    available = {lib.name: lib for lib in (*(debians / "lib").iterdir(), *own)}
    digest = hashlib.sha256(data)
    for lib in own:
        digest.update(lib.name.encode() + lib.read_bytes())
    digest.update(str(parts.facts(debians.parent)["content"]).encode())

    def make(temporary: Path) -> cache.Facts:
        userland.pick_qemu(path, available, parts.tree(temporary))
        return {"version": version, "content": parts.content(parts.tree(temporary)), "origin": "--lab-qemu"}

    place = parts.place(f"qemu-{digest.hexdigest()[:20]}")
    cache.produce(place, make, progress, megabytes=parts.MEGABYTES)
    return place


def _user_qemu(choice: str) -> tuple[Path, bytes, str]:
    """Return path, content and version of the user's QEMU."""
    path = _user_file(choice, "--lab-qemu", "a qemu-system-aarch64 for arm64")
    data = path.read_bytes()
    if elf.machine(data) != elf.AARCH64:
        raise UsageError("this is not a program for arm64", where=choice, remedy="the QEMU inside a lab is built for arm64")
    return path, data, parts.qemu_version(path)


def _binary(place: Path) -> QemuBinary:
    facts = parts.facts(place)
    text = str(facts["version"])
    major, minor, micro = (int(number) for number in re.findall(r"\d+", text)[:3])
    return QemuBinary(userland.qemu_argv(parts.tree(place)), {}, (major, minor, micro), text, str(facts["origin"]))


def _initramfs(base: Path, qemu: Path, kernel: Path, progress: Progress) -> tuple[Path, str]:
    """Return the initramfs made of these, and a digest of all that is in it."""
    contents = [parts.facts(place)["content"] for place in (base, qemu, kernel)] + [parts.facts(kernel)["modules"]]
    digest = parts.Digest()
    digest.write(json.dumps(contents).encode())
    initramfs.write(userland.own_entries(userland.qemu_argv(parts.tree(qemu)), []), digest)
    place = parts.place(f"initramfs-{digest.text[:20]}")

    def make(temporary: Path) -> cache.Facts:
        with (temporary / "initramfs.cpio").open("wb") as out:
            initramfs.write(userland.entries(*map(parts.tree, (base, qemu, kernel))), out)
        return {"contents": contents}

    cache.produce(place, make, progress, megabytes=parts.MEGABYTES)
    return place / "initramfs.cpio", digest.text


def _user_file(choice: str, option: str, what: str) -> Path:
    path = Path(choice)
    if path.is_file():
        return path.absolute()
    problem = f"{choice} is a directory" if path.is_dir() else f"there is no {choice}"
    raise UsageError(problem, where=option, remedy=f"give {what} or a suite: {', '.join(SUITES)}")


def _set_up(part: parts.Part, options: str) -> Path:
    if not cache.ready(part.place):
        raise MissingError(f"the lab's {part} has not been set up", remedy=f"run `harness setup{options}`")
    return part.place


def _option(name: str, suite: str) -> str:
    return "" if suite == parts.DEFAULT_SUITE else f" {name} {suite}"
