"""A line fails where it is told to, and otherwise carries every byte."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.line import ANNOUNCED, LAST_PAGES, MAIN, PAGES, Line, Mark

SECONDS = 5.0
HEAD = b"\x04\x00\x00\x00\x07\x03cpu\x00\x00\x00\x00\x00\x00\x00\x0c"


class Ends:
    """Both sides of a line: `near` connects to it, `far` is what it connects to."""

    def __init__(self, folder: Path) -> None:
        self.heard = threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(folder / "far"))
        self.listener.listen()
        self.listener.settimeout(SECONDS)
        self.line = Line(folder / "near", folder / "far", self.heard.set)
        self.open: list[socket.socket] = [self.listener]

    def connect(self) -> tuple[socket.socket, socket.socket]:
        near = socket.socket(socket.AF_UNIX)
        near.connect(str(self.line.path))
        far = self.listener.accept()[0]
        for end in (near, far):
            end.settimeout(SECONDS)
            self.open.append(end)
        return near, far

    def reach(self) -> None:
        """Wait until the mark has been reached."""
        while not self.line.reached:
            assert self.heard.wait(SECONDS)
            self.heard.clear()


@pytest.fixture
def ends(tmp_path: Path) -> Iterator[Ends]:
    ends = Ends(tmp_path)
    with ends.line:
        yield ends
    for end in ends.open:
        end.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "harness-line"]


def all_of(end: socket.socket) -> bytes:
    data = b""
    while more := end.recv(1 << 16):
        data += more
    return data


def exactly(end: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := end.recv(size - len(data))):
        data += more
    return data


def nothing_more(end: socket.socket) -> bool:
    end.settimeout(0.05)
    try:
        return not end.recv(1)
    except TimeoutError:
        return True
    finally:
        end.settimeout(SECONDS)


def test_carries_both_ways_to_the_end(ends: Ends) -> None:
    near, far = ends.connect()
    data = bytes(range(256)) * 4096

    def write() -> None:
        near.sendall(data)
        near.shutdown(socket.SHUT_WR)

    writer = threading.Thread(target=write)
    writer.start()
    assert all_of(far) == data
    writer.join()
    far.sendall(b"back")
    far.close()
    assert all_of(near) == b"back"
    assert ends.line.passed == len(data)


@pytest.mark.parametrize("split", range(1, len(HEAD) + 3, 4))
def test_holds_at_a_head_in_two_pieces(ends: Ends, split: int) -> None:
    ends.line.hold_at(Mark.section("cpu", 2))
    near, far = ends.connect()
    data = b"before" + HEAD + b"0123456789"
    near.sendall(data[: 6 + split])
    first = exactly(far, min(6 + split, 6 + len(HEAD) + 2))
    near.sendall(data[6 + split :])
    ends.reach()
    assert first + exactly(far, 6 + len(HEAD) + 2 - len(first)) == b"before" + HEAD + b"01"
    assert nothing_more(far), "the rest stands still"
    ends.line.release()
    near.close()
    assert all_of(far) == b"23456789"


def test_holds_one_connection_and_not_the_other(ends: Ends) -> None:
    ends.line.hold_at(MAIN)
    main, main_far = ends.connect()
    other, other_far = ends.connect()
    main.sendall(b"QEVM\0\0\0\x03rest")
    ends.reach()
    other.sendall(b"goes on")
    assert exactly(other_far, 7) == b"goes on"
    assert exactly(main_far, 8) == b"QEVM\0\0\0\x03"
    assert nothing_more(main_far)
    ends.line.lose()
    assert all_of(main_far) == b"", "what stood still is lost"
    other.close()
    assert all_of(other_far) == b""


@pytest.mark.parametrize(
    ("mark", "before"),
    [
        pytest.param(PAGES, b"\x7e\0\0\0\x02\x02\0\0\0\x02", id="pages"),
        pytest.param(LAST_PAGES, b"\x7e\0\0\0\x02\x03\0\0\0\x02", id="last pages"),
        pytest.param(LAST_PAGES, b"\x7e\0\0\0\x02\x08\0\x0b\0\0\x03\0\0\0\x02", id="last pages, with a command"),
        pytest.param(ANNOUNCED, b"\x01\0\0\0\x02\x03ram\0\0\0\0\0\0\0\x04list of blocks\x7e\0\0\0\x02", id="announced"),
    ],
)
def test_holds_at_what_the_stream_is_made_of(ends: Ends, mark: Mark, before: bytes) -> None:
    ends.line.hold_at(mark)
    near, far = ends.connect()
    # The same bytes with another section's id are not it.
    other = before[:-1] + b"\x03"
    near.sendall(other + before + b"after")
    ends.reach()
    got = exactly(far, len(other + before))
    assert got == other + before
    assert nothing_more(far)


def test_flips_a_byte_and_goes_on(ends: Ends) -> None:
    ends.line.flip_at(Mark.section("cpu", 1), 0x80)
    near, far = ends.connect()
    near.sendall(HEAD)
    near.sendall(b"abc")
    near.shutdown(socket.SHUT_WR)
    assert all_of(far) == HEAD + bytes([ord("a"), ord("b") ^ 0x80, ord("c")])
    assert ends.line.reached


def test_a_cut_is_heard_on_both_sides(ends: Ends) -> None:
    near, far = ends.connect()
    near.sendall(b"x")
    assert exactly(far, 1) == b"x"
    ends.line.cut()
    assert all_of(far) == b"" and all_of(near) == b""
    near, far = ends.connect()
    near.sendall(b"again")
    assert exactly(far, 5) == b"again", "who connects later is connected"


def test_a_source_hears_that_the_destination_has_gone_although_the_stream_is_held(ends: Ends) -> None:
    ends.line.hold_at(MAIN)
    near, far = ends.connect()
    near.sendall(b"QEVM\0\0\0\x03rest")
    ends.reach()
    far.close()
    assert near.recv(1) == b""
    with pytest.raises(ConnectionError):
        near.sendall(bytes(1 << 24))


def test_nobody_there(ends: Ends) -> None:
    ends.listener.close()
    near = socket.socket(socket.AF_UNIX)
    ends.open.append(near)
    near.settimeout(SECONDS)
    near.connect(str(ends.line.path))
    assert near.recv(1) == b""
