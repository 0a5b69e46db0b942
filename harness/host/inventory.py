"""The inventory: which real arm64 computers there are, in `hosts.toml`.

    [host.thunder]
    address = "thunder.example.org"
    user = "ci"
    qemu = "/opt/qemu/bin/qemu-system-aarch64"

Only `address` must be given, or in its place `socket`, a Unix socket of this computer behind which an SSH server answers. A
platform `ssh:thunder` runs there.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from getpass import getuser
from pathlib import Path, PurePosixPath

from harness.errors import UsageError
from harness.tables import meant, only

VARIABLE = "HARNESS_HOSTS"
DEFAULT = Path("hosts.toml")
KEYS = ("address", "socket", "port", "user", "key", "qemu", "known_hosts", "harness")


@dataclass(frozen=True)
class RemoteHost:
    """One entry. Without `key`, the agent's keys and those in ~/.ssh are offered; without `qemu`, PATH on the host decides.

    One that is behind a Unix socket is known by its own name: `address` is that, in known_hosts too.
    """

    name: str
    address: str
    port: int
    user: str
    key: Path | None
    qemu: PurePosixPath | None
    known_hosts: Path
    socket: Path | None = None
    # Where a checkout of this harness is that has been set up there; a fleet runs parts of the scenarios by it.
    harness: PurePosixPath | None = None


def location() -> Path:
    """Return where the inventory is: what $HARNESS_HOSTS names, or hosts.toml here."""
    return Path(os.environ.get(VARIABLE) or DEFAULT)


def find(name: str, path: Path) -> RemoteHost:
    """Return the host of that name. Raises UsageError where there is none, or the file cannot be read."""
    hosts = load(path)
    if name not in hosts:
        remedy = meant(name, hosts) if hosts else "add a table [host.NAME]"
        raise UsageError(f"unknown host {name!r}", where=str(path), remedy=remedy)
    return hosts[name]


def load(path: Path) -> dict[str, RemoteHost]:
    """Return all hosts of an inventory by name. Raises UsageError naming the first thing that is wrong."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        remedy = f"write one, or name it by ${VARIABLE}"
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"is not TOML: {error}", where=str(path)) from None
    only(content, ("host",), str(path))
    tables = content.get("host", {})
    if not isinstance(tables, dict) or not all(isinstance(table, dict) for table in tables.values()):
        raise UsageError("'host' must be tables", where=str(path), remedy="write [host.NAME]")
    return {name: _host(name, table, path) for name, table in tables.items()}


def _host(name: str, table: Mapping[str, object], path: Path) -> RemoteHost:
    where = f"{path}: host.{name}"
    only(table, KEYS, where)
    if ("address" in table) == ("socket" in table):
        raise UsageError("'address' or 'socket' must be given, and not both", where=where)
    port = table.get("port", 22)
    if not isinstance(port, int) or isinstance(port, bool) or not 0 < port < 65536:
        raise UsageError(f"'port' must be a number from 1 to 65535, not {port!r}", where=where)
    words = {key: _words(table, key, where) for key in KEYS if key in table and key != "port"}
    there = {name: words[name] for name in ("qemu", "harness") if name in words}
    for what, far in there.items():
        if not far.startswith("/"):
            raise UsageError(f"{what!r} must be a whole path on the host, not {far!r}", where=where)
    key, behind = words.get("key"), words.get("socket")
    return RemoteHost(
        name=name,
        address=words.get("address", name),
        port=port,
        user=words.get("user") or getuser(),
        key=None if key is None else _beside(path, key),
        qemu=PurePosixPath(there["qemu"]) if "qemu" in there else None,
        known_hosts=_beside(path, words.get("known_hosts", "~/.ssh/known_hosts")),
        socket=None if behind is None else _beside(path, behind),
        harness=PurePosixPath(there["harness"]) if "harness" in there else None,
    )


def _beside(inventory: Path, path: str) -> Path:
    """Return a path that is meant from where the inventory is, or from the user's home."""
    return inventory.parent / Path(path).expanduser()


def _words(table: Mapping[str, object], key: str, where: str) -> str:
    value = table[key]
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{key!r} must be words, not {value!r}", where=where)
    return value
