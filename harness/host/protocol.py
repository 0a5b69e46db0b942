"""What a host can do, whichever it is: this computer, an arm64 computer reached by SSH, a lab.

Everything above works with this protocol only. Paths on the host are `PurePath`; a `Path` is on this computer.
"""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Protocol

from harness.deadline import Deadline


def how_it_ended(status: int) -> str:
    """Return in words what an exit status says (negative: the number of the signal that killed the program)."""
    return f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"


@dataclass(frozen=True)
class Completed:
    """A command that has ended: its exit status (negative: the number of the signal that killed it) and what it wrote."""

    argv: tuple[str, ...]
    status: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Facts:
    """What a host says of itself, asked once."""

    machine: str  # as uname -m: aarch64, x86_64
    kernel: str  # as uname -r
    cpus: int
    memory_mib: int
    # As /sys/module/kvm/parameters/mode or kernel log; empty where there is no usable /dev/kvm.
    kvm: str


class Process(Protocol):
    """A program that runs on a host. It does not outlive the harness."""

    stdio: socket.socket
    """Our end of its standard input and output: a stream socket. Its standard error goes to a file on this computer."""

    def poll(self) -> int | None:
        """Return the exit status (negative: the signal's number) or None while it runs. Raises HostFailure."""

    def wait(self, deadline: Deadline) -> int | None:
        """Return the exit status, or None where the deadline comes first. Raises HostFailure."""

    def kill(self) -> None:
        """Kill it at once (SIGKILL); no error where it has ended."""

    def on_exit(self, heard: Callable[[], None]) -> None:
        """Have `heard` called once, from any thread, when it has ended or its host is lost."""

    def close(self) -> None:
        """Kill it if it runs, reap it and close what was opened. May be called twice."""


class Host(Protocol):
    """Where commands and QEMU run. Use it as a context manager."""

    name: str
    # The chardev backend of QEMU that talks over its standard input and output here: one that can carry descriptors, or not.
    stdio_chardev: str

    def facts(self) -> Facts:
        """Return what the host says of itself. Raises HostFailure."""

    def check(self) -> None:
        """Raise HostFailure with the cause when the host is lost; cheap, asked in every wait."""

    def run(self, argv: Sequence[str], deadline: Deadline, *, stdin: bytes = b"") -> Completed:
        """Run a command to its end, both streams drained. Raises HostFailure, DeadlineExpired (the command is killed)."""

    def spawn(self, argv: Sequence[str], *, env: Mapping[str, str], stderr: Path) -> Process:
        """Start a program; what it writes to standard error goes to the file `stderr` on this computer. Raises HostFailure."""

    def put(self, source: Path, target: PurePath) -> None:
        """Copy a file to the host, whole or not at all. Raises HostFailure (a full disk is named)."""

    def get(self, source: PurePath, target: Path) -> None:
        """Copy a file from the host. Raises HostFailure."""

    def bring(self, source: Path) -> PurePath:
        """Return where a file of this computer is on the host, copied there the first time. Raises HostFailure."""

    def connect(self, path: PurePath) -> socket.socket:
        """Return a stream connected to a Unix socket of the host. Raises HostFailure when nobody listens there."""

    def directory(self, name: str) -> PurePath:
        """Return a new, empty private directory on the host; it is gone when the harness is."""
