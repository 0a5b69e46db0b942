"""The inventory of real hosts: what is meant, and that a mistake is one clear line."""

from __future__ import annotations

from getpass import getuser
from pathlib import Path, PurePosixPath

import pytest

from harness.errors import UsageError
from harness.host import inventory

WHOLE = """
[host.thunder]
address = "thunder.example.org"
port = 2222
user = "ci"
key = "keys/ci"
qemu = "/opt/qemu"
known_hosts = "known"

[host."board 2"]
address = "fd00::2"
"""


def test_a_whole_inventory(tmp_path: Path) -> None:
    (tmp_path / "hosts.toml").write_text(WHOLE)
    hosts = inventory.load(tmp_path / "hosts.toml")
    assert hosts["thunder"] == inventory.RemoteHost(
        "thunder", "thunder.example.org", 2222, "ci", tmp_path / "keys/ci", PurePosixPath("/opt/qemu"), tmp_path / "known"
    )
    least = hosts["board 2"]
    assert (least.port, least.user, least.key, least.qemu) == (22, getuser(), None, None)
    assert least.known_hosts == Path("~/.ssh/known_hosts").expanduser()
    assert inventory.find("thunder", tmp_path / "hosts.toml") == hosts["thunder"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[hots.a]", "unknown key 'hots'; did you mean 'host'?"),
        ("[host.a]\nadress = 'x'", "host.a: unknown key 'adress'; did you mean 'address'?"),
        ("[host.a]\naddress = 'x'\nbanana = 1", "host.a: unknown key 'banana'; choose from address, "),
        ("[host.a]\nuser = 'x'", "host.a: 'address' or 'socket' must be given"),
        ("[host.a]\naddress = 7", "host.a: 'address' must be words, not 7"),
        ("[host.a]\naddress = ''", "host.a: 'address' must be words, not ''"),
        ("[host.a]\naddress = 'x'\nport = '22'", "host.a: 'port' must be a number from 1 to 65535, not '22'"),
        ("[host.a]\naddress = 'x'\nport = true", "host.a: 'port' must be a number"),
        ("[host.a]\naddress = 'x'\nport = 70000", "host.a: 'port' must be a number"),
        ("[host.a]\naddress = 'x'\nqemu = 'qemu'", "host.a: 'qemu' must be a whole path on the host, not 'qemu'"),
        ("host = 1", "'host' must be tables; write [host.NAME]"),
        ("[host]\na = 1", "'host' must be tables"),
        ("[host.a", "is not TOML: "),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        inventory.load(path)
    assert str(caught.value).startswith(str(path)) and line in str(caught.value) and "\n" not in str(caught.value)


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "hosts.toml"
    path.write_text(WHOLE)
    with pytest.raises(UsageError, match="unknown host 'thunderr'; did you mean 'thunder'"):
        inventory.find("thunderr", path)
    path.write_text("")
    with pytest.raises(UsageError, match=r"unknown host 'x'; add a table \[host.NAME\]"):
        inventory.find("x", path)


def test_an_inventory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"cannot be read: No such file or directory; write one, or name it by \$HARNESS_HOSTS"
    ):
        inventory.load(tmp_path / "nothing.toml")


def test_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HARNESS_HOSTS", raising=False)
    assert inventory.location() == Path("hosts.toml")
    monkeypatch.setenv("HARNESS_HOSTS", "/elsewhere/h.toml")
    assert inventory.location() == Path("/elsewhere/h.toml")
