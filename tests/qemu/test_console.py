"""The console over a socket pair: every line once and whole, however its bytes come."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestFailure, HostFailure, QemuFailure
from harness.events import Timeline
from harness.qemu import console as console_module
from harness.qemu.console import Console
from harness.qemu.hub import Hub

# Examples share the fixture's directory and I/O thread; each has a console of its own.
SHARING = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n\r", exclude_categories=["Cs"]), max_size=60)
# Hypothesis also tries the strings that our own source has.
LINES = st.lists(TEXTS.filter(lambda text: not console_module.PANICS.search(f"{text}\n".encode())))


def soon() -> Deadline:
    return Deadline.after(10)


class Line:
    """A console and the guest's end of its socket."""

    def __init__(self, hub: Hub, log: Path) -> None:
        ours, self.guest = socket.socketpair()
        self.hub = hub
        self.log = log
        self.timeline = Timeline()
        self.console = Console(hub, ours, "source", log, self.timeline)

    def write(self, *pieces: bytes) -> None:
        """Write the pieces, each having arrived before the next."""
        for piece in pieces:
            self.guest.sendall(piece)
            self.hub.call(lambda: None)

    def lines(self, count: int) -> list[str]:
        return [self.console.line(soon(), "a line") for _ in range(count)]

    def close(self) -> None:
        self.guest.close()
        self.console.close()


Make = Callable[[], Line]


@pytest.fixture
def make(hub: Hub, tmp_path: Path) -> Iterator[Make]:
    made: list[Line] = []

    def one() -> Line:
        made.append(Line(hub, tmp_path / f"console{len(made)}.log"))
        return made[-1]

    yield one
    for line in made:
        line.close()


@SHARING
@given(texts=LINES, cuts=st.lists(st.integers(0, 3000), max_size=8), ends=st.sampled_from([b"\n", b"\r\n"]))
def test_lines_cut_anywhere_come_whole(make: Make, texts: Sequence[str], cuts: Sequence[int], ends: bytes) -> None:
    line = make()
    data = b"".join(text.encode() + ends for text in texts)
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    line.write(*(data[start:end] for start, end in pairwise(places)))
    assert line.lines(len(texts)) == list(texts)
    assert line.console.leftover() == ([], b"")
    line.close()
    assert line.log.read_bytes() == data


@SHARING
@given(texts=LINES, taken=st.integers(0, 60), rest=st.binary(max_size=30).filter(lambda data: b"\n" not in data))
def test_what_is_left_over_is_what_was_not_read(make: Make, texts: Sequence[str], taken: int, rest: bytes) -> None:
    line = make()
    line.write("".join(f"{text}\n" for text in texts).encode() + rest)
    line.hub.until(lambda: True if line.log.stat().st_size else None, soon(), "it") if texts or rest else None
    read = line.lines(min(taken, len(texts)))
    left, beginning = line.console.leftover()
    assert [*read, *left] == list(texts)
    assert beginning == rest


def test_more_than_the_window_at_once_and_no_line_skipped(make: Make) -> None:
    line = make()
    texts = [f"{number} {'.' * (number % 90)}" for number in range(3000)]
    data = "".join(f"{text}\n" for text in texts).encode()
    assert len(data) > 10 * console_module._WINDOW
    line.guest.settimeout(10)
    line.write(data)
    assert line.lines(3000) == texts


@pytest.mark.parametrize("length", [console_module._WINDOW - 1, console_module._WINDOW, 5 * console_module._WINDOW + 7])
def test_a_line_longer_than_the_window_is_whole(make: Make, length: int) -> None:
    line = make()
    text = "".join(chr(ord("a") + index % 26) for index in range(length))
    line.write(b"before\n" + text.encode() + b"\nafter\n")
    assert line.lines(3) == ["before", text, "after"]


def test_bytes_that_come_while_others_are_taken_are_not_lost(make: Make) -> None:
    """The I/O thread adds to the buffer at any moment, so also between looking at it and taking from it."""

    class Busy(bytearray):
        late: ClassVar = [b"two\n", b"three\n"]

        def __getitem__(self, key: object) -> bytearray:  # type: ignore[override]
            found = bytearray(bytearray.__getitem__(self, key))  # type: ignore[call-overload]
            self.extend(self.late.pop(0) if self.late else b"")
            return found

        def __bytes__(self) -> bytes:
            found = b"".join(b"%c" % byte for byte in self)
            self.extend(b"four\n")
            return found

    line = make()
    line.console._unread = Busy(b"one\n")
    assert line.lines(3) == ["one", "two", "three"]
    line.console._unread += b"3.5\n"
    assert line.console.leftover() == (["3.5"], b"")
    assert line.lines(1) == ["four"]


@pytest.mark.parametrize(
    "text",
    [
        "@1 panic cpu=0 esr=0x0 elr=0x0 far=0x0 text=SError",
        "[ 1.0] Kernel panic - not syncing: Attempted to kill init!",
        "[ 1.0] Unable to handle kernel NULL pointer dereference at 0000000000000010",
        "[ 1.0] Internal error: Oops: 0000000096000004 [#1] SMP",
        "[ 1.0] watchdog: BUG: soft lockup - CPU#1 stuck for 26s!",
        "[ 1.0] rcu: INFO: rcu_preempt self-detected stall on CPU",
        "[ 1.0] rcu: INFO: rcu_sched detected stalls on CPUs/tasks:",
    ],
)
def test_panics(make: Make, text: str) -> None:
    line = make()
    line.write(b"all is well\n", text.encode()[:20], text.encode()[20:] + b"\nmore\n")
    assert line.lines(1) == ["all is well"]
    with pytest.raises(GuestFailure, match="the guest panicked: ") as caught:
        line.lines(1)
    assert text in caught.value.what


@pytest.mark.parametrize(
    "text", ["@1 beat cpu=0 n=1", "[ 1.0] rcu: Hierarchical RCU implementation.", "panic=1 on the command line"]
)
def test_what_is_no_panic(make: Make, text: str) -> None:
    line = make()
    line.write(f"{text}\n".encode())
    assert line.lines(1) == [text]


def test_the_deadline_quotes_the_last_bytes(make: Make) -> None:
    line = make()
    line.write(b"whole\nhal")
    line.lines(1)
    with pytest.raises(DeadlineExpired, match=r"source console: waited 0.1 s for the other half; last bytes b'hal'"):
        line.console.line(Deadline.after(0.1), "the other half")
    line.write(b"f\n")
    assert line.lines(1) == ["half"]


def test_qemu_gone_with_data_unread(make: Make) -> None:
    line = make()
    calls: list[str] = []
    line.console.closed_by_qemu = lambda: calls.append("closed")
    line.write(b"one\ntwo\nhal")
    line.guest.close()
    assert line.lines(2) == ["one", "two"]
    assert calls == []
    with pytest.raises(QemuFailure, match="source: the console closed"):
        line.lines(1)
    assert calls == ["closed"]
    assert line.log.read_bytes() == b"one\ntwo\nhal"


def test_what_closed_by_qemu_raises_goes_before(make: Make) -> None:
    line = make()

    def gone() -> None:
        raise QemuFailure("QEMU was killed by SIGSEGV")

    line.console.closed_by_qemu = gone
    line.guest.close()
    with pytest.raises(QemuFailure, match="SIGSEGV"):
        line.lines(1)


def test_a_half_line_goes_on_in_another_machine(make: Make) -> None:
    left, entered = make(), make()
    left.write(b"one\n@1 irq cp")
    assert left.lines(1) == ["one"]
    with pytest.raises(DeadlineExpired):
        left.console.line(Deadline.after(0.02), "more")  # the half line is pexpect's by now
    lines, rest = left.console.leftover()
    assert (lines, rest) == ([], b"@1 irq cp")
    entered.write(b"u=0\n@1 end\n")
    entered.console.continues(rest)
    assert entered.lines(2) == ["@1 irq cpu=0", "@1 end"]
    left.write(b"new\n")
    assert left.lines(1) == ["new"]


def test_a_byte_that_is_no_text_is_shown(make: Make) -> None:
    line = make()
    line.write(b"\xff\x00z\n")
    assert line.lines(1) == ["\\xff\x00z"]


def test_say_reaches_the_guest_and_the_timeline(make: Make) -> None:
    line = make()
    line.console.say(b"g")
    assert line.guest.recv(10) == b"g"
    assert " send     'g'" in str(line.timeline)


def test_the_last_words_of_a_guest_that_takes_nothing_any_more_come_first(make: Make) -> None:
    line = make()
    line.write(b"@1 result checks=1 failed=1\n@1 end\n")
    line.guest.close()
    line.console.say(b"?")
    assert line.lines(1) == ["@1 result checks=1 failed=1"]
    line.console.say(b"?")  # the rest is pexpect's by now
    assert line.lines(1) == ["@1 end"]
    with pytest.raises(QemuFailure):
        line.lines(1)
    with pytest.raises(QemuFailure, match="the console takes nothing any more: Broken pipe"):
        line.console.say(b"?")


def test_close_logs_what_nobody_read(make: Make) -> None:
    line = make()
    line.guest.sendall(b"x" * 100_000)
    line.console.close()
    line.console.close()
    assert line.log.stat().st_size == 100_000


def test_a_log_that_cannot_be_written_loses_no_line_and_is_told(hub: Hub) -> None:
    """The device /dev/full takes nothing (full(4))."""
    line = Line(hub, Path("/dev/full"))
    line.write(b"one\ntwo\nhal")
    assert line.lines(2) == ["one", "two"]
    with pytest.raises(HostFailure, match="/dev/full: cannot be written: No space left on device; make room there"):
        line.console.line(soon(), "the other half")
    line.write(b"f\n")
    assert line.lines(1) == ["half"]
    with pytest.raises(HostFailure, match="No space left"):
        line.console.check_log()
    line.close()


def test_a_log_that_takes_a_part_at_a_time_is_whole(make: Make) -> None:
    class Narrow:
        def __init__(self, file: FileIO) -> None:
            self.file = file
            self.close = file.close
            self.closed = False

        def write(self, data: bytes) -> int | None:
            return self.file.write(data[:3])

    line = make()
    line.console._log_file = cast("FileIO", Narrow(line.console._log_file))
    line.write(b"a whole line\n")
    assert line.lines(1) == ["a whole line"]
    line.guest.sendall(b"and its end\n")
    line.close()
    assert line.log.read_bytes() == b"a whole line\nand its end\n"
