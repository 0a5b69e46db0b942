"""The few programs that come from the system's own packages."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.assets import cache, command
from harness.assets.progress import Progress
from harness.errors import MissingError


@dataclass(frozen=True)
class Tool:
    """A program or file, the Debian package it comes in, and what cannot be done without it.

    Any one of `probes` is enough: an absolute path is looked for as a file, anything else on PATH.
    """

    probes: tuple[str, ...]
    package: str
    lack: str

    def found(self) -> str | None:
        """Return where it is, or None."""
        for probe in self.probes:
            where = probe if probe.startswith("/") and Path(probe).exists() else shutil.which(probe)
            if where:
                return where
        return None


MMDEBSTRAP = Tool(("mmdebstrap",), "mmdebstrap", "no private QEMU (only one that is installed, or --qemu PATH), no lab")
KEYRING = Tool(
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"),
    "debian-archive-keyring",
    "no private QEMU and no lab: the signatures of Debian packages cannot be checked",
)
MAKE = Tool(("make",), "make", "the guests cannot be built")
SETPRIV = Tool(("setpriv",), "util-linux", "no machine can be started: nothing would end it if the harness were killed")


def native() -> bool:
    """True on an arm64 computer."""
    return platform.machine() == "aarch64"


def compiler_prefix() -> str:
    """Return what goes before `gcc` and `objcopy` to get code for arm64: nothing on an arm64 computer."""
    return "" if native() else "aarch64-linux-gnu-"


def compiler() -> Tool:
    """Return the C compiler for guests; its package brings the binutils along."""
    package = "gcc" if native() else "gcc-aarch64-linux-gnu"
    return Tool((f"{compiler_prefix()}gcc",), package, "the guests cannot be built")


def needed(*, private_qemu: bool) -> tuple[Tool, ...]:
    """Return what set-up needs; `private_qemu` says whether a QEMU is to be fetched."""
    build = (MAKE, compiler(), SETPRIV)
    return (*build, MMDEBSTRAP, KEYRING) if private_qemu else build


def provide(tools: Iterable[Tool], progress: Progress) -> None:
    """Install the packages of the tools that are not there.

    Raises MissingError with the command to type when there is neither root nor sudo without a password, or no apt.
    """
    lacking = [tool for tool in tools if tool.found() is None]
    if not lacking:
        return
    packages = sorted({tool.package for tool in lacking})
    remedy = f"install them, for example: sudo apt-get install {' '.join(packages)}"
    root = _become_root()
    if root is None or shutil.which("apt-get") is None:
        raise MissingError(f"these system packages are missing: {' '.join(packages)}", remedy=remedy)
    progress.step(f"system packages: {' '.join(packages)}")
    logs = cache.root()
    with cache.writable(logs):
        logs.mkdir(parents=True, exist_ok=True)
    # A dpkg lock held by another installation is waited for.
    apt = (*root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--yes", "-o", "DPkg::Lock::Timeout=300")
    install = (*apt, "install", "--no-install-recommends", *packages)
    try:
        command.run(install, progress, log=logs / "apt-install.log", remedy=remedy)
    except MissingError:
        # The usual cause is a package list that is empty (a fresh container) or old (the files have gone from the
        # mirror).
        progress.step("system packages: getting the package lists, then once more")
        command.run((*apt, "update"), progress, log=logs / "apt-update.log", remedy=remedy)
        command.run(install, progress, log=logs / "apt-install.log", remedy=remedy)
    still = [tool.probes[0] for tool in lacking if tool.found() is None]
    if still:
        raise MissingError(f"apt-get installed {' '.join(packages)}, yet {', '.join(still)} cannot be found")


def _become_root() -> tuple[str, ...] | None:
    """Return the words that make a command run as root without asking anybody, or None."""
    if os.geteuid() == 0:
        return ()
    sudo = shutil.which("sudo")
    if sudo and subprocess.run([sudo, "-n", "true"], capture_output=True, check=False).returncode == 0:
        return (sudo, "-n")
    return None
