from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostFailure
from harness.lab.control import Control


@pytest.fixture
def pair() -> Iterator[tuple[Control, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Control(ours, "lab"), theirs


def test_what_comes_before_ready_is_passed_over(pair: tuple[Control, socket.socket]) -> None:
    control, lab = pair
    lab.sendall(b"noise\nREA")
    lab.sendall(b"DY\n")
    control.ready(Deadline.after(5))


def test_an_answer_ends_with_done(pair: tuple[Control, socket.socket]) -> None:
    control, lab = pair
    lab.sendall(b"one\r\ntwo\nDONE 0\nthree\n")
    assert control.run("words", Deadline.after(5)) == ["one", "two"]
    assert lab.recv(100) == b"words\n"


def test_a_line_that_fails_is_an_error_with_its_status(pair: tuple[Control, socket.socket]) -> None:
    control, lab = pair
    lab.sendall(b"sh: no\nDONE 127\n")
    with pytest.raises(HostFailure, match="DONE 127.*sh: no"):
        control.run("nonsense", Deadline.after(5))


def test_no_answer_ends_at_the_deadline(pair: tuple[Control, socket.socket]) -> None:
    control, _ = pair
    with pytest.raises(DeadlineExpired, match="waited 0.1 s for DONE"):
        control.run("sleep", Deadline.after(0.1))


def test_a_port_that_closes_ends_the_wait(pair: tuple[Control, socket.socket]) -> None:
    control, lab = pair
    lab.close()
    with pytest.raises(HostFailure, match="has closed"):
        control.ready(Deadline.after(5))


def test_two_lines_are_not_one(pair: tuple[Control, socket.socket]) -> None:
    with pytest.raises(ValueError, match="one line"):
        pair[0].send("a\nb")
