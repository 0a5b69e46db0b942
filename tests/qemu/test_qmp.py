"""QMP over a socket pair: the greeting, descriptors, and what is left after the end."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, QemuFailure
from harness.events import Timeline
from harness.qemu.hub import Hub
from harness.qemu.qmp import Event, Qmp

GREETING = b'{"QMP": {"version": {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": ""}, "capabilities": []}}\r\n'


@pytest.fixture
def pair(hub: Hub, tmp_path: Path) -> Iterator[tuple[Qmp, socket.socket]]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    qmp = Qmp(hub, ours, "source", tmp_path / "qmp.log", Timeline())
    yield qmp, theirs
    theirs.close()
    qmp.close()


def test_no_greeting_but_the_end(pair: tuple[Qmp, socket.socket]) -> None:
    qmp, theirs = pair
    theirs.close()
    with pytest.raises(QemuFailure, match="source: no QMP greeting"):
        qmp.connect(Deadline.after(10))


@pytest.mark.parametrize("words", [b"SSH-2.0-OpenSSH\r\n", b'{"hello": 1}\r\n'])
def test_a_greeting_that_is_none(pair: tuple[Qmp, socket.socket], words: bytes) -> None:
    qmp, theirs = pair
    theirs.sendall(words)
    with pytest.raises(QemuFailure, match="source: no QMP greeting"):
        qmp.connect(Deadline.after(10))


def test_silence(pair: tuple[Qmp, socket.socket]) -> None:
    qmp, _ = pair
    with pytest.raises(DeadlineExpired, match="the QMP greeting of source"):
        qmp.connect(Deadline.after(0.05))


def test_a_descriptor_arrives(pair: tuple[Qmp, socket.socket]) -> None:
    qmp, theirs = pair
    got: list[str] = []

    def serve() -> None:
        theirs.sendall(GREETING)
        for _ in range(2):
            data, descriptors, _, _ = socket.recv_fds(theirs, 4096, 4)
            if not data.strip():
                data, more, _, _ = socket.recv_fds(theirs, 4096, 4)
                descriptors += more
            command = json.loads(data)
            got.append(command["execute"])
            for descriptor in descriptors:
                os.write(descriptor, b"hello")
                os.close(descriptor)
            theirs.sendall(json.dumps({"return": {}, "id": command.get("id")}).encode() + b"\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    qmp.connect(Deadline.after(10))
    reading, writing = os.pipe()
    qmp.send_fd("stream", writing, deadline=Deadline.after(10))
    thread.join(10)
    assert got == ["qmp_capabilities", "getfd"]
    assert os.read(reading, 10) == b"hello"
    for descriptor in (reading, writing):
        os.close(descriptor)


def test_an_event_reads_well() -> None:
    assert str(Event("STOP", {})) == "STOP"
    assert str(Event("MIGRATION", {"status": "active"})) == 'MIGRATION {"status": "active"}'
