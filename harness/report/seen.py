"""What a file is that somebody wants to see or compare, and the state in it: a stream, a saved state, a saved machine.

    seen = open_file(Path("source.stream"))          QEMU's migration stream
    seen = open_file(Path("states/before.json.gz"))  registers, as `harness.state` writes them
    seen = open_file(Path("state"))                  a machine that `harness/kvm/vmm.py` saved

Compressed files are unpacked into a temporary file, so memory stays bounded whatever their size.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

from harness.errors import UsageError
from harness.kvm import vmm
from harness.kvm.registers import state_of
from harness.state.kvm_ids import SWAPPED
from harness.state.model import Origin, State, Value
from harness.state.ram import Block, digest
from harness.state.stream import Stream, StreamError, decode

_PACKED: Mapping[bytes, Callable[..., IO[bytes]]] = {
    b"\x1f\x8b": cast(Callable[..., IO[bytes]], gzip.open),
    b"BZh": cast(Callable[..., IO[bytes]], bz2.open),
    b"\xfd7zXZ\x00": cast(Callable[..., IO[bytes]], lzma.open),
}
_FOREIGN = {
    b"\x28\xb5\x2f\xfd": ("it is compressed by zstd", "unpack it first, with zstd -d"),
    b"\x7fELF": ("it is an ELF file", ""),
    b"QFI\xfb": ("it is a qcow2 image", "for the snapshots in it, start QEMU and save to a file"),
    b"PK\x03\x04": ("it is a ZIP archive", "unpack it first"),
}
# Kinds of sections that say name and version.
_NAMING = frozenset({"start", "full"})
_MOST = 1 << 36  # bytes of a saved machine's memory
# Devices that only QEMUs for other architectures have (docs/devel/migration in QEMU's tree has no field for it).
_OTHERS = {"apic": "x86", "kvmclock": "x86", "i8259": "x86", "spapr": "PowerPC", "s390-flic": "s390x", "riscv_cpu": "RISC-V"}


@dataclass(frozen=True)
class Seen:
    """What is in a file: its kind in words, what is said of its making, registers and fields by name, pages of memory."""

    path: str
    kind: str
    facts: Mapping[str, str]
    state: State
    memory: Mapping[str, Block] = field(default_factory=dict)
    # Where the file ends too early or is damaged: what is wrong. The rest is what was read until then.
    stopped: str = ""


def open_file(path: Path) -> Seen:
    """Say what a file is and read it. Raises UsageError with one line for what is none of the kinds, or cannot be read."""
    try:
        if path.is_dir():
            raise UsageError("it is a directory", where=str(path), remedy="name a file, or a bundle where one is meant")
        with path.open("rb") as file:
            start = file.read(16)
        for magic, (what, remedy) in _FOREIGN.items():
            if start.startswith(magic):
                raise UsageError(what, where=str(path), remedy=remedy)
        if not start:
            raise UsageError("it is empty", where=str(path))
        with _unpacked(path, start) as (plain, beginning):
            return _open(plain, beginning, str(path).encode(errors="backslashreplace").decode())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path)) from None


@contextmanager
def _unpacked(path: Path, start: bytes) -> Iterator[tuple[Path, bytes]]:
    """Give the file itself, or its contents in a temporary one where it is compressed; and how that begins."""
    opener = next((opener for magic, opener in _PACKED.items() if start.startswith(magic)), None)
    if opener is None:
        yield path, start
        return
    with tempfile.NamedTemporaryFile(prefix="harness-") as plain:
        try:
            with opener(path, "rb") as packed:
                shutil.copyfileobj(packed, plain, 1 << 20)
        except (EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise UsageError(f"it is compressed and cannot be unpacked: {error}", where=str(path)) from None
        plain.flush()
        plain.seek(0)
        yield Path(plain.name), plain.read(16)


def _open(path: Path, start: bytes, name: str) -> Seen:
    if start.startswith(vmm.FORMAT.encode()):
        return _saved_machine(path, name)
    if start.lstrip().startswith(b"{"):
        try:
            state = State.load(path)
        except UnicodeDecodeError:
            raise UsageError("not a saved state: it is not ASCII", where=name) from None
        except UsageError as error:
            raise UsageError(error.what, where=name, remedy=error.remedy) from None
        return Seen(name, f"saved state ({state.view} view)", {}, state)
    try:
        seen = _stream(decode(path, memory=True), name)
    except StreamError as error:
        if not error.partial.sections:
            raise UsageError(error.what, where=name, remedy=error.remedy) from None
        return replace(_stream(error.partial, name), stopped=error.what)
    if seen.facts["vCPUs"] == "0":
        raise UsageError("it is the stream of a machine without a vCPU of Arm", where=name)
    return seen


def _stream(stream: Stream, name: str) -> Seen:
    for device, architecture in _OTHERS.items():
        if any(section.name == device for section in stream.sections):
            raise UsageError(f"it is the stream of a machine of another architecture: {architecture}", where=name)
    state = unswapped(State.from_stream(stream))
    cpus = [key for key in stream.devices if key.partition("#")[0] == "cpu"]
    extra: dict[str, Value] = {
        "configuration/machine": stream.machine.encode(),
        "configuration/page_bits": stream.page_bits,
        "configuration/capabilities": " ".join(stream.capabilities).encode(),
        **({"configuration/uuid": stream.uuid.hex().encode()} if stream.uuid else {}),
        **{f"section/{section.key}/version": section.version for section in stream.sections if section.kind in _NAMING},
        **{f"section/{key}/crc32": crc for key, crc in stream.undescribed.items()},
        **{f"memory/{block}/size": size for block, size in stream.ram.items()},
    }
    facts = {
        "machine": stream.machine,
        "page size": f"{1 << stream.page_bits} bytes",
        "capabilities": ", ".join(stream.capabilities) or "none",
        "sections": str(len(stream.sections)),
        "devices": str(len(stream.devices)),
        "vCPUs": str(len(cpus)),
        "size": f"{stream.size} bytes",
    }
    blocks = stream.memory.blocks if stream.memory else {}
    return Seen(name, "migration stream", facts, State("stream", {**state.registers, **extra}), blocks)


def unswapped(state: State) -> State:
    """Give CNTV_CVAL_EL0 and CNTVCT_EL0 of a stream that was made on KVM their own names.

    QEMU names registers by KVM's numbers, in which they have each other's place (KVM_REG_ARM_TIMER_CVAL in
    arch/arm64/include/uapi/asm/kvm.h). A stream of KVM's is known by the firmware registers in it.
    """
    if not any(name.startswith("cpu0/0x60300000001400") for name in state.registers):
        return state

    def own(name: str) -> str:
        cpu, slash, register = name.partition("/")
        return f"{cpu}{slash}{SWAPPED.get(register, register)}"

    return State(state.view, {own(name): value for name, value in state.registers.items()})


def _saved_machine(path: Path, name: str) -> Seen:
    try:
        saved, memory = vmm.read_saved(str(path))
        config = saved["config"]
        size = int(config["memory_mib"]) << 20
        filled = len(memory) - int(saved.get("tags", 0))
        if filled < 0:
            raise ValueError("more tags than there is memory")
        pages = _extents(saved["extents"], memory[:filled], size)
        facts = {"features": ", ".join(config["features"]), "vCPUs": str(config["vcpus"]), "arguments": str(config["append"])}
        if config.get("by_offset"):
            facts["counters"] = "by an offset of the VM"
        facts = {fact: text.encode("ascii", "backslashreplace").decode() for fact, text in facts.items()}
        made = {f"configuration/{fact}": text.encode() for fact, text in facts.items()}
        seen = state_of(saved)
        origin = Origin.from_data(seen.origin.to_data())  # so that it is as one that is read from a saved state
        if origin.kernel:
            facts["kernel"] = origin.kernel
        tags: dict[str, Value] = {"memory/tags/crc32": zlib.crc32(memory[filled:])} if len(memory) > filled else {}
        state = State("kvm", {**seen.registers, **made, **tags, "memory/ram/size": size}, origin)
        for register, value in state.registers.items():
            if not (register.isascii() and register.isprintable() and isinstance(value, int | bytes)):
                raise ValueError(f"{register!a} is not a name with a number")
    except vmm.Trouble as error:
        raise UsageError(str(error).replace(str(path), "").removeprefix(": "), where=name) from None
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise UsageError(f"not a saved machine of this version ({type(error).__name__}: {error})", where=name) from None
    return Seen(name, "saved machine (kvm view)", facts, state, {"ram": pages})


def _extents(extents: list[list[int]], memory: memoryview, size: int) -> Block:
    if not 0 <= size <= _MOST:
        raise ValueError(f"memory of {size:#x} bytes")
    if sum(end - start for start, end in extents) != len(memory) or any(edge % vmm.PAGE for pair in extents for edge in pair):
        raise ValueError("its extents are not those of its memory")
    block = Block(size, vmm.PAGE)
    block.pages.frombytes(bytes(block.pages.itemsize * (size // vmm.PAGE)))
    at = 0
    for start, end in extents:
        for page in range(start, end, vmm.PAGE):
            block.pages[page // vmm.PAGE] = digest(memory[at : at + vmm.PAGE])
            at += vmm.PAGE
    return block
