"""One stream of steps: what the harness, both QEMUs and the guest did, on one time axis.

Every part that acts or hears something adds a `Step`. The bundle of a failed case prints the stream, so a reader sees a QMP
command, the line that the guest answered with and the register look in the order in which they happened.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Step:
    """One thing that happened: `at` seconds after the case began, on `side` (a machine's name or "harness")."""

    at: float
    side: str
    kind: str
    text: str

    def __str__(self) -> str:
        """Return the step as one line of a timeline."""
        return f"{self.at:9.4f} {self.side:<12} {self.kind:<8} {self.text}"


@dataclass
class Timeline:
    """The steps of one case. Threads may add to it at the same time."""

    began: float = field(default_factory=time.monotonic)
    steps: list[Step] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, side: str, kind: str, text: str) -> None:
        """Record that `text` of the given kind ("qmp", "event", "console", "look", ...) happened on `side` now."""
        with self._lock:
            self.steps.append(Step(time.monotonic() - self.began, side, kind, text))

    def __str__(self) -> str:
        """Return all steps, one to a line."""
        with self._lock:
            return "".join(f"{step}\n" for step in self.steps)
