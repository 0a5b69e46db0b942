"""What `harness lab` does: a lab for one command, one script or one person at a terminal.

The bytes of the program in the lab are those of this process's standard streams; what the harness itself has to say goes to
standard error.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType

from paramiko import Channel

from harness.assets import cache
from harness.assets import qemu as assets_qemu
from harness.assets.progress import Progress
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.host.signals import SIGNALLED, ended_by_signals
from harness.host.ssh import LINGER_SECONDS, SshHost
from harness.host.streams import CHUNK, Streams
from harness.lab import template
from harness.lab.boot import CPU, LabSpec
from harness.lab.ground import Choice
from harness.lab.host import Lab
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop


@contextmanager
def switched_on(choice: Choice, desk: LocalHost, progress: Progress, *, warm: bool, name: str = "lab") -> Iterator[Lab]:
    """Give a lab that is up and logged in to, with its logs and sockets on `desk`; nothing is left of it afterwards.

    It takes no slot: whoever types the command wants it now. Raises as `Lab`, UsageError and MissingError for its assets.
    """
    assets = choice.lab_assets(progress)
    qemu = assets_qemu.resolve(choice.qemu)
    spec = LabSpec.of(assets, cpu=choice.lab_cpu or CPU)
    if warm and not cache.ready(template.root() / spec.key(qemu)):
        progress.step(f"the first lab of {assets.kernel_version} on {spec.cpu}: it is booted once and kept as a template")
    with Hub() as hub:
        shop = Workshop(desk, desk, hub, TargetCache())
        with Lab(spec, qemu, shop, Timeline(), progress, name=name, warm=warm) as lab:
            yield lab


def enter(choice: Choice, command: Sequence[str], progress: Progress, *, warm: bool) -> int:
    """Run a command in a lab, or without one a shell, and return its exit status as a shell gives it (128 + signal).

    Errors as `switched_on`, and HostFailure where the lab is lost while it runs.
    """
    with ended_by_signals(), LocalHost() as desk, switched_on(choice, desk, progress, warm=warm) as lab:
        if command:
            return follow(lab, lab.execute(command_line(command)))
        if sys.stdin.isatty():
            return terminal(lab)
        return follow(lab, lab.execute("exec sh -l"))


def command_line(words: Sequence[str]) -> str:
    """Return the line for the lab's shell: one word is such a line, several are a program and its arguments, as they are."""
    return words[0] if len(words) == 1 else f"exec {shlex.join(words)}"


def follow(host: SshHost, channel: Channel) -> int:
    """Carry this process's standard streams to and from a program until it has ended, and return its exit status.

    A reader of our output that has gone ends it, as it would a program here. Raises HostFailure.
    """
    broken: list[int] = []

    def to(fd: int, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(fd, rest) :]
        except BrokenPipeError:
            broken.append(fd)
            channel.close()
            raise

    streams = Streams(
        channel,
        lambda: os.read(sys.stdin.fileno(), CHUNK),
        lambda data: to(sys.stdout.fileno(), data),
        lambda data: to(sys.stderr.fileno(), data),
        LINGER_SECONDS,
    )
    streams.ended.wait()
    if broken:
        return SIGNALLED + signal.SIGPIPE
    status = host.status(channel)
    return status if status >= 0 else SIGNALLED - status


def terminal(host: SshHost) -> int:
    """Attach this terminal to a login shell and return its exit status. Raises HostFailure."""
    rows, columns = _size()
    channel = host.login_shell(os.environ.get("TERM", "linux"), columns, rows)

    def resized(_signal: int, _frame: FrameType | None) -> None:
        rows, columns = _size()
        channel.resize_pty(columns, rows)

    before = signal.signal(signal.SIGWINCH, resized)
    try:
        with raw_terminal():
            return follow(host, channel)
    finally:
        signal.signal(signal.SIGWINCH, before)


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Hand every key of the terminal on while the block runs, and leave it as it was."""
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        # A terminal that has been hung up needs no mode any more.
        with suppress(termios.error):
            termios.tcsetattr(fd, termios.TCSADRAIN, before)


def _size() -> tuple[int, int]:
    """Return rows and columns of the terminal (tty_ioctl(4), TIOCGWINSZ)."""
    answer = fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, bytes(8))
    rows, columns, _, _ = struct.unpack("HHHH", answer)
    return rows or 24, columns or 80
