"""What goes wrong with an attempt, each a function of it; `KINDS` names them all."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from harness.faults.attempt import Attempt
from harness.qemu.machine import Machine


def kill_destination(attempt: Attempt) -> None:
    """Kill the destination's QEMU."""
    _kill(attempt.destination, attempt)


def kill_source(attempt: Attempt) -> None:
    """Kill the source's QEMU; what stands still on its way is lost with it."""
    _kill(attempt.source, attempt)
    attempt.line.lose()


def cut(attempt: Attempt) -> None:
    """Break the connection."""
    attempt.line.cut()


def cut_and_recover(attempt: Attempt) -> None:
    """Break the connection of a postcopy migration, and give both sides another one."""
    attempt.line.cut()
    attempt.settle()
    attempt.recover()
    attempt.go_on()


def stall(attempt: Attempt) -> None:
    """Let the connection go on after it has stood still."""
    attempt.go_on()


def cancel(attempt: Attempt) -> None:
    """Cancel, and let what is on its way pass."""
    attempt.source.execute("migrate_cancel")
    attempt.go_on()


def cancel_stalled(attempt: Attempt) -> None:
    """Cancel over a connection on which nothing moves any more."""
    attempt.source.execute("migrate_cancel")


def _kill(side: Machine, attempt: Attempt) -> None:
    side.kill()
    side.wait_exit(attempt.deadline)


KINDS: Mapping[str, Callable[[Attempt], None]] = {
    "kill-destination": kill_destination,
    "kill-source": kill_source,
    "cut": cut,
    "cut-and-recover": cut_and_recover,
    "stall": stall,
    "cancel": cancel,
    "cancel-stalled": cancel_stalled,
}
