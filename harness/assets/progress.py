"""What set-up tells the user while it works."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from rich.status import Status


class Progress(Protocol):
    """Somebody who is told what is being done."""

    def step(self, text: str) -> None:
        """Say that a new step begins."""

    def detail(self, text: str) -> None:
        """Say what the step is doing right now; may be dropped."""


class NoProgress:
    """Nobody is told."""

    def step(self, text: str) -> None:
        """Drop it."""

    def detail(self, text: str) -> None:
        """Drop it."""


@dataclass
class PlainProgress:
    """One line per step with the seconds since the start, for log files. Details stay in the logs of the steps."""

    _began: float = field(default_factory=time.monotonic)
    # Where standard output belongs to somebody else.
    to_stderr: bool = False

    def step(self, text: str) -> None:
        """Print the step."""
        out = sys.stderr if self.to_stderr else sys.stdout
        out.write(f"[{time.monotonic() - self._began:5.1f} s] {text}\n")
        out.flush()

    def detail(self, text: str) -> None:
        """Drop it."""


@dataclass
class TerminalProgress:
    """Steps as lines, and beneath them a spinner with the latest detail. A context manager: the spinner ends with it.

    rich is imported at the first step, so that a set-up with nothing to do costs nothing.
    """

    _plain: PlainProgress = field(default_factory=PlainProgress)
    _status: Status | None = None

    def __enter__(self) -> Self:
        """Return itself; nothing is shown yet."""
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        """Take the spinner away."""
        if self._status is not None:
            self._status.stop()

    def step(self, text: str) -> None:
        """Print the step and let the spinner stand under it."""
        if self._status is None:
            from rich.console import Console

            self._status = Console().status("")
        self._status.stop()
        self._plain.step(text)
        self._status.update("")
        self._status.start()

    def detail(self, text: str) -> None:
        """Show the line beside the spinner."""
        if self._status is not None:
            from rich.text import Text

            self._status.update(Text(text[:100], style="dim"))
