"""The lab's control port: lines of shell for its init, one `DONE <status>` for each.

The port is a Unix socket in a private directory of the harness, and nobody else can reach it. The connection ends with the
machine, so a wait here ends at once with a panic (the kernel is told to reboot, QEMU to exit then) or a killed QEMU.
"""

from __future__ import annotations

import socket

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HostFailure


class Control:
    """A connection to the control port."""

    def __init__(self, connection: socket.socket, name: str) -> None:
        self._socket = connection
        self._name = name
        self._buffer = bytearray()

    def ready(self, deadline: Deadline) -> None:
        """Wait for the line by which the lab's init says that it listens. Raises DeadlineExpired, HostFailure."""
        while self._line(deadline, "READY") != "READY":
            continue

    def send(self, line: str) -> None:
        """Send a line without waiting for its end; `done` does."""
        if "\n" in line:
            raise ValueError("a line of the control port is one line")
        self._socket.settimeout(10)
        try:
            self._socket.sendall(line.encode() + b"\n")
        except TimeoutError as error:
            raise DeadlineExpired("the lab takes nothing from its control port", where=self._name) from error
        except OSError as error:
            raise HostFailure("the control port of the lab has closed", where=self._name) from error

    def done(self, deadline: Deadline) -> list[str]:
        """Return what the line wrote to descriptor 3. Raises HostFailure where it failed, DeadlineExpired."""
        answer: list[str] = []
        while not (line := self._line(deadline, "DONE")).startswith("DONE "):
            answer.append(line)
        if line != "DONE 0":
            raise HostFailure(f"the lab's init answered {line!r} with {answer[-3:]}", where=self._name)
        return answer

    def run(self, line: str, deadline: Deadline) -> list[str]:
        """Send a line and return what it wrote to descriptor 3; errors as `send` and `done`."""
        self.send(line)
        return self.done(deadline)

    def _line(self, deadline: Deadline, what: str) -> str:
        while (end := self._buffer.find(b"\n")) < 0:
            self._socket.settimeout(max(deadline.remaining, 0.001))
            try:
                data = self._socket.recv(65536)
            except TimeoutError as error:
                raise DeadlineExpired(
                    f"waited {deadline.seconds:.1f} s for {what} on the control port", where=self._name
                ) from error
            except OSError as error:
                raise HostFailure("the control port of the lab has closed", where=self._name) from error
            if not data:
                raise HostFailure("the control port of the lab has closed", where=self._name)
            self._buffer += data
        line = self._buffer[:end].decode("utf-8", "backslashreplace")
        del self._buffer[: end + 1]
        return line.rstrip("\r")
