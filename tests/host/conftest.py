"""Every host: this computer, an SSH server that gives each command a session (OpenSSH), and one that does not (dropbear)."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.host.local import LocalHost
from harness.host.protocol import Host
from harness.host.ssh import SshHost
from tests.host.ssh_server import SshServer


@pytest.fixture
def server() -> Iterator[SshServer]:
    """An SSH server whose temporary directory is empty at first, and has to be at last."""
    # pytest's own directories are too deep for Unix sockets, whose paths end at 108 bytes (unix(7)).
    with tempfile.TemporaryDirectory(prefix="far-") as far:
        server = SshServer(env={"TMPDIR": far})
        yield server
        server.cut()
        server.reap()
        assert not list(Path(far).iterdir())


@pytest.fixture
def far(server: SshServer) -> Iterator[SshHost]:
    """A host behind that server."""
    with SshHost("far", server.dial, server.login()) as host:
        yield host


@pytest.fixture(params=["local", "openssh", "dropbear"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    """Every kind of host in turn."""
    if request.param == "local":
        with LocalHost() as here:
            yield here
        return
    server: SshServer = request.getfixturevalue("server")
    server.sessions = request.param == "openssh"
    with SshHost("far", server.dial, server.login()) as there:
        yield there
