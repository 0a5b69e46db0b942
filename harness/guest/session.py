"""What `harness boot` does: a payload with its console attached to this process's standard streams.

What the guest says is printed line by line as it comes. `g`, `?` and `e` from standard input go to the guest once it has said
`now`; the end of the input, where no `g` has come, means go.
"""

from __future__ import annotations

import os
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath

from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, Failure, Unsupported, UsageError
from harness.events import Timeline
from harness.guest.payload import ANSWER_SECONDS, Guest
from harness.guest.witness import hear_out
from harness.qemu.machine import Machine, Workshop
from harness.qemu.spec import MachineSpec

_BYTES = b"g?e"
# How soon the end of the input is noticed while the guest says nothing.
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Order:
    """Which payload to boot, and how. `cpu` None: what the accelerator has."""

    payload: Path
    arguments: Mapping[str, str]
    cpu: str | None = None
    el2: bool = False
    # Send `g` at `now`, and hear the guest out without anybody's help.
    go: bool = False

    def machine(self, kernel: PurePath, accel: str) -> MachineSpec:
        """Return the machine for it; `kernel` is where the payload is on its host. Raises UsageError."""
        given = dict(self.arguments)
        if self.el2 and accel == "kvm":
            # QEMU has no switch for a guest with E2H = 0 under KVM (KVM's HAS_EL2_E2H0).
            given.setdefault("e2h", "1")
        vcpus = given.setdefault("vcpus", "1")
        if not vcpus.isdecimal() or not int(vcpus):
            raise UsageError(f"vcpus={vcpus} is not a number of vCPUs")
        return MachineSpec(
            kernel=kernel,
            append=" ".join(f"{key}={value}" for key, value in given.items()),
            cpu=self.cpu or ("max" if accel == "tcg" else "host"),
            vcpus=int(vcpus),
            el2=self.el2,
            accel=accel,
        )


def arguments_of(words: Sequence[str], vcpus: int | None) -> dict[str, str]:
    """Return the payload's arguments from words `key=value`. Raises UsageError."""
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals or not value or " " in word:
            raise UsageError(f"{word!r} is not an argument of a payload", remedy="write key=value")
        if key in given:
            raise UsageError(f"{key} is given twice")
        given[key] = value
    if vcpus is not None and given.setdefault("vcpus", str(vcpus)) != str(vcpus):
        raise UsageError(f"--vcpus {vcpus} and vcpus={given['vcpus']} contradict each other")
    return given


def run(order: Order, workshop: Workshop, qemu: QemuBinary, accel: str) -> int:
    """Boot the payload and return 0 where its own checks all held, else 1 with the reason on standard error.

    Raises UsageError, and QemuFailure where QEMU does not start with what the user asked for.
    """
    spec = order.machine(workshop.host.bring(order.payload), accel)
    with Machine(spec, qemu, workshop, _Printed(), side=order.payload.stem) as machine:
        guest = Guest(order.payload.stem, order.arguments, machine)
        try:
            guest.reach_now()
            if order.go:
                guest.go()
                hear_out(guest)
            else:
                _attend(guest)
            machine.end_well(Deadline.after(ANSWER_SECONDS))
            guest.checks()
        except (Failure, Unsupported) as error:
            sys.stderr.write(f"harness: {error}\n")
            return 1
    return 0


class _Printed(Timeline):
    """Prints what the guest says as it is heard."""

    def add(self, side: str, kind: str, text: str) -> None:
        super().add(side, kind, text)
        if kind == "console":
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()


def _attend(guest: Guest) -> None:
    """Hear the guest, with the keys of a person going to it, until it ends; alone once the input has ended."""
    alone = threading.Event()
    with _keys():
        threading.Thread(target=_send, args=(guest, alone), name="harness-keys", daemon=True).start()
        while not guest.of_kind("end") and not alone.is_set():
            with suppress(DeadlineExpired):
                guest.hear(Deadline.after(_LOOK_SECONDS), "the guest's next word")
    hear_out(guest)


def _send(guest: Guest, alone: threading.Event) -> None:
    """Carry from standard input what a guest understands, and see to it that it is told to go on at all."""
    told = False
    with suppress(OSError, Failure):  # the machine has gone, of which whoever hears the guest tells
        while data := os.read(sys.stdin.fileno(), 1):
            if data in _BYTES:
                told = told or data == b"g"
                guest.machine.console.say(data)
        if not told:
            guest.go()
    alone.set()


@contextmanager
def _keys() -> Iterator[None]:
    """Let single keys of a terminal come without Return and echo; Ctrl-C stays what it is."""
    if not sys.stdin.isatty():
        yield
        return
    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    sys.stderr.write("harness: keys: g go on, ? how things stand, e end\n")
    try:
        tty.setcbreak(fd)
        yield
    finally:
        with suppress(termios.error):  # it has been hung up
            termios.tcsetattr(fd, termios.TCSADRAIN, before)
