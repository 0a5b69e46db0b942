"""A stream cut short is never taken for a whole one; tests/state tries the decoder at every byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from harness.deadline import Deadline
from harness.errors import QemuFailure
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import Passage
from harness.lifecycle.passage import Saved as Written
from harness.plugin.trial import Bench
from harness.qemu.machine import Machine
from harness.state.edit import cut
from harness.state.stream import Stream, StreamError, decode
from tests.sabotage.parts import CPU, SabotagedTrial, start

SECTIONS = ("ram", "arm_gicv3", "timer", "cpu", "globalstate")
# Far above the tenth of a second that a refusal takes, far below any deadline of the harness.
SOON_SECONDS = 15.0


@dataclass(frozen=True)
class Saved:
    """A guest's stream, and a case in which other machines can load it."""

    trial: SabotagedTrial
    data: bytes
    stream: Stream

    @property
    def end_mark(self) -> int:
        """The offset of the byte that ends the device state; nothing of the guest comes after it."""
        last = self.stream.sections[-1]
        return last.offset + last.size + 5  # its footer

    def begin(self, name: str) -> int:
        """Return the offset of a device's section (of `ram`: of the one with the pages)."""
        return next(each.offset for each in self.stream.sections if each.name == name and each.kind != "start")

    def loaded(self, offset: int) -> Passage:
        """Load the first `offset` bytes into a new machine, and compare the stream with what that saves again."""
        passage = Passage(self.trial.start, compare_streams=True, deadline=Deadline.after(SOON_SECONDS))
        destination = passage.twin()
        stream = Written(destination, "cut")
        (destination.directory / stream.name).write_bytes(cut(self.data, offset) if offset < len(self.data) else self.data)
        try:
            passage.load(destination, stream.path)
            passage.compare_stream(stream, destination)
        finally:
            destination.close()
        return passage


@pytest.fixture(scope="module")
def saved(bench: Bench) -> Iterator[Saved]:
    """One stream for all cuts."""
    params = {"level": "el1", "vcpus": 1, "cpu": CPU, "lifecycle": "file"}
    trial = SabotagedTrial(bench, params, way=LIFECYCLES["file"])
    try:
        source = start(trial, "timers").machine
        assert isinstance(source, Machine)
        source.stop()
        stream = Passage(trial.start).save(source).here()
        yield Saved(trial, stream.read_bytes(), decode(stream))
    finally:
        trial.close()


def refused(saved: Saved, offset: int) -> None:
    with pytest.raises(QemuFailure, match=r"^destination(-as-\d+)?: \w[^:]*: the destination did not take the stream: .*\w"):
        saved.loaded(offset)


@pytest.mark.parametrize("offset", [0, 1, 4, 8, 61], ids=lambda offset: f"cut: header at {offset}")
def test_in_the_header(saved: Saved, offset: int) -> None:
    refused(saved, offset)


@pytest.mark.parametrize("past", [-1, 0, 1], ids="{:+d}".format)
@pytest.mark.parametrize("section", SECTIONS, ids="cut: beginning of {}".format)
def test_at_the_beginning_of_a_section(saved: Saved, section: str, past: int) -> None:
    refused(saved, saved.begin(section) + past)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda name: f"cut: middle of {name}")
def test_in_a_section(saved: Saved, section: str) -> None:
    begin = saved.begin(section)
    following = min((other.offset for other in saved.stream.sections if other.offset > begin), default=saved.end_mark)
    refused(saved, (begin + following) // 2)


@pytest.mark.parametrize("past", [-1, 0], ids=lambda past: f"cut: end mark {past:+d}")
def test_before_the_end_mark(saved: Saved, past: int) -> None:
    refused(saved, saved.end_mark + past)


@pytest.mark.parametrize("past", [1, 2, 6, 100, -1], ids=lambda past: f"cut: description {past:+d}")
def test_in_the_description_is_caught_by_the_comparison_of_streams(saved: Saved, past: int) -> None:
    """QEMU takes it, for the guest's whole state comes before: that the file is not whole, the decoder has to say."""
    offset = saved.end_mark + past if past > 0 else len(saved.data) + past
    with pytest.raises(StreamError, match="cut off|description"):
        saved.loaded(offset)


@pytest.mark.parametrize("lost", [0], ids=["cut: nothing"])
def test_passes_uncut(saved: Saved, lost: int) -> None:
    (pair,) = saved.loaded(len(saved.data) - lost).pairs
    assert len(pair.after.registers) > 1000
