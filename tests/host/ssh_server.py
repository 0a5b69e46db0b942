"""An SSH server in this process that really runs the commands, and can be cut off, frozen or made to show another key."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO

from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko import Channel, Ed25519Key, Message, PKey, ServerInterface, Transport
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_REQUEST,
)

from harness.host.link import BROKEN, Algorithms, Login

USER = "someone"
STREAMLOCAL = "direct-streamlocal@openssh.com"


def new_key() -> PKey:
    key = Ed25519PrivateKey.generate()
    text = key.private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, form.NoEncryption())
    return Ed25519Key(file_obj=io.StringIO(text.decode()))


class SshServer(ServerInterface):
    """Serves one connection at a time; `dial` gives the client's end of the next."""

    def __init__(self, *, sessions: bool = False, env: Mapping[str, str] | None = None) -> None:
        self.host_key = new_key()
        self.user_key = new_key()
        # OpenSSH gives each command a session of its own, dropbear does not.
        self.sessions = sessions
        self.env = {**os.environ, **(env or {})}
        self.shell = ["/bin/sh"]
        self.commands: list[str] = []
        self.paths: dict[int, str] = {}
        self.transport: ServerTransport | None = None
        self.running: list[subprocess.Popen[bytes]] = []

    def login(self, algorithms: Algorithms | None = None) -> Login:
        return Login(USER, (self.user_key,), (self.host_key,), algorithms or Algorithms())

    def dial(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        self.serve(theirs)
        return ours

    def serve(self, stream: socket.socket) -> None:
        self.transport = ServerTransport(stream, self)
        self.transport.set_log_channel("tests.ssh_server")
        logging.getLogger("tests.ssh_server").setLevel(logging.CRITICAL)
        self.transport.add_server_key(self.host_key)
        self.transport.start_server(event=threading.Event(), server=self)

    def cut(self) -> None:
        """Cut the connection, as a broken line or a dead host does."""
        if self.transport is not None:
            self.transport.close()

    def reap(self) -> None:
        """Wait for what was started: nothing may be left."""
        for process in self.running:
            process.wait(20)

    # -- what paramiko asks

    def get_allowed_auths(self, username: str) -> str:  # noqa: ARG002 # paramiko's signature
        return "publickey"

    def check_auth_publickey(self, username: str, key: PKey) -> int:
        return AUTH_SUCCESSFUL if username == USER and key == self.user_key else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if kind == "session":
            return OPEN_SUCCEEDED
        if kind == STREAMLOCAL and os.path.exists(self.paths[chanid]):  # noqa: PTH110
            return OPEN_SUCCEEDED
        return OPEN_FAILED_CONNECT_FAILED

    def check_channel_exec_request(self, channel: Channel, command: bytes) -> bool:
        self.commands.append(command.decode())
        process = subprocess.Popen(
            [*self.shell, "-c", command.decode()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            start_new_session=self.sessions,
        )
        self.running.append(process)
        threading.Thread(target=self._serve_command, args=(channel, process), daemon=True).start()
        return True

    def _serve_command(self, channel: Channel, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        _thread(_feed, channel, process.stdin)
        outputs = [
            _thread(_drain, process.stdout, channel.sendall),
            _thread(_drain, process.stderr, channel.sendall_stderr),
        ]
        status = process.wait()
        for output in outputs:
            output.join()
        with suppress(*BROKEN):
            if status < 0:
                self._exit_signal(channel, -status)
            else:
                channel.send_exit_status(status)
            channel.close()

    def _exit_signal(self, channel: Channel, number: int) -> None:
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exit-signal")
        message.add_boolean(False)
        message.add_string(signal.Signals(number).name.removeprefix("SIG"))
        message.add_boolean(False)
        message.add_string("")
        message.add_string("")
        assert self.transport is not None
        self.transport._send_user_message(message)  # type: ignore[attr-defined]


class ServerTransport(Transport):
    """Learns the path of a Unix socket, which paramiko does not read, and connects to it."""

    def __init__(self, stream: socket.socket, server: SshServer) -> None:
        super().__init__(stream)
        self.server = server

    def _parse_channel_open(self, message: Message) -> None:
        content = Message(message.get_remainder())
        kind = content.get_text()
        for _ in range(3):
            content.get_int()
        path = content.get_text() if kind == STREAMLOCAL else ""
        chanid = self._channel_counter  # type: ignore[attr-defined]
        self.server.paths[chanid] = path
        super()._parse_channel_open(message)  # type: ignore[misc]
        channel = self._channels.get(chanid)  # type: ignore[attr-defined]
        if path and channel is not None:
            _bridge(channel, path)


def _bridge(channel: Channel, path: str) -> None:
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(path)
    _thread(_copy, lambda: channel.recv(1 << 16), stream.sendall, lambda: stream.shutdown(socket.SHUT_WR))
    _thread(_copy, lambda: stream.recv(1 << 16), channel.sendall, channel.shutdown_write)


def _copy(receive: Callable[[], bytes], send: Callable[[bytes], object], end: Callable[[], object]) -> None:
    with suppress(*BROKEN):
        while data := receive():
            send(data)
        end()


def _feed(channel: Channel, stdin: IO[bytes]) -> None:
    with suppress(BrokenPipeError), stdin:
        while data := channel.recv(1 << 16):
            stdin.write(data)
            stdin.flush()


def _drain(pipe: IO[bytes], send: Callable[[bytes], object]) -> None:
    """Read to the end, whether or not anyone is there to take it."""
    with pipe:
        while data := os.read(pipe.fileno(), 1 << 16):
            with suppress(*BROKEN):
                send(data)


def _thread(function: Callable[..., object], *args: object) -> threading.Thread:
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread
