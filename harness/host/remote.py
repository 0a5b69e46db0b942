"""From an entry of the inventory to a host: the TCP stream, the keys that the host may show, the keys that we offer.

Keys of hosts come from a known_hosts file and nowhere else. A host that is not in it is refused before anything is sent to it.
"""

from __future__ import annotations

import socket
from pathlib import Path

from paramiko import Agent, HostKeys, PasswordRequiredException, PKey, SSHException

from harness.errors import HostFailure, UsageError
from harness.host.inventory import RemoteHost
from harness.host.link import Login
from harness.host.ssh import CONNECT_SECONDS, SshHost

# Names that ssh(1) tries too.
_USUAL_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
# A host that acknowledges nothing for so long is lost (tcp(7), TCP_USER_TIMEOUT); keep-alives find out on an idle connection.
_DEAD_SECONDS = 20
_IDLE_SECONDS = 5


def remote_host(entry: RemoteHost, connect_seconds: float | None = None) -> SshHost:
    """Return the host of an entry, not connected yet; it has so long to answer.

    Raises UsageError when its key is not known or ours cannot be read.
    """
    keys = (private_key(entry.key),) if entry.key else usual_keys()
    login = Login(entry.user, keys, known_keys(entry))
    seconds = connect_seconds or CONNECT_SECONDS
    return SshHost(entry.name, lambda: _dial(entry, seconds), login, connect_seconds=seconds)


def known_keys(entry: RemoteHost) -> tuple[PKey, ...]:
    """Return the keys that a host may show. Raises UsageError where there is none."""
    # sshd(8), SSH_KNOWN_HOSTS FILE FORMAT: another port than 22 is part of the name.
    listed = entry.address if entry.port == 22 else f"[{entry.address}]:{entry.port}"
    try:
        found = HostKeys(str(entry.known_hosts)).lookup(listed)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(entry.known_hosts)) from error
    if not found:
        port = "" if entry.port == 22 else f" -p {entry.port}"
        remedy = f"run 'ssh{port} {entry.user}@{entry.address}' once and compare the fingerprint it shows"
        raise UsageError(f"the host key of {listed} is not known", where=str(entry.known_hosts), remedy=remedy)
    return tuple(found.values())


def private_key(path: Path) -> PKey:
    """Return a private key from its file. Raises UsageError where it cannot be read or is locked."""
    key = _unlocked(path)
    if key is None:
        raise UsageError("the key has a passphrase", where=str(path), remedy="load it into ssh-agent and leave out 'key'")
    return key


def usual_keys() -> tuple[PKey, ...]:
    """Return what the agent has, then what lies unlocked in ~/.ssh. Raises UsageError for a file there that is no key."""
    paths = [Path("~/.ssh").expanduser() / name for name in _USUAL_KEYS]
    lying = [_unlocked(path) for path in paths if path.exists()]
    return (*Agent().get_keys(), *(key for key in lying if key is not None))


def _unlocked(path: Path) -> PKey | None:
    """Return a private key, or None where it has a passphrase (which cryptography tells by a TypeError)."""
    try:
        return PKey.from_path(path)
    except (PasswordRequiredException, TypeError):
        return None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except (SSHException, ValueError) as error:
        raise UsageError(f"is not a private key: {error}", where=str(path)) from None


def _dial(entry: RemoteHost, seconds: float) -> socket.socket:
    """Connect to the Unix socket, or by TCP without delay for small packets (QMP is one small message at a time)."""
    if entry.socket is not None:
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            stream.connect(str(entry.socket))
        except OSError as error:
            stream.close()
            raise HostFailure(f"cannot be reached at {entry.socket}: {error.strerror or error}", where=entry.name) from error
        return stream
    try:
        stream = socket.create_connection((entry.address, entry.port), timeout=seconds)
    except OSError as error:
        what = f"cannot be reached at {entry.address} port {entry.port}: {error.strerror or error}"
        raise HostFailure(what, where=entry.name) from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _IDLE_SECONDS)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _DEAD_SECONDS * 1000)
    return stream
