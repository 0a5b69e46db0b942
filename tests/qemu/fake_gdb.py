"""The gdb stub of a machine with a handful of registers: bytes of a connection in, bytes out.

The remote serial protocol is in the GDB manual, appendix E. Used by the fake QEMU and, in a thread, by the client's own tests.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

TARGET = b"""<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd">
<target><architecture>aarch64</architecture><xi:include href="core.xml"/><xi:include href="system.xml"/></target>"""
CORE = b'<feature name="core"><reg name="x0" bitsize="64" regnum="0"/><reg name="x1" bitsize="64"/></feature>'
SYSTEM = b'<feature name="system"><reg name="ESR_EL1" bitsize="64" regnum="9"/><reg name="SVCR" bitsize="64"/></feature>'
DOCUMENTS = {"target.xml": TARGET, "core.xml": CORE, "system.xml": SYSTEM}
_PACKET = re.compile(rb"\$([^#]*)#[0-9a-f]{2}")


def packet(payload: bytes) -> bytes:
    """Return a packet with its checksum."""
    return b"$%s#%02x" % (payload, sum(payload) & 0xFF)


def escaped(data: bytes) -> bytes:
    """Return data with the protocol's own characters escaped."""
    return b"".join(b"}%c" % (byte ^ 0x20) if byte in b"#$}*" else b"%c" % byte for byte in data)


class Stub:
    """`vcpus` maps register numbers to values, 8 bytes each; `piece` is the most of a document sent in one answer.

    No dataclass: importing what makes one is a sixth of the fake's start.
    """

    def __init__(self, vcpus: Sequence[Mapping[int, int]], documents: Mapping[str, bytes] = DOCUMENTS, piece: int = 60) -> None:
        self.vcpus = vcpus
        self.documents = documents
        self.piece = piece
        self.asked: list[str] = []
        self._thread = 0
        self._buffer = b""

    def feed(self, data: bytes) -> bytes:
        """Return the answers to all whole requests so far."""
        self._buffer += data
        answers = b""
        while match := _PACKET.search(self._buffer):
            self._buffer = self._buffer[match.end() :]
            self.asked.append(match[1].decode())
            answers += packet(self._answer(match[1].decode()))
        return answers

    def _answer(self, request: str) -> bytes:  # one return for each kind of request
        if request.startswith("qXfer:features:read:"):
            name, where = request.removeprefix("qXfer:features:read:").split(":")
            offset = int(where.split(",")[0], 16)
            document = self.documents.get(name)
            if document is None:
                return b"E00"
            last = offset + self.piece >= len(document)
            return (b"l" if last else b"m") + escaped(document[offset : offset + self.piece])
        if request.startswith("Hg"):
            self._thread = int(request.removeprefix("Hg"), 16) - 1
            return b"OK" if 0 <= self._thread < len(self.vcpus) else b"E22"
        if request.startswith("p"):
            value = self.vcpus[self._thread].get(int(request[1:], 16))
            return b"E14" if value is None else value.to_bytes(8, "little").hex().encode()
        if request in ("qfThreadInfo", "qsThreadInfo"):
            following = len([word for word in self.asked if word.endswith("ThreadInfo")])
            return b"m%x" % following if following <= len(self.vcpus) else b"l"
        return b"OK"
