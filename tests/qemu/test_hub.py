"""Waiting on everything at once: asked when something was heard, and only then."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from harness.deadline import STANDSTILL, Deadline
from harness.errors import DeadlineExpired
from harness.qemu.hub import Hub


def soon() -> Deadline:
    return Deadline.after(10)


def test_an_answer_that_is_there_needs_nothing_heard(hub: Hub) -> None:
    assert hub.until(lambda: 0, Deadline.after(0), "it") == 0


def test_each_thing_heard_asks_once_more_and_nothing_else_does(hub: Hub) -> None:
    """The question has been asked N+1 times when N things were heard: no poll is between."""
    asked: list[int] = []

    def question() -> int | None:
        asked.append(len(asked))
        if len(asked) == 5:
            return 42
        hub.loop.call_soon_threadsafe(hub.heard)
        return None

    assert hub.until(question, soon(), "the answer") == 42
    assert len(asked) == 5


def test_no_question_without_a_word(hub: Hub) -> None:
    asked = []
    with pytest.raises(DeadlineExpired, match="waited 0.1 s for a miracle"):
        hub.until(lambda: asked.append(1), Deadline.after(0.1), "a miracle")
    assert len(asked) == 2  # at once, and at the deadline


def test_what_the_question_raises_passes_through(hub: Hub) -> None:
    def question() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError, match="gone"):
        hub.until(question, soon(), "it")


def test_a_word_between_question_and_wait_is_not_missed(hub: Hub) -> None:
    """The question holds the lock, so whoever hears something meanwhile waits until we listen."""
    heard: list[str] = []

    def question() -> str | None:
        if not heard:
            heard.append("word")
            threading.Thread(target=hub.heard).start()
            return None
        return heard[0]

    assert hub.until(question, soon(), "it") == "word"


def test_a_coroutines_result_and_error(hub: Hub) -> None:
    async def good() -> str:
        return threading.current_thread().name

    async def bad() -> None:
        raise LookupError("no")

    assert hub.run(good(), soon(), "it") == "harness-io"
    with pytest.raises(LookupError, match="no"):
        hub.run(bad(), soon(), "it")


def test_a_coroutine_that_is_late_is_cancelled(hub: Hub) -> None:
    cancelled = threading.Event()

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # as a client that hangs up in order
            cancelled.set()
            raise

    with pytest.raises(DeadlineExpired, match="for the end of time"):
        hub.run(late(), Deadline.after(0.05), "the end of time")
    assert cancelled.is_set(), "whoever waited may take its connection down now"


def test_a_time_out_of_the_coroutines_own_is_not_our_deadline(hub: Hub) -> None:
    async def own() -> None:
        raise TimeoutError("connection timed out")

    with pytest.raises(TimeoutError, match="connection timed out"):
        hub.run(own(), soon(), "it")


def test_call_returns_when_it_is_done_there(hub: Hub) -> None:
    names: list[str] = []
    hub.call(lambda: names.append(threading.current_thread().name))
    assert names == ["harness-io"]


def test_leaving_stops_the_thread() -> None:
    with Hub() as hub:
        pass
    assert not hub._thread.is_alive()
    assert hub.loop.is_closed()


# How long everything stands still: longer than what is taken for a thread that has to wait for its turn.
STANDSTILL_SECONDS = 1.8


@pytest.fixture
def lonely(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub whose beats are the only ones: a computer that stands still has none of those that other tests have open."""
    ours, beat = hub._thread, STANDSTILL.beat
    monkeypatch.setattr(STANDSTILL, "beat", lambda: beat() if threading.current_thread() is ours else None)
    return hub


def test_a_wait_that_ends_long_after_its_deadline_goes_on(hub: Hub) -> None:
    """As on a virtual computer that was paused: the answer was on its way all the time."""
    answers: list[str] = []

    def stand_still() -> None:
        with hub._changed:
            time.sleep(STANDSTILL_SECONDS)
        time.sleep(0.1)
        answers.append("it")
        hub.heard()

    thread = threading.Thread(target=stand_still)

    def question() -> str | None:
        if not thread.ident:
            thread.start()
        return answers[0] if answers else None

    assert hub.until(question, Deadline.after(0.5), "it") == "it"
    thread.join()


def test_a_coroutine_that_was_waited_for_while_all_stood_still_is_waited_for_on(hub: Hub) -> None:
    async def stand_still_and_go_on() -> str:
        time.sleep(STANDSTILL_SECONDS)  # noqa: ASYNC251  # the loop stands still
        await asyncio.sleep(0.1)
        return "it"

    assert hub.run(stand_still_and_go_on(), Deadline.after(0.5), "it") == "it"


def test_a_wait_that_ends_soon_after_all_stood_still_goes_on(lonely: Hub) -> None:
    """The answer takes as long as ever, and most of its time was gone when it could begin to come."""

    async def stand_still_and_go_on() -> str:
        await asyncio.sleep(0.1)
        time.sleep(2 * STANDSTILL_SECONDS)  # noqa: ASYNC251  # the loop stands still
        await asyncio.sleep(0.8)
        return "it"

    soon = Deadline.after(60).sooner(2 * STANDSTILL_SECONDS + 0.4)
    with Hub():  # of another test
        assert lonely.run(stand_still_and_go_on(), soon, "it") == "it"


def test_it_ends_all_the_same(hub: Hub) -> None:
    def hold() -> None:
        with hub._changed:
            time.sleep(STANDSTILL_SECONDS)

    began = time.monotonic()
    thread = threading.Thread(target=hold)
    with pytest.raises(DeadlineExpired, match=r"waited [12]\.\d s for a miracle"):
        hub.until(lambda: None if thread.ident else thread.start(), Deadline.after(0.1), "a miracle")
    with pytest.raises(DeadlineExpired, match=r"waited [12]\.\d s for a miracle"):
        hub.run(_stands_still_for_ever(), Deadline.after(0.1), "a miracle")
    assert time.monotonic() - began < 20


async def _stands_still_for_ever() -> None:
    time.sleep(STANDSTILL_SECONDS)  # noqa: ASYNC251  # the loop stands still
    await asyncio.Event().wait()


def test_a_deadline_that_was_over_before_is_not_put_off(hub: Hub) -> None:
    over = Deadline(1.0, time.monotonic() - 100)
    with pytest.raises(DeadlineExpired, match=r"waited 1\.0 s for it"):
        hub.until(lambda: None, over, "it")
    with pytest.raises(DeadlineExpired, match=r"waited 1\.0 s for it"):
        hub.run(asyncio.sleep(60), over, "it")
