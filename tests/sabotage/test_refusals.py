"""What a destination says to a damaged stream is a refusal; that it dies of it is not."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, cast

import pytest

from harness.qemu.migration import TransferFailed
from harness.state.causes import Said
from scenarios.faults.survivors import refuses


class Loading:
    """A passage whose destination fails with these words and this exit status, or takes the stream."""

    def __init__(self, words: str = "", status: int = 1) -> None:
        self._words, self._status = words, status

    def load(self, *_: object) -> None:
        if self._words:
            said = Said("destination", "failed", stderr=self._words, exit_status=self._status)
            raise TransferFailed(f"the destination did not take the stream: {self._words}", None, said, where="destination")


def loaded(*arguments: Any) -> bool:
    return refuses(cast(Any, Loading(*arguments)), cast(Any, None), PurePath("stream"))


def test_words_are_a_refusal_and_a_stream_that_is_taken_is_none() -> None:
    assert loaded("Unknown savevm section or instance 'x' 0")
    assert not loaded()


@pytest.mark.parametrize(
    ("words", "status"),
    [("it was killed by SIGSEGV without a word", -11), ("qemu: ../x.c:1: load: Assertion `n < 4' failed.", -6), (" ", 1)],
)
def test_a_crash_or_silence_is_no_refusal(words: str, status: int) -> None:
    with pytest.raises(TransferFailed):
        loaded(words, status)
