"""QEMU's gdb stub as a window on the registers: connect, read all by name, go.

The remote serial protocol is documented in the GDB manual, appendix E. System registers come through the target description's
`system-registers` features (target/arm/gdbstub.c); their numbers differ from CPU to CPU and are taken from that description.
They are read-only here: QEMU answers OK to a write of a system register and ignores it.

All requests of one look are sent in one go and the answers read in order, so a look at 300 registers costs one round trip
for each chunk and not 300.
"""

from __future__ import annotations

import re
import socket
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, QemuFailure

# One write of at most this many requests: both sides' socket buffers must hold what is under way.
_CHUNK = 64


@dataclass(frozen=True)
class Target:
    """A CPU's register description: names and sizes in bits, by number; the bulk of the general ones by `g`."""

    numbers: Mapping[str, int]
    bits: Mapping[str, int]


@dataclass
class TargetCache:
    """Descriptions already fetched, by what they depend on (QEMU binary, machine, CPU)."""

    known: dict[tuple[object, ...], Target] = field(default_factory=dict)


class GdbStub:
    """A connection to the stub of a machine that is stopped. Connecting stops a running one (gdbstub/system.c)."""

    def __init__(self, connection: socket.socket, deadline: Deadline, side: str) -> None:
        self._deadline = deadline
        self._side = side
        self._buffer = bytearray()
        self._socket = connection
        self._socket.settimeout(max(deadline.remaining, 0.001))

    def __enter__(self) -> Self:
        """Switch acknowledgements off (QStartNoAckMode): the socket is reliable."""
        self._send(b"+" + _packet(b"QStartNoAckMode"))
        self._answer()
        self._send(b"+" + _packet(b"qSupported:qXfer:features:read+;vContSupported+"))
        self._answer()
        # QEMU before 8 answers `p` only to a client that has asked for the description on this connection.
        self._ask(b"qXfer:features:read:target.xml:0,1")
        return self

    def __exit__(self, *_: object) -> None:
        """Hang up. No `D` packet: detaching would let the machine run."""
        self._socket.close()

    def target(self) -> Target:
        """Read the target description of the current CPU with all files that it includes."""
        numbers: dict[str, int] = {}
        bits: dict[str, int] = {}
        following = 0
        for document in self._documents("target.xml"):
            for register in document.iter("reg"):
                following = int(register.get("regnum") or following)
                name = register.get("name") or f"reg{following}"
                numbers[name] = following
                bits[name] = int(register.get("bitsize") or 0)
                following += 1
        if not numbers:
            raise QemuFailure("the gdb stub describes no registers", where=self._side)
        return Target(numbers, bits)

    def threads(self) -> list[str]:
        """Return the ids of all vCPUs, as the stub writes them."""
        ids: list[str] = []
        reply = self._ask(b"qfThreadInfo")
        while reply.startswith(b"m"):
            ids += reply[1:].decode().split(",")
            reply = self._ask(b"qsThreadInfo")
        return ids

    def registers(self, target: Target, thread: str) -> dict[str, int]:
        """Return all registers of one vCPU as unsigned integers, by name. What cannot be read (`E..`) is left out."""
        if self._ask(b"Hg" + thread.encode()) != b"OK":
            raise QemuFailure(f"the gdb stub has no vCPU {thread}", where=self._side)
        # Only `g` has QEMU fetch the registers from KVM; `p` shows them as they last were (gdbstub/gdbstub.c).
        self._ask(b"g")
        values: dict[str, int] = {}
        names = [name for name in target.numbers if name != "za"]
        for start in range(0, len(names), _CHUNK):
            chunk = names[start : start + _CHUNK]
            replies = self._ask_all(b"p%x" % target.numbers[name] for name in chunk)
            for name, reply in zip(chunk, replies, strict=True):
                if reply and not reply.startswith(b"E"):
                    values[name] = self._value(reply)
        # ZA is 64 KiB on `max` and holds nothing while PSTATE.ZA is 0 (Arm ARM, B1.4.10), which SVCR bit 1 shows.
        if values.get("svcr", 0) & 2:
            values["za"] = self._value(self._ask(b"p%x" % target.numbers["za"]))
        return values

    def _documents(self, annex: str) -> list[ET.Element]:
        text = bytearray()
        while True:
            reply = self._ask(b"qXfer:features:read:%s:%x,%x" % (annex.encode(), len(text), 0xF00))
            if reply[:1] not in (b"m", b"l"):
                raise QemuFailure(f"the gdb stub has no {annex}", where=self._side)
            text += _unescaped(reply[1:])
            if reply.startswith(b"l"):
                break
        # Older QEMUs include by `xi:` without declaring the prefix.
        source = text.decode().replace("<xi:include", "<include")
        try:
            root = ET.fromstring(source)  # noqa: S314  # written by the QEMU that we started
        except ET.ParseError as error:
            raise QemuFailure(f"the gdb stub's {annex} is no XML: {error}", where=self._side) from None
        documents = [root]
        for include in root.iter("include"):
            documents += self._documents(include.get("href") or "")
        return documents

    def _ask(self, request: bytes) -> bytes:
        return self._ask_all([request])[0]

    def _ask_all(self, requests: Iterable[bytes]) -> list[bytes]:
        packets = [_packet(request) for request in requests]
        self._send(b"".join(packets))
        return [self._answer() for _ in packets]

    def _send(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except TimeoutError as error:
            raise DeadlineExpired("the gdb stub does not listen", where=self._side) from error
        except OSError as error:
            raise QemuFailure(f"the gdb stub hung up: {error}", where=self._side) from error

    def _answer(self) -> bytes:
        """Return the next packet's payload; a checksum that is wrong means that we lost step."""
        while (end := self._buffer.find(b"#")) < 0 or len(self._buffer) < end + 3:
            self._receive()
        start = self._buffer.find(b"$")
        payload = bytes(self._buffer[start + 1 : end])
        if start < 0 or start > end or self._buffer[end + 1 : end + 3].lower() != b"%02x" % (sum(payload) & 0xFF):
            raise self._nonsense(bytes(self._buffer[:80]))
        del self._buffer[: end + 3]
        return payload

    def _value(self, reply: bytes) -> int:
        """Return a register's value: the stub sends the bytes in memory order, low byte first."""
        try:
            return int.from_bytes(bytes.fromhex(reply.decode()), "little")
        except ValueError:
            raise self._nonsense(reply) from None

    def _nonsense(self, said: bytes) -> QemuFailure:
        return QemuFailure(f"the gdb stub answered nonsense: {said!r}", where=self._side)

    def _receive(self) -> None:
        try:
            self._socket.settimeout(max(self._deadline.remaining, 0.001))
            data = self._socket.recv(65536)
        except TimeoutError as error:
            raise DeadlineExpired("the gdb stub does not answer", where=self._side) from error
        except OSError as error:
            raise QemuFailure(f"the gdb stub hung up: {error}", where=self._side) from error
        if not data:
            raise QemuFailure("the gdb stub hung up", where=self._side)
        self._buffer += data


class GdbControl(GdbStub):
    """The stub as a hand on one vCPU of a machine: memory, core registers, breakpoints, steps. Addresses are what it sees.

    Writes go through QEMU's debug access, which passes read-only mappings and drops translated code (cpu_memory_rw_debug).
    """

    # Numbers in the stub's core description (gdb-xml/aarch64-core.xml in QEMU's tree).
    X0 = 0
    PC = 32

    def choose(self, thread: str) -> None:
        """Have everything that follows concern this vCPU; the others stand still."""
        self._order(b"Hg" + thread.encode(), f"choose vCPU {thread}")
        self._thread = thread.encode()

    def read_memory(self, address: int, length: int) -> bytes:
        """Return `length` bytes. Raises QemuFailure where nothing is mapped."""
        reply = self._ask(b"m%x,%x" % (address, length))
        if len(reply) != 2 * length:
            raise QemuFailure(f"the gdb stub cannot read {length} bytes at {address:#x}: {reply!r}", where=self._side)
        return bytes.fromhex(reply.decode())

    def write_memory(self, address: int, data: bytes) -> None:
        """Write bytes. Raises QemuFailure where nothing is mapped."""
        self._order(b"M%x,%x:%s" % (address, len(data), data.hex().encode()), f"write at {address:#x}")

    def register(self, number: int) -> int:
        """Return a 64-bit core register."""
        return self._value(self._ask(b"p%x" % number))

    def set_register(self, number: int, value: int) -> None:
        """Set a 64-bit core register; a system register would not take it (see above)."""
        self._order(b"P%x=%s" % (number, value.to_bytes(8, "little").hex().encode()), f"set register {number}")

    def set_breakpoint(self, address: int) -> None:
        """Stop the machine before any vCPU executes the instruction at `address`."""
        self._order(b"Z0,%x,4" % address, f"set a breakpoint at {address:#x}")

    def clear_breakpoint(self, address: int) -> None:
        """Take a breakpoint away."""
        self._order(b"z0,%x,4" % address, f"clear the breakpoint at {address:#x}")

    def go(self) -> str:
        """Let all vCPUs run until one comes to a breakpoint, and return which. Raises DeadlineExpired, QemuFailure."""
        return self._go(b"vCont;c")

    def go_alone(self) -> None:
        """Let the chosen vCPU run until it comes to a breakpoint. Raises DeadlineExpired, QemuFailure."""
        self._go(b"vCont;c:" + self._thread)

    def step(self) -> None:
        """Execute one instruction, interrupts held off."""
        self._go(b"vCont;s:" + self._thread)

    def detach(self) -> None:
        """Remove all breakpoints and let the machine run; the connection is of no more use."""
        self._order(b"D", "detach")

    def _go(self, request: bytes) -> str:
        reply = self._ask(request)
        stopped = re.fullmatch(rb"T05thread:(\w+);", reply)
        if stopped is None:
            raise QemuFailure(f"no vCPU stopped at a breakpoint: {reply!r}", where=self._side)
        return stopped.group(1).decode()

    def _order(self, request: bytes, what: str) -> None:
        if (reply := self._ask(request)) != b"OK":
            raise QemuFailure(f"the gdb stub does not {what}: {reply!r}", where=self._side)


def _packet(payload: bytes) -> bytes:
    return b"$%s#%02x" % (payload, sum(payload) & 0xFF)


def _unescaped(payload: bytes) -> bytes:
    """Undo the protocol's escapes: `}` and the byte XOR 0x20 (GDB manual, E.1 Overview)."""
    parts = payload.split(b"}")
    return parts[0] + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in parts[1:])
