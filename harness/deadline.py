"""One clock for all waits.

A `Deadline` is made once for a whole operation and handed down, so that three waits in a row share one budget instead of
adding up to three.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

BEAT_SECONDS = 1.0
_NOTICED_SECONDS = 1.0


class Standstill:
    """For how long this computer, or all of this process, stood still: so much too late were the beats of one thread.

    A virtual computer is paused by its host for half a minute now and then. Nothing that anybody waits for can come meanwhile.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._beaten: float | None = None
        self._total = 0.0

    def beat(self) -> None:
        """Say that this process has time; to be said every BEAT_SECONDS."""
        self._look(beats=True)

    def rest(self) -> None:
        """Say that there will be no beat for some time."""
        with self._lock:
            self._beaten = None

    def total(self) -> float:
        """Return for how many seconds in all. Whoever looks before the first beat after it knows of it, too."""
        return self._look(beats=False)

    def _look(self, *, beats: bool) -> float:
        with self._lock:
            now = time.monotonic()
            late = 0.0 if self._beaten is None else now - self._beaten - BEAT_SECONDS
            if late > _NOTICED_SECONDS:
                self._total += late
            if late > _NOTICED_SECONDS or beats:
                self._beaten = now
            return self._total


STANDSTILL = Standstill()


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock, with the number of seconds it was made from.

    It is later by as long as everything stood still since it was made, at most by the number of seconds.
    """

    seconds: float
    at: float = field(default=0.0)
    # What `STANDSTILL.total` gave when it was made.
    stood: float = field(default_factory=STANDSTILL.total)

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """Return the deadline `seconds` from now."""
        return cls(seconds, time.monotonic() + seconds)

    @property
    def remaining(self) -> float:
        """Seconds left, never below zero."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """True once no time is left."""
        return self.remaining == 0.0

    @property
    def _end(self) -> float:
        return self.at + min(STANDSTILL.total() - self.stood, self.seconds)

    def put_off(self) -> Deadline | None:
        """Return how long more to wait where the end of a wait was noticed long after this: as long as it was late.

        Then the computer stood still (a virtual one that was paused), or this process had no time, and what it waited for had
        none either. At most as long as the whole wait was to be. None where it was noticed in time.
        """
        end, now = self._end, time.monotonic()
        late = now - end
        more = min(late, self.seconds)
        return Deadline(self.seconds + late + more, now + more) if late > _NOTICED_SECONDS else None

    def sooner(self, seconds: float) -> Deadline:
        """Return a deadline `seconds` from now, or this one where it comes first."""
        return min(self, Deadline.after(seconds), key=lambda each: each.remaining)
