"""What a destination says to a damaged stream is a refusal; that it dies of it is not."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any, cast

import pytest

from harness.errors import QemuFailure
from harness.qemu.migration import TransferFailed
from harness.state.causes import Said
from scenarios.faults.survivors import refuses, words_of_refusal


class Ended:
    """A destination that has ended with this exit status, and its words."""

    side = "refusing"

    def __init__(self, status: int) -> None:
        self._status = status

    def wait_exit(self, *_: object) -> int:
        return self._status

    def last_words(self) -> str:
        return "Size mismatch: mach-virt.ram"


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


def test_the_right_words_are_a_refusal_where_the_destination_then_ends_by_itself() -> None:
    assert words_of_refusal(cast(Any, Ended(1))) == "Size mismatch: mach-virt.ram"
    with pytest.raises(
        QemuFailure, match=r"^refusing: it was killed by SIGABRT, which is no refusal: Size mismatch: mach-virt"
    ):
        words_of_refusal(cast(Any, Ended(-6)))
    with pytest.raises(QemuFailure, match=r"it exited with status 0, which is no refusal"):
        words_of_refusal(cast(Any, Ended(0)))
