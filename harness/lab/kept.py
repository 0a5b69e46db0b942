"""Labs that stay when the command that made them has ended: `harness lab --keep`, `--list`, `--stop`.

Each is held by a process of its own, in a session of its own. It listens on a Unix socket in its private directory and leads
whoever connects through its own connection to the lab's SSH server, so many can log in at once and none gets in the others'
way. When it gets SIGTERM, or its lab ends from inside, nothing is left. A link of the lab's name in the cache leads to the
directory; the guard of that directory (harness/host/local.py) removes it whatever ended the process, so a link that leads
nowhere is a lab that is gone.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.assets import cache
from harness.deadline import Deadline
from harness.errors import HarnessBug, HostFailure, UsageError

# What is in the directory of each.
RECORD, SOCKET, KEY, KNOWN, HOSTS = "lab.json", "ssh", "key", "known_hosts", "hosts.toml"
_STOP_SECONDS = 30.0
_CHUNK = 1 << 16


@dataclass(frozen=True)
class Kept:
    """A lab that is held, as its holder describes it."""

    name: str
    pid: int
    since: str
    kernel: str
    cpu: str
    kvm: str
    qemu: str
    # Private to the holder's user; the files below are in it.
    directory: str

    @property
    def ssh(self) -> str:
        """The command that logs in, for a shell."""
        here = Path(self.directory)
        proxy = shlex.join([sys.executable, "-m", "harness.cli", "lab", "--connect", self.name])
        options = (f"ProxyCommand={proxy}", f"UserKnownHostsFile={here / KNOWN}", "IdentitiesOnly=yes")
        words = [word for option in options for word in ("-o", option)]
        return shlex.join(["ssh", *words, "-i", str(here / KEY), f"root@{self.name}"])

    @property
    def inventory(self) -> str:
        """Its entry for hosts.toml."""
        here = Path(self.directory)
        entries = {"socket": here / SOCKET, "user": "root", "key": here / KEY, "known_hosts": here / KNOWN}
        return f"[host.{self.name}]\n" + "".join(f"{key} = {json.dumps(str(value))}\n" for key, value in entries.items())

    @property
    def how_to(self) -> str:
        """All that a user has to know."""
        return (
            f"{self.name} runs: Linux {self.kernel} on {self.cpu}, KVM {self.kvm}, QEMU inside {self.qemu}\n\n"
            f"log in:\n{self.ssh}\n\n"
            f"run scenarios on it:\npytest scenarios --platform ssh:{self.name} --hosts {Path(self.directory) / HOSTS}\n\n"
            f"its entry for a hosts.toml of your own:\n{self.inventory}\n"
            f"end it:\nharness lab --stop {self.name}\n(or `poweroff -f` inside)\n"
        )


def root() -> Path:
    """Return where the links are."""
    return cache.root() / "kept"


def all_kept() -> list[Kept]:
    """Return the labs that are held now; links of others are removed."""
    found = []
    for link in sorted(root().glob("*")):
        try:
            found.append(Kept(**json.loads((link / RECORD).read_text())))
        except FileNotFoundError:
            if not link.exists():  # else it is about to be there
                link.unlink(missing_ok=True)
    return found


def find(name: str) -> Kept:
    """Return the lab of that name. Raises UsageError naming those there are."""
    there = {kept.name: kept for kept in all_kept()}
    if name not in there:
        remedy = f"there are: {', '.join(there)}" if there else "none is kept"
        raise UsageError(f"no lab {name} is kept", where="harness lab", remedy=remedy)
    return there[name]


def stop(name: str) -> None:
    """End a lab and wait until nothing is left of it. Raises UsageError, HostFailure where it does not end."""
    kept = find(name)
    with suppress(ProcessLookupError):  # just now, by itself
        os.kill(kept.pid, signal.SIGTERM)
    deadline = Deadline.after(_STOP_SECONDS)
    while Path(kept.directory).exists():
        if deadline.expired:
            raise HostFailure(f"its process {kept.pid} did not end in {_STOP_SECONDS:.0f} s", where=name)
        time.sleep(0.02)
    all_kept()


def connect(name: str) -> None:
    """Carry bytes between our standard streams and a lab's SSH server: for ssh(1)'s ProxyCommand. Raises UsageError."""
    kept = find(name)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
        stream.connect(str(Path(kept.directory) / SOCKET))
        sources = {0: lambda: os.read(0, _CHUNK), stream.fileno(): lambda: stream.recv(_CHUNK)}
        while stream.fileno() in sources:
            for fd in select.select(list(sources), [], [])[0]:
                data = sources[fd]()
                if fd == 0:
                    stream.sendall(data)
                elif data:
                    _write(data)
                if not data:
                    del sources[fd]
                    if fd == 0:
                        stream.shutdown(socket.SHUT_WR)


def _write(data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(1, rest) :]


# -- keeping one


def keep(choice: dict[str, Any], *, warm: bool) -> Kept:
    """Have a process of its own start a lab and hold it. `choice`: the fields of a `Choice`.

    What it has to say meanwhile goes to our standard error. Raises UsageError with its error, in one line.
    """
    holder = subprocess.Popen(
        [sys.executable, "-m", "harness.lab.holder"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    try:
        # The pipe stays open: its end tells the holder that nobody waits any more.
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdin.write(json.dumps({"choice": choice, "warm": warm}) + "\n")
        holder.stdin.flush()
        answer = json.loads(holder.stdout.readline() or "{}")
    except BaseException:
        holder.terminate()
        holder.wait()
        raise
    if "error" in answer:
        holder.wait()
        raise UsageError(answer["error"])
    if "kept" not in answer:
        raise HarnessBug(f"the process that should hold the lab ended with status {holder.wait()} and said nothing")
    return Kept(**answer["kept"])
