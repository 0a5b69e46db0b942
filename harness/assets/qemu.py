"""Which QEMU to run: the user's, the system's, or one from a Debian suite in a private tree.

A QEMU of another Debian release runs beside the system's through its own loader, with its own libraries.
QEMU_MODULE_DIR has to point at its own modules: it would load the system's first and abort, as only modules of the
same build can be loaded.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.assets import cache, debian
from harness.assets.probe import probe
from harness.assets.progress import Progress
from harness.errors import MissingError, UsageError

DEFAULT_SUITE = "trixie-backports"
OLDEST_SYSTEM = (11, 0, 0)
"""A system QEMU older than this is passed over: scenarios should run on a QEMU of the present unless told otherwise."""

_BINARY = "qemu-system-aarch64"
_TREE_MEGABYTES = 500  # while it is made; about 130 remain


@dataclass(frozen=True)
class QemuBinary:
    """A qemu-system-aarch64 that answered: how to start it, and what it said it is."""

    argv: tuple[str, ...]
    """The words that start it; machine options follow them."""
    env: Mapping[str, str] = field(hash=False)
    """Variables to set in addition to the environment that is there."""
    version: tuple[int, int, int]
    version_text: str
    """Version with the packager's note, as in `11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1)`."""
    origin: str
    """Where it came from: `--qemu`, `HARNESS_QEMU`, `system` or `Debian SUITE`."""


def resolve(choice: str | None = None) -> QemuBinary:
    """Return the QEMU that `choice` (a path, a program on PATH or a suite's name) means.

    Without a choice: $HARNESS_QEMU, else the system's where it is 11.0 or newer, else the private one of
    trixie-backports. Raises UsageError when what was named is no QEMU for arm64, MissingError when a private tree has
    not been set up.
    """
    if choice is not None:
        return _named(choice, "--qemu")
    if named := os.environ.get("HARNESS_QEMU"):
        return _named(named, "HARNESS_QEMU")
    return system() or private(DEFAULT_SUITE)


def system() -> QemuBinary | None:
    """Return the system's QEMU where there is one and it is new enough."""
    where = shutil.which(_BINARY)
    if where is None:
        return None
    try:
        found = _user_binary(where, "system")
    except UsageError:
        return None  # nobody asked for this one: broken is as good as too old, and `harness doctor` shows what is used
    return found if found.version >= OLDEST_SYSTEM else None


def suites_wanted(choice: str | None = None) -> tuple[str, ...]:
    """Return the suites whose private tree `resolve(choice)` would need: one or none. Errors as `resolve`."""
    named = choice or os.environ.get("HARNESS_QEMU")
    if named:
        return (named,) if named in debian.SUITES else ()
    return () if system() else (DEFAULT_SUITE,)


def tree(suite: str) -> Path:
    """Return where the private tree of the suite is, or would be."""
    return cache.root() / "qemu" / suite


def private(suite: str) -> QemuBinary:
    """Return the QEMU in the private tree of a suite. Raises MissingError when the tree is not there or broken."""
    directory = tree(suite)
    remedy = "run `harness setup`" if suite == DEFAULT_SUITE else f"run `harness setup --qemu {suite}`"
    if not cache.ready(directory):
        raise MissingError(f"QEMU of Debian {suite} has not been set up", remedy=remedy)
    argv, env = _tree_command(directory)
    try:
        version, text = probe(argv, env, stamp=directory / "bin" / _BINARY)
    except UsageError as error:
        raise MissingError(f"the private QEMU does not run: {error.what}", remedy=f"{remedy} with --refresh") from error
    return QemuBinary(argv, env, version, text, f"Debian {suite}")


def install(suite: str, progress: Progress, *, again: bool = False) -> bool:
    """Make the private tree of a suite unless it is there; return True when it was made. `again` replaces it."""
    directory = tree(suite)

    def make(temporary: Path) -> cache.Facts:
        progress.step(f"QEMU of Debian {suite}: downloading about 60 MB of packages")
        raw = temporary / "raw"
        raw.mkdir()
        log = directory.with_name(f"{suite}.log")
        packages, mirror = debian.extract(debian.SUITES[suite], ["qemu-system-arm"], raw, progress, log=log)
        adopt(raw, temporary)
        shutil.rmtree(raw)
        _, text = probe(*_tree_command(temporary), stamp=None)
        progress.step(f"QEMU of Debian {suite}: {text}")
        today = datetime.now(UTC).isoformat(timespec="seconds")
        return {"suite": suite, "date": today, "qemu": text, "mirror": mirror, "packages": packages}

    return cache.produce(directory, make, progress, megabytes=_TREE_MEGABYTES, again=again)


def adopt(raw: Path, target: Path) -> None:
    """Move what QEMU needs out of an unpacked tree of Debian packages: the program, libraries, modules, firmware.

    Before trixie, packages have files below /lib as well as below /usr/lib, hence both. Raises MissingError when the
    tree holds no QEMU.
    """
    libraries = target / "lib"
    (target / "bin").mkdir()
    libraries.mkdir()
    try:
        (raw / "usr/bin" / _BINARY).rename(target / "bin" / _BINARY)
        (raw / "usr/share/qemu").rename(target / "share")
        for directory in (*raw.glob("usr/lib/*-linux-gnu"), *raw.glob("lib/*-linux-gnu")):
            for item in directory.glob("*.so*"):
                item.rename(libraries / item.name)
            if (directory / "qemu").is_dir():
                (directory / "qemu").rename(libraries / "qemu")
    except FileNotFoundError as error:
        raise MissingError(f"the packages hold no {error.filename}", where="Debian's qemu-system-arm") from error


def _tree_command(directory: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    libraries = directory / "lib"
    loaders = sorted(libraries.glob("ld-linux*.so.*"))
    if len(loaders) != 1:
        raise MissingError("the tree holds no dynamic loader", where=str(libraries), remedy="run `harness setup --refresh`")
    words = (
        str(loaders[0]),
        "--library-path",
        str(libraries),
        str(directory / "bin" / _BINARY),
        "-L",
        str(directory / "share"),
    )
    return words, {"QEMU_MODULE_DIR": str(libraries / "qemu")}


def _named(choice: str, said: str) -> QemuBinary:
    if choice in debian.SUITES:
        return private(choice)
    where = shutil.which(choice)
    if where is None:
        path = Path(choice)
        if path.is_dir():
            raise UsageError(f"{choice} is a directory", where=said, remedy=f"name the program, {_BINARY}, itself")
        if path.exists():
            raise UsageError(f"{choice} is not executable", where=said, remedy=f"name a {_BINARY}, or chmod +x it")
        known = ", ".join(debian.SUITES)
        raise UsageError(f"there is no {choice}", where=said, remedy=f"give the path of a {_BINARY} or a suite: {known}")
    return _user_binary(where, said)


def _user_binary(where: str, origin: str) -> QemuBinary:
    path = Path(where).absolute()
    # What a script starts can change while the script does not, so only a program's own answer is remembered.
    with path.open("rb") as program:
        stamp = path if program.read(4) == b"\x7fELF" else None
    try:
        version, text = probe((str(path),), {}, stamp=stamp)
    except UsageError as error:
        raise UsageError(error.what, where=origin, remedy=error.remedy) from error
    return QemuBinary((str(path),), {}, version, text, origin)
