"""Where the two sides of a case run: a host, its QEMU and the accelerator, each made when the first case needs it.

The source and the destination have the same ground unless the user asked for two.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

from harness.errors import HostFailure
from harness.lab.ground import Choice, Ground


class Grounds:
    """The grounds of one harness process, as many at a time as a case needs: those of another choice are left first."""

    def __init__(self, make: Callable[[Choice, ExitStack], Ground]) -> None:
        self._make = make
        self._open: dict[Choice, tuple[Ground, ExitStack]] = {}

    def ready(self, *choices: Choice) -> list[Ground]:
        """Return a ground for each choice; one that has been lost since is made anew. Raises what making it raises."""
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
    """Say whether its host is lost, or what a kernel of it says is not heard any more."""
    try:
        ground.workshop.host.check()
        for kernel in ground.kernels:
            kernel.log.check()
    except HostFailure:
        return True
    return False
