"""A disk of a chosen size for one QEMU process, which vanishes with it: a tmpfs in a mount namespace of its own.

A file size limit (RLIMIT_FSIZE) would need no root, but QEMU meets another error then, or a signal.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.deadline import Deadline
from harness.errors import HarnessBug, Unsupported
from harness.host.local import LocalProcess
from harness.lab.ground import Ground
from harness.qemu.machine import Machine
from harness.state.stream import decode

_SECONDS = 10.0
_PAGE = 4096
# $1 is the directory, the rest the command.
_MOUNTED = 'mount -t tmpfs -o size=1M,mode=0700 small "$1" && shift && exec "$@"'


@dataclass(frozen=True)
class SmallDisk:
    """A directory that each machine started on these grounds sees as a disk of its own, of 1 MiB at first."""

    directory: Path

    @classmethod
    def at(cls, directory: Path) -> SmallDisk:
        """Return a disk to be seen in the place of a directory. Raises Unsupported without root, or util-linux."""
        if os.geteuid():
            raise Unsupported("a disk of a chosen size is a tmpfs, and only root can mount one")
        if missing := [program for program in ("unshare", "nsenter", "mount") if shutil.which(program) is None]:
            raise Unsupported(f"{missing[0]} is not installed")
        return cls(directory)

    def confine(self, grounds: Sequence[Ground]) -> list[Ground]:
        """Return grounds whose QEMU sees the disk."""
        inner = ("unshare", "--mount", "sh", "-c", _MOUNTED, "small-disk", str(self.directory))
        return [replace(ground, qemu=replace(ground.qemu, argv=(*inner, *ground.qemu.argv))) for ground in grounds]

    def resize(self, machine: Machine, size: int) -> None:
        """Give one machine's disk another size in bytes, rounded down to whole pages. Raises HarnessBug."""
        assert isinstance(machine.process, LocalProcess)
        options = f"remount,size={max(1, size // _PAGE) * _PAGE}"
        argv = ["nsenter", "--target", str(machine.process.pid), "--mount", "mount", "-o", options, str(self.directory)]
        done = machine.host.run(argv, Deadline.after(_SECONDS))
        if done.status:
            raise HarnessBug(f"the small disk could not be resized: {done.stderr.decode().strip()}")


def room_for(whole: Path, part: str) -> int:
    """Return how many bytes a disk has on which saving what `whole` holds ends in a part: `nothing`, `memory`, `devices`."""
    used = whole.stat().st_blocks * 512  # a file with mapped-ram is mostly holes
    if part == "nothing":
        return 0
    if part == "memory":
        return used // 2
    stream = decode(whole)
    (cpu, *_) = (section for section in stream.sections if section.name == "cpu")
    return used - (stream.size - cpu.offset)
