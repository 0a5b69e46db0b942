"""A real host over TCP: only keys from known_hosts are accepted, and what is wrong is said in one line."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko import PKey

from harness.errors import HostFailure, UsageError
from harness.host import remote
from harness.host.inventory import RemoteHost
from harness.host.remote import remote_host
from tests.host.ssh_server import USER, SshServer, new_key
from tests.host.test_every_host import soon


def key_file(path: Path, passphrase: bytes | None = None) -> None:
    how = form.BestAvailableEncryption(passphrase) if passphrase else form.NoEncryption()
    path.write_bytes(Ed25519PrivateKey.generate().private_bytes(form.Encoding.PEM, form.PrivateFormat.OpenSSH, how))


def known(path: Path, names: str, *keys: PKey) -> None:
    path.write_text("".join(f"{names} {key.get_name()} {key.get_base64()}\n" for key in keys))


@pytest.fixture
def entry(server: SshServer, tmp_path: Path) -> Iterator[RemoteHost]:
    """An entry for the server, which listens on a port of this computer for one connection."""
    key_file(tmp_path / "key")
    server.user_key = remote.private_key(tmp_path / "key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        known(tmp_path / "known", f"[127.0.0.1]:{port}", server.host_key)

        def accept() -> None:
            try:
                stream, _ = listener.accept()
            except OSError:
                return
            server.serve(stream)

        accepting = threading.Thread(target=accept)
        accepting.start()
        yield RemoteHost("thunder", "127.0.0.1", port, USER, tmp_path / "key", None, tmp_path / "known")
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()


def test_a_known_host(entry: RemoteHost) -> None:
    with remote_host(entry) as host:
        assert host.name == "thunder"
        assert host.run(["echo", "hello"], soon()).stdout == b"hello\n"


def test_a_host_that_is_not_known_is_not_spoken_to(entry: RemoteHost, server: SshServer, tmp_path: Path) -> None:
    known(tmp_path / "known", "127.0.0.1", server.host_key)
    with pytest.raises(
        UsageError,
        match=rf"known: the host key of \[127.0.0.1\]:{entry.port} is not known; run 'ssh -p {entry.port} someone@127.0.0.1'",
    ):
        remote_host(entry)
    with pytest.raises(UsageError, match="nothing: cannot be read: No such file"):
        remote_host(replace(entry, known_hosts=tmp_path / "nothing"))
    assert server.transport is None


def test_a_host_with_another_key(entry: RemoteHost, tmp_path: Path) -> None:
    known(tmp_path / "known", f"[127.0.0.1]:{entry.port}", new_key())
    with pytest.raises(UsageError, match="thunder: the host shows a key that is not the known one"), remote_host(entry):
        pass


def test_keys_that_cannot_be_used(entry: RemoteHost, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    with pytest.raises(UsageError, match="bad: cannot be read: No such file"):
        remote_host(replace(entry, key=bad))
    bad.write_text("nonsense")
    with pytest.raises(UsageError, match="bad: is not a private key"):
        remote_host(replace(entry, key=bad))
    key_file(bad, b"secret")
    with pytest.raises(UsageError, match="bad: the key has a passphrase; load it into ssh-agent"):
        remote_host(replace(entry, key=bad))


def test_the_usual_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    assert remote.usual_keys() == ()
    (tmp_path / ".ssh").mkdir()
    key_file(tmp_path / ".ssh" / "id_ed25519")
    key_file(tmp_path / ".ssh" / "id_rsa", b"secret")
    assert remote.usual_keys() == (remote.private_key(tmp_path / ".ssh" / "id_ed25519"),)


def test_nobody_listens(entry: RemoteHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    known(entry.known_hosts, f"[127.0.0.1]:{port}", new_key())
    with (
        pytest.raises(HostFailure, match=f"thunder: cannot be reached at 127.0.0.1 port {port}: Connection refused"),
        remote_host(replace(entry, port=port)),
    ):
        pass
