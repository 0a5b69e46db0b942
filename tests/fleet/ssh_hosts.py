"""Hosts for tests: OpenSSH servers, each in a network, process and mount namespace of its own on this computer.

They share its files, so a checkout here is one there. A host dies like a computer that loses its power: its link goes down, and
so nobody hears of it any more, and then all its processes are killed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.deadline import Deadline
from tests.debian import unpacked

# $1: sshd's configuration, $2: sshd. In namespaces of its own, so what it mounts nobody else sees.
_SERVE = r"""
set -e
mount --make-rprivate /
grep -v '^sshd:' /etc/passwd >"$3/passwd"
echo 'sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin' >>"$3/passwd"
mount --bind "$3/passwd" /etc/passwd
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/sshd
exec "$2" -D -e -f "$1"
"""

_CONFIG = """
ListenAddress {address}
HostKey {here}/host_key
AuthorizedKeysFile {here}/user_key.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
SetEnv {env}
"""


@dataclass
class SshComputer:
    """One of them."""

    name: str
    namespace: str
    address: str
    here: Path
    process: subprocess.Popen[bytes]

    @property
    def known_hosts(self) -> str:
        """Return its line of a known_hosts file."""
        kind, key, *_ = (self.here / "host_key.pub").read_text().split()
        return f"{self.address} {kind} {key}\n"

    def entry(self, directory: Path) -> str:
        """Its table for hosts.toml; `directory` is where its harness is."""
        return (
            f'[host.{self.name}]\naddress = "{self.address}"\nuser = "root"\nkey = "{self.here}/user_key"\n'
            f'known_hosts = "{self.here}/known_hosts"\nharness = "{directory}"\n'
        )

    def hang_up(self) -> None:
        """End its connections; the computer lives, and answers anew."""
        parents = _parents()
        below = {self.process.pid}
        while more := {pid for pid, (parent, _) in parents.items() if parent in below} - below:
            below |= more
        # The one that listens has another for each connection; a newer OpenSSH has two.
        servers = {pid for pid in below if parents[pid][1].startswith("sshd")}
        serving = [pid for pid in servers if parents[pid][0] in servers]
        assert serving
        for pid in serving:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def die(self) -> None:
        """Lose the power: not a byte more comes from it."""
        _ip("-n", self.namespace, "link", "set", "eth0", "down")
        self.process.kill()
        self.process.wait(20)


def needed() -> str:
    """Return why there can be no such hosts here, nothing where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "unshare", "ssh-keygen") if shutil.which(program) is None]
    if missing:
        return f"{missing[0]} is missing"
    probe = f"hp{secrets.token_hex(4)}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.strip()}"
    _ip("netns", "delete", probe)
    return ""


@contextmanager
def ssh_computers(*names: str, env: Mapping[str, str]) -> Iterator[dict[str, SshComputer]]:
    """Start them; at the end nothing of them is left. Skips where that cannot be."""
    if why := needed():
        pytest.skip(why)
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="fleet-") as folder:
        # A prefix for a site's own use (RFC 4193), chosen at random as that says, so that two tests do not meet.
        prefix = f"fd{secrets.token_hex(1)}:{secrets.token_hex(2)}:{secrets.token_hex(2)}"
        yield {
            name: stack.enter_context(_computer(name, f"{prefix}:{number}", Path(folder) / name, env))
            for number, name in enumerate(names, 1)
        }


@contextmanager
def _computer(name: str, prefix: str, here: Path, env: Mapping[str, str]) -> Iterator[SshComputer]:
    namespace = f"h{secrets.token_hex(4)}"
    here.mkdir(mode=0o700)
    # A computer that is killed leaves its temporary files, which go with it here.
    (here / "tmp").mkdir(mode=0o700)
    for key in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", here / key], check=True)
    with ExitStack() as stack:
        _ip("netns", "add", namespace)
        stack.callback(_ip, "netns", "delete", namespace)
        _ip("link", "add", namespace, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        stack.callback(subprocess.run, ["ip", "link", "delete", namespace], check=False, capture_output=True)
        _ip("address", "add", f"{prefix}::1/64", "dev", namespace, "nodad")
        _ip("link", "set", namespace, "up")
        _ip("-n", namespace, "address", "add", f"{prefix}::2/64", "dev", "eth0", "nodad")
        for device in ("lo", "eth0"):
            _ip("-n", namespace, "link", "set", device, "up")
        address = f"{prefix}::2"
        words = " ".join(f'"{key}={value}"' for key, value in {**env, "HOST": name, "TMPDIR": f"{here}/tmp"}.items())
        config = here / "sshd_config"
        config.write_text(_CONFIG.format(address=address, here=here, env=words) + _split_binaries())
        host = SshComputer(name, namespace, address, here, _start(namespace, here, config))
        stack.callback(_end, host.process)
        (here / "known_hosts").write_text(host.known_hosts)
        _wait_for(host)
        yield host


def _start(namespace: str, here: Path, config: Path) -> subprocess.Popen[bytes]:
    tree = unpacked("openssh-server", "libwrap0") if shutil.which("sshd") is None else Path("/")
    env = {**os.environ, "LD_LIBRARY_PATH": str(next(tree.glob("usr/lib/*-linux-gnu"), tree))}
    inner = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL"]
    serve = ["sh", "-c", _SERVE, "serve", str(config), str(tree / "usr" / "sbin" / "sshd"), str(here)]
    with (here / "sshd.log").open("wb") as log:
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", namespace, *inner, *serve],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _split_binaries() -> str:
    """Name the programs that an sshd of 10.0 or later starts, where it does not run from its own place (sshd_config(5))."""
    if shutil.which("sshd"):
        return ""
    tree = unpacked("openssh-server", "libwrap0") / "usr" / "lib" / "openssh"
    parts = {"SshdSessionPath": tree / "sshd-session", "SshdAuthPath": tree / "sshd-auth"}
    return "".join(f"{name} {path}\n" for name, path in parts.items() if path.exists())


def _wait_for(host: SshComputer) -> None:
    """Wait until it answers: its banner is what tells."""
    deadline = Deadline.after(20)
    code = "import socket,sys; s=socket.create_connection((sys.argv[1], 22), 1); sys.exit(not s.recv(4))"
    while subprocess.run([sys.executable, "-S", "-c", code, host.address], capture_output=True, check=False).returncode:
        said = (host.here / "sshd.log").read_text()
        assert host.process.poll() is None and not deadline.expired, f"sshd did not start: {said}"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(20)


def _parents() -> dict[int, tuple[int, str]]:
    """Return the parent and the name of each process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # pid (comm) state ppid ... (proc_pid_stat(5))
            head, _, tail = stat.read_text().rpartition(")")
            found[int(stat.parent.name)] = (int(tail.split()[1]), head.partition("(")[2])
    return found


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
