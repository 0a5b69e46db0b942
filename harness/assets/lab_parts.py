"""The parts of a lab that come from Debian, each an asset of its own in the cache.

What is made of packages is made anew when the way it is made changes, or on request.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from harness.assets import cache, debian, initramfs, kernels, system, userland
from harness.assets.debian import SUITES
from harness.assets.progress import Progress
from harness.errors import MissingError, UsageError

DEFAULT_SUITE = "trixie-backports"
"""Of the kernel and of QEMU: nested virtualisation needs a kernel of 2025 and QEMU 10.1."""
# To be raised when userland.py picks something else or otherwise: what is from Debian is made anew then.
_RECIPE = 2
MEGABYTES = 700
"""What the largest part takes while it is made."""


@dataclass(frozen=True)
class Part:
    """A third of a lab that comes from Debian: `base`, `kernel` or `qemu`, of a suite."""

    what: str
    suite: str

    @property
    def place(self) -> Path:
        """Where it is in the cache, or would be."""
        return place(f"{self.what}-{self.suite}-{_RECIPE}")

    def __str__(self) -> str:
        """Return it in words."""
        return f"{'QEMU' if self.what == 'qemu' else self.what} of Debian {self.suite}"


BASE = Part("base", "trixie")


def of_suite(kernel: str | None) -> bool:
    """True when the choice of a kernel is a suite's, or none."""
    return kernel is None or kernel in SUITES


def needed(kernel: str | None = None, qemu: str | None = None) -> tuple[Part, ...]:
    """Return what set-up has to get from Debian before `resolve` can answer."""
    # The libraries of Debian's QEMU serve the user's own as well.
    inner = Part("qemu", qemu if qemu and qemu in SUITES else DEFAULT_SUITE)
    return (BASE, Part("kernel", kernel or DEFAULT_SUITE), inner) if of_suite(kernel) else (BASE, inner)


def install(choices: Iterable[tuple[str | None, str | None]], progress: Progress, *, again: bool = False) -> None:
    """Get from Debian what `resolve` needs for these kernels and QEMUs and has not got; `again` replaces it.

    Raises MissingError.
    """
    for part in dict.fromkeys(part for choice in choices for part in needed(*choice)):
        fill, packages = _RECIPES[part.what]
        _from_debian(part, packages, fill, progress, again=again)


def _fill_base(raw: Path, target: Path, progress: Progress) -> cache.Facts:
    interpreter = raw
    if not system.native():
        interpreter = raw.with_name("interpreter")
        interpreter.mkdir()
        debian.extract(SUITES[BASE.suite], userland.PYTHON_PACKAGES, interpreter, progress, log=_log("interpreter"))
    userland.pick_base(raw, interpreter, target, progress, _log("compile"))
    return {"content": content(target)}


def _fill_kernel(raw: Path, target: Path, _: Progress) -> cache.Facts:
    image, config, modules = _kernel_files(raw)
    taken = kernels.take(image, modules, kernels.parse_config(config.read_text()))
    return write_kernel(taken, target)


def _fill_qemu(raw: Path, target: Path, _: Progress) -> cache.Facts:
    program = raw / userland.QEMU
    if not program.is_file():
        raise MissingError(f"there is no {userland.QEMU} in it", where="Debian's qemu-system-arm")
    userland.pick_qemu(program, userland.libraries(raw), target)
    return {"version": qemu_version(program), "content": content(target)}


_RECIPES: Mapping[str, tuple[Callable[[Path, Path, Progress], cache.Facts], tuple[str, ...]]] = MappingProxyType(
    {
        "base": (_fill_base, userland.PACKAGES),
        "kernel": (_fill_kernel, ("linux-image-cloud-arm64",)),
        "qemu": (_fill_qemu, ("qemu-system-arm",)),
    }
)
"""What each part is made of, and by what."""


def _from_debian(
    part: Part, packages: Sequence[str], fill: Callable[[Path, Path, Progress], cache.Facts], progress: Progress, *, again: bool
) -> None:
    """Have `fill` pick what is wanted out of unpacked arm64 packages, and put it into the part's place."""

    def make(temporary: Path) -> cache.Facts:
        progress.step(f"lab: {part}: downloading arm64 packages")
        raw = temporary / "scratch/raw"
        raw.mkdir(parents=True)
        log = _log(f"{part.what}-{part.suite}")
        got, mirror = debian.extract(SUITES[part.suite], packages, raw, progress, log=log, architecture="arm64")
        known = fill(raw, tree(temporary), progress)
        shutil.rmtree(raw.parent)
        if version := known.get("version"):
            progress.step(f"lab: {part}: {version}")
        today = datetime.now(UTC).isoformat(timespec="seconds")
        return {**known, "origin": f"Debian {part.suite}", "date": today, "mirror": mirror, "packages": got}

    cache.produce(part.place, make, progress, megabytes=MEGABYTES, again=again)


def _kernel_files(raw: Path) -> tuple[Path, Path, Path]:
    """Return Image, config and modules of an unpacked kernel package; newer ones have them all below /usr/lib/modules."""
    images = [*raw.glob("boot/vmlinuz-*"), *raw.glob("usr/lib/modules/*/vmlinuz")]
    configs = [*raw.glob("boot/config-*"), *raw.glob("usr/lib/modules/*/config")]
    if len(images) != 1 or len(configs) != 1:
        raise MissingError(
            f"the packages hold {len(images)} kernels and {len(configs)} configurations",
            where="Debian's linux-image-cloud-arm64",
        )
    # Before trixie, /lib is a directory of its own.
    return images[0], configs[0], raw / ("lib" if (raw / "lib/modules").is_dir() else "usr/lib") / "modules"


def write_kernel(taken: kernels.Kernel, target: Path) -> cache.Facts:
    """Write Image and modules of a kernel, and return what is to be known of it."""
    userland.write_modules(taken.modules, target / "modules")
    (target / "Image").write_bytes(taken.image.data)
    digest = hashlib.sha256(taken.image.data).hexdigest()
    return {"version": taken.image.version, "content": digest, "modules": content(target / "modules")}


def qemu_version(program: Path) -> str:
    """Return the version with the packager's note as in QEMU's answer to --version, read from the program."""
    found = re.search(rb"QEMU emulator version (\d+\.\d+\.\d+[^\n\0]*)", program.read_bytes())
    if found is None:
        raise UsageError("this is not a QEMU: no version in it", where=str(program), remedy="name a qemu-system-aarch64")
    return found[1].decode(errors="replace")


class Digest:
    """Takes what is written and keeps its SHA-256 only."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Take the bytes."""
        self._sum.update(data)

    @property
    def text(self) -> str:
        """The sum so far, in hexadecimal digits."""
        return self._sum.hexdigest()


def content(directory: Path) -> str:
    """Return a digest of all files of a tree, with their names and what may be executed."""
    digest = Digest()
    initramfs.write(list(initramfs.tree(directory)), digest)
    return digest.text


def place(name: str) -> Path:
    """Return where the asset of that name is in the cache, or would be."""
    return cache.root() / "lab" / name


def kept(what: str) -> Iterator[Path]:
    """Give the place of each `kernel` or `qemu` in the cache that is complete."""
    return (asset for asset in sorted(place("").glob(f"{what}-*")) if cache.ready(asset))


def tree(asset: Path) -> Path:
    """Return where in an asset its files are; beside them lies what is known about it."""
    return asset / "tree"


def _log(name: str) -> Path:
    return place(f"{name}.log")


def facts(asset: Path) -> dict[str, object]:
    """Return what was recorded of an asset."""
    recorded: dict[str, object] = json.loads((asset / cache.MARKER).read_text())
    return recorded
