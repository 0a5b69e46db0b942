"""A cable between two QEMU processes, each in a network of its own: TCP over veth, which ends with them.

What a cut line cannot show: a cable that is pulled ends no connection, and neither side hears that the other has gone.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace

from harness.deadline import Deadline
from harness.errors import HarnessBug, Unsupported
from harness.host.local import LocalProcess
from harness.lab.ground import Ground
from harness.qemu.machine import Machine

_SECONDS = 10.0
# TEST-NET-1 (RFC 5737); nobody else is in these networks.
NEAR, FAR = "192.0.2.1", "192.0.2.2"


def apart(grounds: Sequence[Ground]) -> list[Ground]:
    """Return grounds each of whose QEMUs has a network of its own. Raises Unsupported without root, or the programs for it."""
    if os.geteuid():
        raise Unsupported("networks of their own need root")
    if missing := [program for program in ("unshare", "nsenter", "ip") if shutil.which(program) is None]:
        raise Unsupported(f"{missing[0]} is not installed")
    inner = ("unshare", "--net")
    return [replace(ground, qemu=replace(ground.qemu, argv=(*inner, *ground.qemu.argv))) for ground in grounds]


@dataclass(frozen=True)
class Cable:
    """A cable between two machines of grounds that are apart; the one has the address NEAR, the other FAR."""

    near: Machine
    far: Machine

    @classmethod
    def laid(cls, near: Machine, far: Machine) -> Cable:
        """Lay it and plug it in. Raises HarnessBug."""
        cable = cls(near, far)
        ends = ("name", "near", "netns", _pid(near), "type", "veth", "peer", "name", "far", "netns", _pid(far))
        _run(near, "ip", "link", "add", *ends)
        for machine, end, address in ((near, "near", NEAR), (far, "far", FAR)):
            _within(machine, "address", "add", f"{address}/30", "dev", end)
            _within(machine, "link", "set", end, "up")
        return cable

    def pull(self) -> None:
        """Pull it: what is sent from now on is lost, and sent again later."""
        _within(self.far, "link", "set", "far", "down")

    def plug_in(self) -> None:
        """Plug it in again."""
        _within(self.far, "link", "set", "far", "up")


def _pid(machine: Machine) -> str:
    assert isinstance(machine.process, LocalProcess)
    return str(machine.process.pid)


def _within(machine: Machine, *words: str) -> None:
    _run(machine, "nsenter", "--target", _pid(machine), "--net", "ip", *words)


def _run(machine: Machine, *argv: str) -> None:
    done = machine.host.run(argv, Deadline.after(_SECONDS))
    if done.status:
        raise HarnessBug(f"{' '.join(argv)}: {done.stderr.decode().strip()}")
