"""What is there, what is missing, and what each lack costs."""

from __future__ import annotations

import ctypes
import errno
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from harness.assets import cache, guests, lab, qemu, system
from harness.errors import HarnessError

_MACHINE_MEGABYTES = 200
"""What one small machine takes: 32 to 64 MiB of guest memory, and QEMU itself."""
LAB_MEMORY_MIB = 2048
LAB_VCPUS = 2
VCPUS_PER_CORE = 2
_LAB_OVERHEAD_MEGABYTES = 400
"""An allowance for QEMU itself and the code that it translates."""
_CACHE_MEGABYTES = 1200
_USERFAULTFD = {"x86_64": 323, "aarch64": 282}
"""Number of userfaultfd(2), from the kernel's system call tables."""


class Health(StrEnum):
    """How things stand with one subject."""

    OK = "ok"
    LIMITED = "limited"
    MISSING = "missing"


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's table. `cost` says what cannot be done, or what to do; empty when all is well."""

    subject: str
    health: Health
    found: str
    cost: str = ""


def examine() -> tuple[Finding, ...]:
    """Look at everything the harness uses; never raises for what it finds."""
    tools = system.needed(private_qemu=True)
    return (
        Finding("Python", Health.OK, platform.python_version()),
        _workers(),
        _qemu(),
        _guests(),
        *_lab(),
        *(_tool(tool) for tool in tools),
        _kvm(),
        _postcopy(),
        _size(),
        _labs(),
        _disk(),
    )


def labs_that_fit(memory_mib: int = LAB_MEMORY_MIB, vcpus: int = LAB_VCPUS) -> int:
    """Return how many labs this computer can run at once.

    Each wants its memory and what QEMU takes itself, out of what is free now; and a core for every two vCPUs, as slots do.
    """
    each = memory_mib * 1_048_576 + _LAB_OVERHEAD_MEGABYTES * 1_000_000
    cores = len(os.sched_getaffinity(0)) * VCPUS_PER_CORE // vcpus
    return min(cores, psutil.virtual_memory().available // each)


def _from(subject: str, look: Callable[[], str], cost: str) -> Finding:
    try:
        return Finding(subject, Health.OK, look())
    except HarnessError as error:
        return Finding(subject, Health.MISSING, str(error), cost)


def _workers() -> Finding:
    try:
        return Finding("pytest-xdist", Health.OK, importlib.metadata.version("pytest-xdist"))
    except importlib.metadata.PackageNotFoundError:
        return Finding("pytest-xdist", Health.MISSING, "not installed", "scenarios run one after the other; run `make setup`")


def _qemu() -> Finding:
    def look() -> str:
        found = qemu.resolve()
        return f"{found.version_text}, origin: {found.origin}"

    return _from("QEMU", look, "no scenario can run")


def _guests() -> Finding:
    return _from("guests", lambda: str(guests.find().directory), "no scenario can run")


def _lab() -> tuple[Finding, ...]:
    """Say what a lab would be made of, when nothing else is asked for."""
    cost = "no platform lab"
    try:
        assets = lab.resolve()
    except HarnessError as error:
        return (Finding("lab", Health.MISSING, str(error), cost),)
    size = assets.initramfs.stat().st_size // 1_000_000
    return (
        Finding("lab kernel", Health.OK, f"{assets.kernel_version}, {assets.kernel}"),
        Finding("lab QEMU", Health.OK, f"{assets.qemu.version_text}, origin: {assets.qemu.origin}"),
        Finding("lab initramfs", Health.OK, f"{size} MB, {assets.initramfs}"),
    )


def _labs() -> Finding:
    rule = f"{LAB_VCPUS} vCPUs ({VCPUS_PER_CORE} to a core) and {LAB_MEMORY_MIB + _LAB_OVERHEAD_MEGABYTES} MB each"
    fit = labs_that_fit()
    found = f"{fit} at once: {rule}"
    if fit == 0:
        return Finding("labs", Health.LIMITED, found, "no platform lab: free some memory")
    cost = "" if fit > 1 else "one at a time: no migration between two labs"
    return Finding("labs", Health.OK if fit > 1 else Health.LIMITED, found, cost)


def _tool(tool: system.Tool) -> Finding:
    where = tool.found()
    if where:
        return Finding(tool.probes[0].rpartition("/")[2], Health.OK, where)
    cost = f"{tool.lack}; it is in the package {tool.package}"
    return Finding(tool.probes[0].rpartition("/")[2], Health.MISSING, "not found", cost)


def _kvm() -> Finding:
    if not system.native():
        return Finding("KVM", Health.LIMITED, f"this computer is {platform.machine()}", "no platform kvm; TCG emulates")
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding("KVM", Health.OK, "/dev/kvm")
    cost = "no platform kvm: load the module or join the group that owns /dev/kvm"
    return Finding("KVM", Health.LIMITED, "/dev/kvm cannot be opened", cost)


def _postcopy() -> Finding:
    """Try what QEMU tries: /dev/userfaultfd, then the system call."""
    number = _USERFAULTFD.get(platform.machine())
    if os.access("/dev/userfaultfd", os.R_OK | os.W_OK):
        return Finding("userfaultfd", Health.OK, "/dev/userfaultfd")
    if number is None:
        return Finding("userfaultfd", Health.LIMITED, f"not known for {platform.machine()}", "postcopy may be refused")
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = libc.syscall(number, os.O_CLOEXEC | os.O_NONBLOCK)
    if descriptor >= 0:
        os.close(descriptor)
        return Finding("userfaultfd", Health.OK, "allowed")
    why = errno.errorcode.get(ctypes.get_errno(), "refused")
    return Finding("userfaultfd", Health.LIMITED, why, "no postcopy: needs root, or sysctl vm.unprivileged_userfaultfd=1")


def _size() -> Finding:
    cores = len(os.sched_getaffinity(0))
    free = psutil.virtual_memory().available // 1_000_000
    fit = min(cores, free // _MACHINE_MEGABYTES)
    found = f"{cores} cores, {free} MB of free memory: {fit} small machines at once"
    if fit == 0:
        return Finding("size", Health.MISSING, found, "not even one machine fits")
    return Finding("size", Health.OK, found) if fit > 1 else Finding("size", Health.LIMITED, found, "use -n 1")


def _disk() -> Finding:
    place = cache.root()
    there: Path = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free // 1_000_000
    found = f"{free} MB free at {place}"
    if not os.access(there, os.W_OK):
        return Finding("cache", Health.MISSING, f"{there} cannot be written", "nothing can be set up; set HARNESS_CACHE")
    if free < _CACHE_MEGABYTES:
        return Finding("cache", Health.LIMITED, found, f"set-up needs {_CACHE_MEGABYTES} MB; set HARNESS_CACHE")
    return Finding("cache", Health.OK, found)
