"""One SSH connection: the handshake with checked keys, and the two things that paramiko's own `Transport` lacks.

It takes any stream socket: TCP to a real host, a Unix socket to a lab's serial port.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from paramiko import Channel, Message, PKey, SSHException, Transport
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_OPEN, cMSG_CHANNEL_REQUEST

from harness.deadline import Deadline
from harness.errors import HostFailure, UsageError

# What paramiko raises, now one, now another, where the connection is gone or the other side breaks the protocol.
BROKEN = (SSHException, OSError, EOFError)
# Above every exit status; below are a program's own.
SIGNALLED = 1000

_STREAMLOCAL = "direct-streamlocal@openssh.com"


@dataclass(frozen=True)
class Algorithms:
    """Names of algorithms in order of preference; an empty tuple leaves the choice to paramiko."""

    kex: tuple[str, ...] = ()
    ciphers: tuple[str, ...] = ()
    macs: tuple[str, ...] = ()


LIGHT = Algorithms(("curve25519-sha256@libssh.org",), ("aes128-ctr",), ("hmac-sha2-256",))
"""What costs an emulated CPU least of what paramiko and dropbear both have."""


@dataclass(frozen=True)
class Login:
    """Who logs in with which private keys, and which keys the host may show. No other key is ever accepted."""

    user: str
    keys: tuple[PKey, ...] = field(repr=False)
    host_keys: tuple[PKey, ...] = field(repr=False)
    algorithms: Algorithms = Algorithms()


class Link(Transport):
    """A paramiko transport that opens Unix sockets of the other side, and hears by which signal a program ended."""

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream)
        self._opening = threading.Lock()
        self._path: str | None = None
        self._channel_handler_table = {
            # No public hook tells of requests on a channel.
            **Transport._channel_handler_table,  # type: ignore[attr-defined]  # noqa: SLF001
            MSG_CHANNEL_REQUEST: _request,
        }

    def open_streamlocal(self, path: str, seconds: float) -> Channel:
        """Open a channel to a Unix socket of the other side (OpenSSH, PROTOCOL, 2.4). Raises as `open_channel`."""
        with self._opening:
            self._path = path
            try:
                return self.open_channel(_STREAMLOCAL, timeout=seconds)
            finally:
                self._path = None

    def execute(self, command: str, seconds: float) -> Channel:
        """Open a session and start a command on it, without waiting for the answer: what goes wrong ends the channel.

        (`Channel.exec_command` waits for it, with no time-out.) Raises as `open_channel`.
        """
        channel = self.open_channel("session", timeout=seconds)
        message = Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(False)
        message.add_string(command)
        self._send_user_message(message)
        return channel

    def _send_user_message(self, data: Message) -> None:
        """Add to a request for a Unix socket what its kind wants: the path, an empty string, a zero."""
        if self._path is not None and data.asbytes().startswith(_opening(_STREAMLOCAL)):
            data.add_string(self._path)
            data.add_string("")
            data.add_int(0)
        super()._send_user_message(data)  # type: ignore[misc]


def _opening(kind: str) -> bytes:
    message = Message()
    message.add_byte(cMSG_CHANNEL_OPEN)
    message.add_string(kind)
    return message.asbytes()


def _request(channel: Channel, message: Message) -> None:
    """Handle a request on a channel, `exit-signal` too (RFC 4254, 6.10), of which paramiko knows nothing."""
    content = Message(message.get_remainder())
    if content.get_text() != "exit-signal":
        # The handler that this one stands in for.
        channel._handle_request(Message(message.get_remainder()))  # type: ignore[attr-defined]  # noqa: SLF001
        return
    content.get_boolean()
    name = content.get_text().partition("@")[0]
    known = signal.Signals.__members__.get(f"SIG{name}")
    if known is not None:
        channel.exit_status = SIGNALLED + known
    channel.status_event.set()


def status_of(channel: Channel) -> int | None:
    """Return the exit status of a channel's program (negative: the signal's number), or None where none was told."""
    status = channel.exit_status
    if status < 0:
        return None
    return SIGNALLED - status if status > SIGNALLED else status


def connect(stream: Callable[[], socket.socket], login: Login, name: str, deadline: Deadline) -> Link:
    """Shake hands over a stream, check the host's key, log in. The stream is the link's from then on.

    Raises UsageError when the host shows another key or none of ours opens it, HostFailure when it does not answer.
    """
    link = Link(stream())
    try:
        _prepare(link, login, deadline)
        link.start_client(timeout=deadline.remaining)
        shown = link.get_remote_server_key()
        if not any(shown == key for key in login.host_keys):
            raise UsageError(
                f"the host shows a key that is not the known one ({shown.get_name()} {shown.fingerprint})",
                where=name,
                remedy="find out why before you change known_hosts",
            )
        _authenticate(link, login, name)
    except UsageError:
        link.close()
        raise
    except BROKEN as error:
        link.close()
        raise HostFailure(f"no SSH connection: {str(error) or 'the connection was closed'}", where=name) from error
    return link


def _prepare(link: Link, login: Login, deadline: Deadline) -> None:
    """Set algorithms and time-outs, and keep paramiko's own log of broken connections off standard error."""
    link.set_log_channel("harness.host.link")
    logging.getLogger("harness.host.link").setLevel(logging.CRITICAL)
    link.banner_timeout = link.handshake_timeout = link.auth_timeout = deadline.remaining
    options, wanted = link.get_security_options(), login.algorithms
    options.kex = wanted.kex or options.kex
    options.ciphers = wanted.ciphers or options.ciphers
    options.digests = wanted.macs or options.digests
    # Ask for the kinds of key that are known, as ssh(1) does; a host with several would show another one.
    names = {key.get_name() for key in login.host_keys}
    kinds = [kind for kind in options.key_types if ("ssh-rsa" if kind.startswith("rsa-") else kind) in names]
    options.key_types = tuple(kinds) or options.key_types


def _authenticate(link: Link, login: Login, name: str) -> None:
    refusal = "there is no key to offer"
    for key in login.keys:
        try:
            link.auth_publickey(login.user, key)
        except SSHException as error:
            if not link.is_active():
                raise
            refusal = str(error)
        if link.is_authenticated():
            return
    raise UsageError(f"{login.user} cannot log in: {refusal}", where=name, remedy="name the right user and key in hosts.toml")
