"""Wait on everything at once.

One I/O thread hears all that machines say: console bytes, QMP events, process exits. Whoever waits gives a question; it is
asked again after each thing heard, until it has an answer or the deadline passes. There is no sleep and no poll.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from harness.deadline import BEAT_SECONDS, STANDSTILL, Deadline
from harness.errors import DeadlineExpired

T = TypeVar("T")


class Hub:
    """The I/O thread of one harness process, and the condition that its hearers wait on."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self.loop.run_forever, name="harness-io", daemon=True)

    def __enter__(self) -> Self:
        """Start the I/O thread."""
        self._thread.start()
        self.post(self._beat)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the I/O thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        STANDSTILL.rest()

    def _beat(self) -> None:
        STANDSTILL.beat()
        self.loop.call_later(BEAT_SECONDS, self._beat)

    def heard(self) -> None:
        """Say that something was heard, so that waiters ask again. Called by the I/O thread."""
        with self._changed:
            self._changed.notify_all()

    def until(self, answer: Callable[[], T | None], deadline: Deadline, what: str) -> T:
        """Return the first answer that is not None.

        Raises DeadlineExpired naming `what` was waited for; whatever `answer` raises (an exit, a panic) passes through.
        """
        with self._changed:
            waited = False
            while (result := answer()) is None:
                if deadline.expired:
                    if not (waited and (later := deadline.put_off())):
                        raise DeadlineExpired(f"waited {deadline.seconds:.1f} s for {what}")
                    deadline = later
                self._changed.wait(deadline.remaining)
                waited = True
            return result

    def run(self, coroutine: Coroutine[Any, Any, T], deadline: Deadline, what: str) -> T:
        """Run a coroutine in the I/O thread and return its result.

        Raises DeadlineExpired after cancelling it and after it has cleaned up; its own errors pass through.
        """

        async def bounded() -> T:
            limit, over = deadline, deadline.expired
            task = asyncio.ensure_future(coroutine)
            try:
                while not (await asyncio.wait({task}, timeout=limit.remaining))[0]:
                    if limit.expired:
                        if over or not (later := limit.put_off()):
                            raise DeadlineExpired(f"waited {limit.seconds:.1f} s for {what}")
                        limit = later
                return task.result()
            finally:
                if not task.done():
                    task.cancel()
                    await asyncio.wait({task})

        return asyncio.run_coroutine_threadsafe(bounded(), self.loop).result()

    def post(self, function: Callable[..., object], *args: object) -> None:
        """Have the I/O thread run a plain function soon, after what was posted before."""
        self.loop.call_soon_threadsafe(function, *args)

    def call(self, function: Callable[..., object], *args: object) -> None:
        """Run a plain function in the I/O thread and return when it is done."""

        async def run() -> None:
            function(*args)

        self.run(run(), Deadline.after(10), "the I/O thread")
