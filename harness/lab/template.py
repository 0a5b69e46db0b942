"""Templates: a lab booted once, kept as its memory and the state of its devices, and started from by all later ones.

The memory file is mapped copy-on-write by each lab, so a start costs no copy and labs share what they do not change. The
stream beside it holds the rest (migration's capability x-ignore-shared leaves memory in a shared file out of it). A template
is an asset of the cache: made once, whole or not at all, named after everything that it was made of.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.assets import cache
from harness.assets.progress import Progress
from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import DeadlineExpired
from harness.events import Timeline
from harness.lab.boot import Kvm, LabSpec, Powered, cold, find_kvm, powered
from harness.lab.rearm import idle, rearm
from harness.qemu import migration
from harness.qemu.machine import Workshop
from harness.qemu.spec import MemoryFile, Start

_MEMORY, _STATE, _KERNEL = "memory", "state", "kernel"
# The header of an Image is 64 bytes (Documentation/arch/arm64/booting.rst).
_HEADER_BYTES = 4096
_LOAD_SECONDS = 30.0
# What the kernel still does when init is ready (freeing the initramfs, late probes) belongs into the template.
_SETTLE_SECONDS = 1.0
_IDLE_SECONDS = 20.0


@dataclass(frozen=True)
class Template:
    """A complete template that stays as long as it is held."""

    directory: Path
    kvm: Kvm


@contextmanager
def held(spec: LabSpec, qemu: QemuBinary, workshop: Workshop, timeline: Timeline, progress: Progress) -> Iterator[Template]:
    """Hold the template of a lab, making it where there is none; `prune` passes it over meanwhile.

    Once a lab has loaded it, it need not be held any longer: what is mapped stays until it is unmapped. Raises HostFailure,
    DeadlineExpired, MissingError when the disk is full, and what `find_kvm` raises where it is made.
    """
    directory = root() / spec.key(qemu)
    while True:
        if cache.produce(
            directory,
            lambda place: _make(place, spec, qemu, workshop, timeline),
            progress,
            megabytes=spec.memory_mib,
        ):
            progress.step(f"lab template {directory.name}: made")
        with _locked(directory, fcntl.LOCK_SH) as there:
            if there:
                os.utime(directory / cache.MARKER)  # the age that `prune` goes by
                yield Template(directory, Kvm(**json.loads((directory / cache.MARKER).read_text())["kvm"]))
                return


def warm(template: Template, spec: LabSpec, qemu: QemuBinary, workshop: Workshop, timeline: Timeline, *, name: str) -> Powered:
    """Start a lab from a template, stopped at the point where `wake_up` lets it go on. The caller closes the machine.

    Raises QemuFailure, DeadlineExpired.
    """
    memory = MemoryFile(template.directory / _MEMORY, private=True)
    # Everything that was loaded at boot is in the memory already; QEMU wants a kernel only to know that it boots one.
    machine_spec = replace(spec.machine(memory), kernel=template.directory / _KERNEL, initrd=None)
    with powered(machine_spec, qemu, workshop, timeline, name=name, start=Start.INCOMING) as lab:
        migration.enable(lab.machine, "x-ignore-shared")
        migration.receive(lab.machine, f"file:{template.directory / _STATE}")
        migration.transferred(None, lab.machine, Deadline.after(_LOAD_SECONDS))
        return lab


def wake_up(lab: Powered, line: str) -> None:
    """Let a warm lab run, its EL2 timers put right, with a line for its control port. Raises QemuFailure, DeadlineExpired."""
    rearm(lab.machine, lambda: lab.control.send(line), Deadline.after(_LOAD_SECONDS))


def _make(place: Path, spec: LabSpec, qemu: QemuBinary, workshop: Workshop, timeline: Timeline) -> cache.Facts:
    lab = cold(spec, qemu, workshop, timeline, name="template", memory=place / _MEMORY)
    try:
        with lab.explained():
            kvm = find_kvm(lab, spec)
            _stop_idle(lab)
            migration.enable(lab.machine, "x-ignore-shared")
            migration.send(lab.machine, f"file:{place / _STATE}")
            migration.saved(lab.machine, Deadline.after(_LOAD_SECONDS))
    finally:
        lab.machine.close()
    with Path(spec.kernel).open("rb") as image:
        (place / _KERNEL).write_bytes(image.read(_HEADER_BYTES))
    # What is zero needs no disk: memory that the kernel has never used, above all. A file system without holes keeps it.
    subprocess.run(["fallocate", "--dig-holes", place / _MEMORY], check=False, capture_output=True)
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "kvm": asdict(kvm),
        "kernel": str(spec.kernel),
        "cpu": spec.cpu,
        "qemu": qemu.version_text,
        "append": spec.command_line,
        "vcpus": spec.vcpus,
        "memory_mib": spec.memory_mib,
        "bytes": size(place),
    }


def _stop_idle(lab: Powered) -> None:
    """Stop the lab while its vCPU sleeps, which is where a warm lab wakes up."""
    deadline = Deadline.after(_IDLE_SECONDS)
    time.sleep(_SETTLE_SECONDS)
    lab.machine.stop()
    while not idle(lab.machine, deadline):
        if deadline.expired:
            raise DeadlineExpired(f"the lab was not idle once in {_IDLE_SECONDS:.0f} s", where=lab.machine.side)
        lab.machine.cont()
        time.sleep(0.05)
        lab.machine.stop()


# -- what is kept


def root() -> Path:
    """Return where the templates are."""
    return cache.root() / "lab-templates"


def kept() -> list[Path]:
    """Return the complete templates, the one that was not used for longest first."""
    return sorted((marker.parent for marker in root().glob(f"[!.]*/{cache.MARKER}")), key=_last_used)


def size(directory: Path) -> int:
    """Return how much disk a template takes, in bytes; its memory file is sparse."""
    return sum(512 * path.stat().st_blocks for path in directory.iterdir())


def prune(max_age_days: float, max_bytes: int) -> list[Path]:
    """Remove templates not used for so many days, then those longest unused until all together take at most `max_bytes`.

    Those in use stay. Return what was removed.
    """
    left = kept()
    total = sum(map(size, left))
    oldest = time.time() - 86400 * max_age_days
    removed = []
    for directory in left:
        if _last_used(directory) >= oldest and total <= max_bytes:
            continue
        taken = size(directory)
        with _locked(directory, fcntl.LOCK_EX | fcntl.LOCK_NB) as ours:
            if ours:
                cache.remove(directory)
                removed.append(directory)
                total -= taken
    return removed


def _last_used(directory: Path) -> float:
    return (directory / cache.MARKER).stat().st_mtime


@contextmanager
def _locked(directory: Path, how: int) -> Iterator[bool]:
    """Lock a template (flock(2) on its stream) in the block; False where it is gone, or `how` says LOCK_NB and it is held."""
    try:
        file = (directory / _STATE).open("rb")
    except FileNotFoundError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, how)
        except BlockingIOError:
            yield False
            return
        # Whoever removed it held the lock until it was gone.
        yield os.fstat(file.fileno()).st_nlink > 0
