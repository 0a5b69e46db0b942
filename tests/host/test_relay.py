"""A relay that does not come about: whose fault that is, and what is left of it."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import cast

import pytest

from harness.errors import HostFailure
from harness.host import relay
from harness.host.local import LocalHost
from harness.host.protocol import Host, Process
from harness.host.relay import Relay


class Instead:
    """A host on which another program runs in place of the one that was meant."""

    name = "near"

    def __init__(self, here: LocalHost, program: str) -> None:
        self.here, self.program = here, program
        self.started: list[Process] = []

    def spawn(self, _argv: object, *, env: dict[str, str], stderr: Path) -> Process:
        self.started.append(self.here.spawn(["sh", "-c", self.program], env=env, stderr=stderr))
        return self.started[-1]


@pytest.mark.parametrize(
    ("program", "why"),
    [("sleep 1000", "it said nothing"), ("echo no Python >&2", "no Python"), ("echo Welcome; sleep 1000", "it said nothing")],
    ids=["silent", "ends", "says-something-else"],
)
def test_a_relay_that_cannot_be_started_is_the_hosts_fault_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, why: str
) -> None:
    monkeypatch.setattr(relay, "_SECONDS", 1.0)
    with LocalHost() as here:
        near = Instead(here, program)
        with pytest.raises(HostFailure, match=f"near: no relay could be started: {why}"):
            Relay(cast("Host", near), PurePath("x"), here, PurePath("y"), tmp_path / "log")
        assert near.started[0].poll() is not None


def test_a_relay_to_nowhere_leaves_nothing(tmp_path: Path) -> None:
    with LocalHost() as here:
        near = Instead(here, "printf !; sleep 1000")
        with pytest.raises(HostFailure, match="cannot connect"):
            Relay(cast("Host", near), PurePath("x"), here, tmp_path / "nowhere", tmp_path / "log")
        assert near.started[0].poll() is not None
