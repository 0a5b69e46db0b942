"""Where the two sides of a case run: a host, its QEMU and the accelerator, each made when the first case needs it.

The source and the destination have the same ground unless the user asked for two.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from harness.assets.qemu import QemuBinary
from harness.errors import HostFailure, Suspect
from harness.qemu.machine import Workshop


class KernelLog(Protocol):
    """The log of a kernel under test, as far as it has come."""

    def mark(self) -> int:
        """Return where its end is now."""

    def troubles(self, mark: int) -> list[str]:
        """Return the lines after a mark that tell of a panic, oops, WARN, lockup, stall or KVM error."""


@dataclass(frozen=True)
class Ground:
    """Where machines of one side run."""

    workshop: Workshop
    qemu: QemuBinary
    accel: str = "tcg"
    # The log of the kernel under test, where there is one.
    log: KernelLog | None = None
    # What it is made of, for reports: kernel, CPU.
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def culprit(self) -> Suspect:
        """Whose fault it is when a guest fares ill here and nobody has said why: whoever emulates its CPU."""
        return Suspect.QEMU if self.accel == "tcg" else Suspect.KERNEL_L0


@dataclass(frozen=True)
class Choice:
    """What the user chose for one side; the same choice is the same ground. `name` and `cpu` identify a lab or host."""

    platform: str
    qemu: str | None = None
    lab_kernel: str | None = None
    lab_modules: str | None = None
    lab_cpu: str | None = None
    lab_qemu: str | None = None


class Grounds:
    """The grounds of one harness process, as many at a time as a case needs: those of another choice are left first."""

    def __init__(self, make: Callable[[Choice, ExitStack], Ground]) -> None:
        self._make = make
        self._open: dict[Choice, tuple[Ground, ExitStack]] = {}

    def ready(self, *choices: Choice) -> list[Ground]:
        """Return a ground for each choice. One whose host has been lost since is made anew. Raises what making it raises."""
        for choice in list(self._open):
            if choice not in choices or _lost(self._open[choice][0]):
                self._leave(choice)
        for choice in choices:
            if choice not in self._open:
                with ExitStack() as opening:
                    ground = self._make(choice, opening)
                    self._open[choice] = (ground, opening.pop_all())
        return [self._open[choice][0] for choice in choices]

    def close(self) -> None:
        """Leave all."""
        for choice in list(self._open):
            self._leave(choice)

    def _leave(self, choice: Choice) -> None:
        _, opened = self._open.pop(choice)
        opened.close()


def _lost(ground: Ground) -> bool:
    try:
        ground.workshop.host.check()
    except HostFailure:
        return True
    return False
