"""QMP, synchronous: qemu.qmp in the I/O thread behind a facade of three verbs.

The client, its message framing and its errors are qemu.qmp's (its `legacy` module is GPL-2.0-only and not used). This module
adds a log with times, a deadline on every command, and events kept from the first moment, so that none is missed.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from qemu.qmp import EventListener, ExecInterruptedError, ExecuteError, QMPClient, QMPError, Runstate
from qemu.qmp.message import Message

from harness.deadline import Deadline
from harness.errors import QemuFailure
from harness.events import Timeline
from harness.qemu.hub import Hub

# The answers to these are long and say nothing about a failure.
_QUIET = {"query-cpu-definitions", "query-qmp-schema", "query-command-line-options"}


class QmpRefused(QemuFailure):
    """QEMU answered a command with an error; `description` is its own text."""

    def __init__(self, command: str, description: str, *, where: str) -> None:
        super().__init__(f"{command}: {description}", where=where)
        self.command = command
        self.description = description


@dataclass(frozen=True)
class Event:
    """A QMP event (docs/interop/qmp-spec in QEMU's tree): name, data, and when it came about (s, by its host's clock)."""

    name: str
    data: Mapping[str, Any]
    at: float = field(default=0.0, compare=False)

    def __str__(self) -> str:
        """Return it as one line of the timeline."""
        return f"{self.name} {json.dumps(self.data)}" if self.data else self.name


class _LoggingClient(QMPClient):
    """A QMPClient that writes each message to a log as it passes."""

    log: IO[str] | None = None
    timeline: Timeline
    side: str

    def _cb_outbound(self, msg: Message) -> Message:
        self._note("->", msg)
        return super()._cb_outbound(msg)

    def _cb_inbound(self, msg: Message) -> Message:
        self._note("<-", msg)
        return super()._cb_inbound(msg)

    def _note(self, arrow: str, msg: Message) -> None:
        if self.log is not None and not self.log.closed:
            text = bytes(msg).decode("utf-8", "replace").strip()
            self.log.write(f"{arrow} {text}\n")
            self.timeline.add(self.side, "qmp", f"{arrow} {text[:400]}")


class Qmp:
    """The QMP connection of one machine."""

    def __init__(self, hub: Hub, ours: socket.socket, side: str, log: Path, timeline: Timeline) -> None:
        self._hub = hub
        self._side = side
        self._client = _LoggingClient(side)
        self._client.log = self._log = log.open("w", encoding="utf-8", buffering=1)
        self._client.timeline = timeline
        self._client.side = side
        self._listener = EventListener(event_filter=self._remember)
        self._client.register_listener(self._listener)
        self._socket = ours
        self.events: list[Event] = []
        self.hearers: list[Callable[[Event], object]] = []

    def _remember(self, message: Message) -> bool:
        """Keep the event; the return value tells the listener not to queue it as well."""
        at: Any = message["timestamp"]
        data: Any = message.get("data", {})
        event = Event(str(message["event"]), data, at["seconds"] + at["microseconds"] / 1e6)
        self.events.append(event)
        for hearer in self.hearers:
            hearer(event)
        self._hub.heard()
        return False

    def connect(self, deadline: Deadline) -> None:
        """Negotiate; raises QemuFailure when QEMU closes the connection instead."""
        try:
            self._hub.run(self._client.connect(self._socket), deadline, f"the QMP greeting of {self._side}")
        except (QMPError, AssertionError) as error:  # qemu.qmp asserts it where QEMU ends right after the negotiation
            raise QemuFailure(f"no QMP greeting: {error}", where=self._side) from error

    def execute(self, command: str, arguments: Mapping[str, object] | None = None, *, deadline: Deadline) -> Any:
        """Run a QMP command and return its answer.

        Raises QmpRefused with QEMU's own words, QemuFailure when the connection breaks, DeadlineExpired.
        """
        try:
            coroutine = self._client.execute(command, dict(arguments) if arguments else None)
            return self._hub.run(coroutine, deadline, f"{self._side} to answer {command}")
        except ExecuteError as error:
            raise QmpRefused(command, str(error), where=self._side) from error
        except (ExecInterruptedError, QMPError) as error:
            raise QemuFailure(f"QEMU closed the connection during {command}", where=self._side) from error

    def send_fd(self, name: str, fd: int, *, deadline: Deadline) -> None:
        """Hand a descriptor to QEMU under a name (QMP getfd), by SCM_RIGHTS."""
        self._hub.call(self._client.send_fd_scm, fd)
        self.execute("getfd", {"fdname": name}, deadline=deadline)

    def close(self) -> None:
        """Drop the connection."""
        if self._client.runstate != Runstate.IDLE:
            # Where the connection had already broken, whoever used it has been told by execute().
            with contextlib.suppress(QMPError, OSError, EOFError):
                self._hub.run(self._client.disconnect(), Deadline.after(5), f"{self._side}'s QMP connection to close")
        self._socket.close()
        self._log.close()
