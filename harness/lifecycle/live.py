"""Migrate a running guest to another process, of this host or of another one.

The destination starts stopped, so that both sides can be looked at when the guest has left one and not yet gone on in the
other. `return-path` is on wherever the transport can carry it: without it a refusal by the destination loses both sides.
"""

from __future__ import annotations

import socket

from harness.host.relay import Relay
from harness.lifecycle.passage import Passage
from harness.qemu import migration
from harness.qemu.machine import Machine

HOPS = 3
_SOCKET = "migration"
# Bytes a second. Little enough that precopy cannot finish before the switch to postcopy: with no page left to send, QEMU
# 11.1.3 loses a race with itself and fails now and then with "Channel error: Operation not permitted" (10.0.2 does not).
_TRICKLE = 100_000


def live_unix(passage: Passage, machine: Machine) -> Machine:
    """Migrate over a Unix socket in the private directory."""
    return _hop(passage, machine, "return-path")


def multifd(passage: Passage, machine: Machine) -> Machine:
    """Migrate over two parallel channels (capability multifd)."""
    return _hop(passage, machine, "return-path", "multifd")


def ping_pong(passage: Passage, machine: Machine) -> Machine:
    """Migrate HOPS times, the guest running on each machine before it leaves it."""
    for _ in range(HOPS):
        machine = _hop(passage, machine, "return-path")
    return machine


def live_tcp(passage: Passage, machine: Machine) -> Machine:
    """Migrate over TCP on the loopback; the kernel chooses the port."""
    destination = passage.twin()
    _enable(machine, destination, "return-path")
    migration.receive(destination, "tcp:127.0.0.1:0")
    (address,) = destination.execute("query-migrate")["socket-address"]
    return _send(passage, machine, destination, f"tcp:127.0.0.1:{address['port']}")


def live_fd(passage: Passage, machine: Machine) -> Machine:
    """Migrate over a socket pair, each end handed to its QEMU as a descriptor."""
    destination = passage.twin()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        machine.send_fd("stream", ours.fileno())
        destination.send_fd("stream", theirs.fileno())
    _enable(machine, destination, "return-path")
    migration.receive(destination, "fd:stream")
    return _send(passage, machine, destination, "fd:stream")


def postcopy(passage: Passage, machine: Machine) -> Machine:
    """Switch over at once and let the memory follow (capability postcopy-ram); the guest runs before it is complete."""
    destination = passage.twin()
    _enable(machine, destination, "return-path", "postcopy-ram")
    # Slow enough that memory is still missing when the guest goes on, so that its faults fetch it.
    migration.set_parameters(machine, max_bandwidth=_TRICKLE, max_postcopy_bandwidth=20 * _TRICKLE)
    migration.receive(destination, f"unix:{destination.place / _SOCKET}")
    migration.send(machine, _way(machine, destination))
    machine.wait_event("MIGRATION", passage.deadline, status="active")
    machine.execute("migrate-start-postcopy")
    migration.switched_over(machine, destination, passage.deadline)
    passage.compare(passage.look(machine), passage.look(destination))
    destination.cont()
    migration.set_parameters(machine, max_postcopy_bandwidth=0)
    migration.transferred(machine, destination, passage.deadline)
    machine.dismiss()
    return destination


def _hop(passage: Passage, machine: Machine, *capabilities: str) -> Machine:
    destination = passage.twin()
    _enable(machine, destination, *capabilities)
    migration.receive(destination, f"unix:{destination.place / _SOCKET}")
    return _send(passage, machine, destination, _way(machine, destination))


def _way(source: Machine, destination: Machine) -> str:
    """Return how the source reaches the destination's socket: by its path, or through a relay where that is on another host."""
    path = destination.place / _SOCKET
    if source.host is not destination.host:
        relay = Relay(source.host, source.place / "relay", destination.host, path, source.directory / "relay.log")
        source.on_close(relay.close)
        path = relay.path
    return f"unix:{path}"


def _enable(source: Machine, destination: Machine, *capabilities: str) -> None:
    for side in (destination, source):  # a new machine says what is lacking here; the source may have migrated before
        migration.enable(side, *capabilities)


def _send(passage: Passage, source: Machine, destination: Machine, uri: str) -> Machine:
    migration.send(source, uri)
    migration.transferred(source, destination, passage.deadline)
    passage.compare(passage.look(source), passage.look(destination))
    source.dismiss()
    destination.cont()
    return destination
