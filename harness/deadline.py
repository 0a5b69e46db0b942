"""One clock for all waits.

A `Deadline` is made once for a whole operation and handed down, so that three waits in a row share one budget instead of
adding up to three.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

_NOTICED_SECONDS = 1.0


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock, with the number of seconds it was made from."""

    seconds: float
    at: float = field(default=0.0)

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self.at - time.monotonic())

    @property
    def expired(self) -> bool:
        """True once no time is left."""
        return self.remaining == 0.0

    def put_off(self) -> Deadline | None:
        """Return how long more to wait where the end of a wait was noticed long after this: as long as it was late.

        Then the computer stood still (a virtual one that was paused), or this process had no time, and what it waited for had
        none either. At most as long as the whole wait was to be. None where it was noticed in time.
        """
        now = time.monotonic()
        late = now - self.at
        more = min(late, self.seconds)
        return Deadline(self.seconds + late + more, now + more) if late > _NOTICED_SECONDS else None

    def sooner(self, seconds: float) -> Deadline:
        """Return a deadline `seconds` from now, or this one where it comes first."""
        return min(self, Deadline.after(seconds), key=lambda d: d.at)
