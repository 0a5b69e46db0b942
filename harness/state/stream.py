"""QEMU's migration stream: what each device wrote, field by field.

The layout is that of QEMU's `docs/devel/migration/main.rst` ("Stream structure"): a header, sections, and at the end
a JSON description of every field of every device, which alone makes the device sections readable. RAM pages are
stepped over, never kept: a file is mapped, so memory is bounded by what the devices hold. Nothing here trusts the
input: whatever is wrong with it is a `StreamError` that says where, and carries what was read before.
"""

from __future__ import annotations

import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from harness.errors import HarnessError, Suspect
from harness.state import description, ram
from harness.state.cursor import Bad, Cursor
from harness.state.description import Value
from harness.state.ram import Memory

EOF, START, PART, END, FULL, SUBSECTION, DESCRIPTION, CONFIGURATION, COMMAND = range(9)
FOOTER = 0x7E
VERSION = 3

_CHUNK = 1 << 20  # bytes
_KINDS = {START: "start", PART: "part", END: "end", FULL: "full"}
_NOT_STREAMS = (
    (b"\x1f\x8b", "it is compressed by gzip"),
    (b"\x28\xb5\x2f\xfd", "it is compressed by zstd"),
    (b"\xfd7zXZ\x00", "it is compressed by xz"),
    (b"\x7fELF", "it is an ELF file"),
    (b"QFI\xfb", "it is a qcow2 image"),
)


@dataclass(frozen=True)
class Section:
    """One section of the stream; `offset` is that of its type byte, `size` in bytes without the footer."""

    kind: str
    id: int
    name: str
    instance: int
    version: int
    offset: int
    size: int

    @property
    def key(self) -> str:
        """The name, with `#N` for instance N above 0."""
        return _key(self.name, self.instance)


def _key(name: str, instance: int) -> str:
    return f"{name}#{instance}" if instance else name


@dataclass(frozen=True)
class Device:
    """What one device wrote. `runs` are its fields in stream order, with their places; `fields` the same, flat."""

    name: str
    instance: int
    version: int
    runs: tuple[description.Run, ...]

    @cached_property
    def fields(self) -> Mapping[str, Value]:
        """Every field by its path, such as `env.xregs[3]`, `cpu[0].gicr_ctlr` or `vfp/fpscr`; none is dropped."""
        flat: dict[str, Value] = {}
        for run in self.runs:
            for path, value in run.items():
                unique = path
                while unique in flat:
                    unique += "'"
                flat[unique] = value
        return MappingProxyType(flat)


@dataclass(frozen=True)
class Stream:
    """A decoded stream. `devices` is keyed by name, `name#N` for instance N above 0."""

    machine: str = ""
    page_bits: int = 12
    capabilities: tuple[str, ...] = ()
    size: int = 0
    sections: tuple[Section, ...] = ()
    ram: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, Device] = field(default_factory=dict)
    # Digests of all pages, where they were asked for.
    memory: Memory | None = None
    # The machine's UUID, where the stream has one.
    uuid: bytes = b""
    # The CRC-32 of sections that no description covers, over all their parts, keyed like `devices`.
    undescribed: Mapping[str, int] = field(default_factory=dict)


class StreamError(HarnessError):
    """The bytes are not a whole stream; `partial` is what could be read up to `offset` (bytes) in `section`."""

    default_suspect = Suspect.QEMU

    def __init__(self, what: str, *, offset: int, section: str, partial: Stream, where: str = "", remedy: str = "") -> None:
        super().__init__(f"{what}, at offset {offset:#x} in section {section!r}", where=where, remedy=remedy)
        self.offset = offset
        self.section = section
        self.partial = partial


def decode(source: Path | str | bytes, *, memory: bool = False) -> Stream:
    """Decode a stream from a file or from bytes; `memory`: with a digest of each page, which takes a second for each GiB.

    Raises StreamError for anything that is not a whole stream, and OSError where the file cannot be read.
    """
    if isinstance(source, bytes):
        return _Decoder(source, "", memory=memory).run()
    with Path(source).open("rb") as file:
        if not file.seek(0, 2):
            return _Decoder(b"", str(source), memory=memory).run()
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _Decoder(mapped, str(source), memory=memory).run()


class _Decoder:
    """One pass over one stream; what it has read so far is what `partial` gives out."""

    def __init__(self, data: bytes | mmap.mmap, where: str, *, memory: bool) -> None:
        self.memory = Memory() if memory else None
        self.cursor = Cursor(data)
        self.where = where
        self.machine = ""
        self.page_bits = 12
        self.capabilities: tuple[str, ...] = ()
        self.sections: list[Section] = []
        self.ram: dict[str, int] = {}
        self.devices: dict[str, Device] = {}
        self.uuid = b""
        self.undescribed: dict[str, int] = {}
        self.names: dict[int, tuple[str, int, int]] = {}
        self.section = "header"

    def run(self) -> Stream:
        """Read to the end of the stream."""
        try:
            self._header()
            self._sections()
        except Bad as bad:
            raise StreamError(
                bad.what,
                offset=bad.offset,
                section=self.section,
                partial=self.stream(),
                where=self.where,
                remedy=bad.remedy,
            ) from None
        return self.stream()

    def stream(self) -> Stream:
        """Return what has been read so far."""
        return Stream(
            self.machine,
            self.page_bits,
            self.capabilities,
            self.cursor.size,
            tuple(self.sections),
            MappingProxyType(self.ram),
            MappingProxyType(self.devices),
            self.memory,
            self.uuid,
            MappingProxyType(self.undescribed),
        )

    def _header(self) -> None:
        cursor = self.cursor
        start = cursor.peek(6)
        for magic, what in _NOT_STREAMS:
            if start.startswith(magic):
                remedy = f"unpack it first, with {what.split()[-1]}" if "compressed" in what else ""
                raise Bad(f"not a migration stream: {what}", 0, remedy)
        if not start:
            raise Bad("not a migration stream: it is empty", 0)
        if not b"QEVM".startswith(start[:4]):
            raise Bad("not a migration stream: it does not begin with QEVM", 0)
        cursor.take(4)
        version = cursor.u32()
        if version != VERSION:
            raise Bad(f"version {version} of the migration stream is not supported, only {VERSION}", 4)

    def _sections(self) -> None:
        """Read up to the end mark and what follows it; the description is needed before, so it is looked up first."""
        cursor = self.cursor
        layouts = description.find(cursor)
        while (kind := cursor.u8()) != EOF:
            begin = cursor.at - 1
            if kind == CONFIGURATION:
                self.section = "configuration"
                self._configuration()
            elif kind == COMMAND:
                self.section = "command"
                cursor.u16()
                cursor.skip(cursor.u16())
            elif kind in _KINDS:
                self._section(kind, begin, layouts)
            else:
                raise Bad(f"unknown section type {kind:#04x}", begin)
            self.section = f"after {self.section}"
        self.section = "description"
        if cursor.at == cursor.size:
            raise Bad("the stream has no description of its devices, or was cut off before it", cursor.at)
        if cursor.u8() != DESCRIPTION:
            raise Bad("something else than the description follows the end mark", cursor.at - 1)
        cursor.skip(cursor.u32())
        if cursor.at != cursor.size:
            raise Bad("there are bytes after the description", cursor.at)
        if layouts is None:
            raise Bad("the description of the devices is damaged", cursor.at)

    def _configuration(self) -> None:
        cursor = self.cursor
        self.machine = cursor.text(cursor.u32())
        while cursor.peek(1) == bytes([SUBSECTION]):
            cursor.u8()
            name = cursor.text(cursor.u8())
            cursor.u32()
            match name:
                case "configuration/target-page-bits":
                    self.page_bits = cursor.u32()
                    if not 10 <= self.page_bits <= 16:
                        raise Bad(f"target page bits {self.page_bits} cannot be", cursor.at - 4)
                case "configuration/capabilities":
                    self.capabilities = tuple(cursor.text(cursor.u8()) for _ in range(cursor.count(cursor.u32(), 1)))
                case "configuration/uuid":
                    self.uuid = cursor.take(16)
                case _:
                    raise Bad(f"unknown subsection {name!r}", cursor.at)

    def _section(self, kind: int, begin: int, layouts: description.Layouts | None) -> None:
        cursor = self.cursor
        number = cursor.u32()
        if kind in (START, FULL):
            name = cursor.text(cursor.u8())
            instance, version = cursor.u32(), cursor.u32()
            self.names[number] = name, instance, version
        elif number not in self.names:
            raise Bad(f"section {number} goes on but never started", begin)
        name, instance, version = self.names[number]
        self.section = _key(name, instance)
        if name == "ram":
            ram.step_over(cursor, self.page_bits, self.capabilities, self.ram, self.memory)
        elif kind == FULL and layouts is not None:
            self._device(name, instance, version, layouts)
        else:
            self._unknown(number)
        if cursor.at >= cursor.size:
            raise Bad("the stream was cut off", cursor.size)
        end = cursor.at
        if cursor.u8() != FOOTER or cursor.u32() != number:
            raise Bad(f"no footer where the section of {self.section!r} should end", end)
        self.sections.append(Section(_KINDS[kind], number, name, instance, version, begin, end - begin))

    def _device(self, name: str, instance: int, version: int, layouts: description.Layouts) -> None:
        layout = layouts.get((name, instance))
        if layout is None:
            raise Bad(f"the description does not know device {self.section!r}", self.cursor.at)
        if self.section in self.devices:
            raise Bad(f"device {self.section!r} is there twice", self.cursor.at)
        runs: list[description.Run] = []
        try:
            description.read(self.cursor, layout, "", runs)
        finally:
            self.devices[self.section] = Device(name, instance, version, tuple(runs))

    def _unknown(self, number: int) -> None:
        """Step over a section that nothing describes, to the first thing that looks like its footer; note its checksum."""
        begin, footer = self.cursor.at, bytes([FOOTER]) + number.to_bytes(4, "big")
        self.cursor.at = self.cursor.find(footer)
        crc = self.undescribed.get(self.section, 0)
        for at in range(begin, self.cursor.at, _CHUNK):
            crc = zlib.crc32(self.cursor.data[at : min(at + _CHUNK, self.cursor.at)], crc)
        self.undescribed[self.section] = crc
