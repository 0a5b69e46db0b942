"""Damaged files through `harness show` and `harness diff`: an answer or one line, in time, and never a wrong "same".

What is the same is judged here by other means than `harness diff` has: what the decoder gives for a stream field by field,
and for the other kinds what their JSON and their bytes say. HARNESS_MUTANTS is how many mutants there are in all.
"""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import random
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessError, UsageError
from harness.report import look, seen
from harness.report.seen import Seen
from harness.state.diff import Comparison, compare
from harness.state.model import State, Value
from harness.state.stream import Stream, decode

GOLDEN = Path(__file__).parents[1] / "state" / "golden"
MUTANTS = int(os.environ.get("HARNESS_MUTANTS", "10000"))
BATCHES = 10
SLOWEST = 20.0  # seconds for one mutant; a busy machine needs a hundredth of it
PAGE = 4096

# -- what is mutated


def _name(name: str) -> bytes:
    return bytes([len(name)]) + name.encode()


def _section(kind: int, number: int, name: str, body: bytes, instance: int = 0) -> bytes:
    head = _name(name) + struct.pack(">II", instance, 4) if kind in (1, 4) else b""
    return bytes([kind]) + struct.pack(">I", number) + head + body + b"\x7e" + struct.pack(">I", number)


def _ram() -> bytes:
    """Every record that can be judged, for two blocks, in three sections."""
    blocks = _name("ram0") + struct.pack(">Q", 6 * PAGE) + _name("ram1") + struct.pack(">Q", PAGE)
    first = struct.pack(">Q", 0x02) + _name("ram0") + b"\0" + struct.pack(">Q", PAGE | 0x22) + b"\0"
    first += struct.pack(">Q", 2 * PAGE | 0x28) + b"\x10" * PAGE + struct.pack(">Q", 0x10)
    second = struct.pack(">Q", 0x08) + _name("ram1") + b"\xff" * PAGE
    second += struct.pack(">Q", 3 * PAGE | 0x02) + _name("ram0") + b"\x07" + struct.pack(">Q", 0x10)
    setup = struct.pack(">Q", 7 * PAGE | 0x04) + blocks + struct.pack(">QQ", 0x200, 0x10)
    return _section(1, 2, "ram", setup) + _section(2, 2, "ram", first) + _section(3, 2, "ram", second)


def _from_golden() -> bytes:
    """Return a real stream with its memory, nearly all of it, left out."""
    data = lzma.decompress((GOLDEN / "cortex-a57-saved.xz").read_bytes())
    sections = decode(data).sections
    devices = next(section.offset for section in sections if section.kind == "full")
    return data[: sections[0].offset] + _ram() + data[devices:]


_DEVICES: Mapping[str, list[tuple[str, str, int, int | None]]] = {
    "cpu": [("env.pc", "uint64", 8, None), ("env.xregs", "uint64", 8, 31), ("cpsr", "cpsr", 4, None)],
    "arm_gicv3": [("gicd_ctlr", "uint32", 4, None), ("enabled", "uint32", 4, 9)],
    "timer": [("cpu_ticks_offset", "int64", 8, None), ("cpu_clock_offset", "int64", 8, None)],
    "globalstate": [("size", "uint32", 4, None), ("runstate", "buffer", 100, None)],
}


def _small(ram: Callable[[int], bytes], *capabilities: str) -> bytes:
    """Return a stream of few devices; `ram` gives its memory's sections, by the offset they begin at."""
    data = b"QEVM" + struct.pack(">I", 3) + b"\x07" + struct.pack(">I", 4) + b"virt"
    data += b"\x05" + _name("configuration/target-page-bits") + struct.pack(">II", 1, 12)
    data += b"\x05" + _name("configuration/uuid") + struct.pack(">I", 1) + bytes(range(16))
    if capabilities:
        data += b"\x05" + _name("configuration/capabilities") + struct.pack(">II", 1, len(capabilities))
        data += b"".join(map(_name, capabilities))
    data += ram(len(data)) + _section(1, 3, "slirp", b"not described") + _section(3, 3, "slirp", b"at all")
    layouts = []
    for number, (device, fields) in enumerate(_DEVICES.items(), 8):
        body = bytes(range(1, 1 + sum(size * (count or 1) for _, _, size, count in fields) % 256)) * 4
        length = sum(size * (count or 1) for _, _, size, count in fields)
        more = b"\x05" + _name(f"{device}/more") + struct.pack(">I", 1) + b"\x2a"
        data += _section(4, number, device, body[:length].ljust(length, b"\x55") + more)
        layout = [{"name": n, "type": t, "size": s} | ({"array_len": c} if c else {}) for n, t, s, c in fields]
        sub = {"vmsd_name": f"{device}/more", "version": 1, "fields": [{"name": "bit", "type": "bool", "size": 1}]}
        layouts.append({"name": device, "instance_id": 0, "version": 4, "fields": layout, "subsections": [sub]})
    text = json.dumps({"page_size": PAGE, "devices": layouts}).encode()
    return data + b"\x00\x06" + struct.pack(">I", len(text)) + text


def _mapped(start: int) -> bytes:
    """Return a `mapped-ram` section with two of three pages there."""
    head = start + 1 + 4 + 4 + 8 + 8 + 5 + 8 + 28  # section, its number, its name, instance and version, total, name, size
    pages = -(-(head + 8) // PAGE) * PAGE
    setup = struct.pack(">Q", 3 * PAGE | 0x04) + _name("ram0") + struct.pack(">Q", 3 * PAGE)
    setup += struct.pack(">IQQQ", 1, PAGE, head, pages) + b"\x05" + bytes(7)
    setup += bytes(pages - head - 8) + b"\x21" * PAGE + bytes(PAGE) + b"\x43" * PAGE
    return _section(1, 2, "ram", setup + struct.pack(">Q", 0x10))


def _state() -> bytes:
    tree = json.loads(lzma.decompress((GOLDEN / "max-gdb.json.xz").read_bytes()))
    few = dict(list(tree["registers"].items())[::12])
    tree["registers"] = {**few, "cpu0/CNTVCT_EL0": "0x1234", "cpu0/text": "bytes:616263"}
    return json.dumps(tree, indent=1).encode("ascii")


def sealed(body: bytes, length: int) -> bytes:
    """Return a saved machine's file with a first line that is right; `length` is that of the JSON."""
    return b"arm64-kvm-state 1 %d %d %08x\n" % (length, len(body), zlib.crc32(body)) + body


def _machine() -> bytes:
    registers = {"0x6030000000100000": "0100000000000000", "0x6030000000100040": "0000104000000000",
                 "0x603000000013df1a": "1122000000000000", "0x603000000013df02": "3344000000000000",
                 "0x603000000013df19": "0500000000000000", "0x6080000000150020": "ab" * 32}  # fmt: skip
    header = {
        "config": {"features": ["el2", "sve"], "vcpus": 1, "memory_mib": 1, "append": "quiet"},
        "vcpus": [{"registers": registers, "events": "00" * 8, "mp_state": 0}],
        "gic": {
            "distributor": {"0x0": 18, "0x104": 255, "0x6100": 1},
            "redistributors": [{"0x0": 0, "0x10100": 65535}],
            "cpus": [{"0xc665": 7}],
            "levels": {"ppis": [0], "spis": [0, 1]},
            "its": {"0x0": 1, "0x80": 1 << 62},
        },
        "devices": {"uart": {"flags": 144}, "console": {"queue": [1, 2]}},
        "host": {"kernel": "7.3.4+deb13-cloud-arm64", "masks": [15 << n % 60 for n in range(192)]},
        "tags": 2 * PAGE // 16,
        "extents": [[0, PAGE], [16 * PAGE, 17 * PAGE]],
    }
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    return sealed(text + b"\x5a" * PAGE + b"\xa5" * PAGE + b"\x07" * (2 * PAGE // 16), len(text))


def resealed(mutant: bytes) -> bytes:
    """Return a mutant of a saved machine with a checksum and sizes that say it is whole."""
    _, newline, body = mutant.partition(b"\n")
    end = body.find(b"]]}") + 3
    return sealed(body, end) if newline and end > 2 else mutant


INPUTS: Mapping[str, Callable[[], bytes]] = {
    "golden": _from_golden,
    "stream": lambda: _small(lambda _: _ram()),
    "mapped": lambda: _small(_mapped, "mapped-ram"),
    "state": _state,
    "gzip": lambda: gzip.compress(_state(), mtime=0),
    "xz": lambda: lzma.compress(_small(lambda _: _ram())),
    "bz2": lambda: bz2.compress(_state()),
    "machine": _machine,
    "resealed": _machine,
}


# -- how


def _span(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = chance.randrange(len(data))
    return begin, min(len(data), begin + chance.choice((1, 1, 2, 4, 8, 30, 200, 5000)))


def _flip(data: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _overwrite(data: bytes, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + chance.randbytes(end - begin) + data[end:]


def _truncate(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _remove(data: bytes, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + data[end:]


def _insert(data: bytes, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + chance.randbytes(end - begin) + data[begin:]


def _duplicate(data: bytes, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:end] + data[begin:end] + data[end:]


def _swap(data: bytes, chance: random.Random) -> bytes:
    first, second = sorted(_span(data, chance) for _ in range(2))
    if first[1] > second[0]:
        return data
    (a, b), (c, d) = first, second
    return data[:a] + data[c:d] + data[b:c] + data[a:b] + data[d:]


def _zero(data: bytes, chance: random.Random) -> bytes:
    begin, end = _span(data, chance)
    return data[:begin] + bytes(end - begin) + data[end:]


def _digit(data: bytes, chance: random.Random) -> bytes:
    """Put another digit, letter or mark where one is: what JSON is made of stays JSON."""
    at = chance.choice([match.start() for match in re.finditer(rb"[0-9a-z]", data)] or [0])
    return data[:at] + bytes([chance.choice(b'0123456789abcdefxyz"{}[],:-')]) + data[at + 1 :]


def _repeat_section(data: bytes, chance: random.Random) -> bytes:
    """Put a second copy of a part that ends in a footer, or a comma, after the first."""
    marks = [match.end() for match in re.finditer(rb"\x7e\0\0\0.|,", data, re.DOTALL)]
    if len(marks) < 2:
        return data
    at = chance.randrange(len(marks) - 1)
    begin, end = marks[at], marks[at + 1]
    return data[:end] + data[begin:end] + data[end:]


HOW = (_flip, _flip, _overwrite, _truncate, _remove, _insert, _duplicate, _swap, _zero, _digit, _digit, _repeat_section)


@cache
def original(name: str) -> bytes:
    return INPUTS[name]()


def mutant(name: str, number: int) -> bytes:
    """Return one mutant of an input: the same bytes for the same number, always."""
    chance = random.Random(f"{name} {number}")
    data = original(name)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        data = chance.choice(HOW)(data, chance) if data else data
    return resealed(data) if name == "resealed" else data


def batches(batch: int, total: int = MUTANTS) -> Iterator[tuple[str, int]]:
    """Yield the mutants of one batch by input and number."""
    names = list(INPUTS)
    for number in range(batch, total, BATCHES):
        yield names[number % len(names)], number


# -- what is really the same

# The names that harness.state.rules lets differ: at will, or forwards only.
AT_WILL = re.compile(r"globalstate/(runstate|size)")
FORWARDS = re.compile(
    r"(cpu\d+/)?(CNT[PV]CT_EL0|PMCCNTR_EL0|PMEVCNTR\d+_EL0|timer/cpu_(clock|ticks)_offset|pl031/tick_offset_vmstate)"
)
ISTATUS = re.compile(r"cpu\d+/CNTH?[PV]_CTL_EL\d+")
NAMES = {0x13DF1A: "cpu0/CNTVCT_EL0", 0x13DF01: "cpu0/CNTPCT_EL0", 0x13DF19: "cpu0/CNTV_CTL_EL0"}


def really_same(name: str, data: bytes, folder: Path) -> bool:
    """Say whether a mutant holds what its original does; it does not where it cannot be read."""
    try:
        return _really_same(name, data, folder)
    except (ValueError, LookupError, TypeError, AttributeError):
        return False


def _really_same(name: str, data: bytes, folder: Path) -> bool:
    unpack: Callable[[bytes], bytes] = {"gzip": gzip.decompress, "xz": lzma.decompress, "bz2": bz2.decompress}.get(name, bytes)
    if name in {"gzip", "state", "bz2"}:
        return not unlike(_registers(unpack(original(name))), _registers(unpack(data)))
    if name in {"machine", "resealed"}:
        return _same_machine(original(name), data)
    (ours := folder / "ours").write_bytes(unpack(original(name)))
    (theirs := folder / "theirs").write_bytes(unpack(data))
    return _same_stream(decode(ours, memory=True), decode(theirs, memory=True))


def unlike(ours: Mapping[Any, Any], theirs: Mapping[Any, Any]) -> set[Any]:
    """Return the names whose values may not differ as they do."""

    def fine(name: str) -> bool:
        a, b = ours.get(name), theirs.get(name)
        if a == b or AT_WILL.fullmatch(name):
            return True
        if ISTATUS.fullmatch(name) and "kvm" in ours:
            return isinstance(a, int) and isinstance(b, int) and not (a ^ b) & ~4
        return bool(FORWARDS.fullmatch(name)) and isinstance(a, int) and isinstance(b, int) and a < b

    return {name for name in ours.keys() | theirs.keys() if not fine(name)}


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)


def _registers(text: bytes) -> dict[str, Value]:
    tree = json.loads(text, object_pairs_hook=_pairs)
    if (tree["format"], tree["version"], tree["view"]) != ("arm64 machine state", 1, "gdb"):
        raise ValueError("another format or view")
    return {
        name: bytes.fromhex(value[6:]) if value.startswith("bytes:") else int(value, 16)
        for name, value in tree["registers"].items()
    }


def _same_stream(ours: Stream, theirs: Stream) -> bool:
    """Compare all that the decoder gives; what State makes of it only tells which names differ."""

    def plain(stream: Stream) -> list[object]:
        sections = [(s.kind, s.name, s.instance, s.version) for s in stream.sections if s.kind in {"start", "full"}]
        blocks = stream.memory.blocks if stream.memory else {}
        memory = {name: (block.size, block.page_size, block.pages.tolist(), block.opaque) for name, block in blocks.items()}
        made = [stream.machine, stream.page_bits, stream.capabilities, stream.uuid, dict(stream.undescribed)]
        return [*made, dict(stream.ram), sorted(sections), memory]

    if plain(ours) != plain(theirs) or ours.devices.keys() != theirs.devices.keys():
        return False
    fields = [(dict(ours.devices[key].fields), dict(theirs.devices[key].fields)) for key in ours.devices]
    a, b = (dict(State.from_stream(stream).registers) for stream in (ours, theirs))
    named = {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}
    # A field that differs has a name that does.
    return bool(named) == any(x != y for x, y in fields) and not unlike(a, b)


def _same_machine(ours: bytes, theirs: bytes) -> bool:
    def parts(data: bytes) -> tuple[dict[Any, Any], Any]:
        first, _, body = data.partition(b"\n")
        length = int(first.split()[2])
        header = json.loads(body[:length])
        ram = bytearray(header["config"]["memory_mib"] << 20)
        memory = body[length:]
        tags = memory[len(memory) - header["tags"] :]
        memory = memory[: len(memory) - header["tags"]]
        for start, end in header["extents"]:
            ram[start:end], memory = memory[: end - start], memory[end - start :]
        if memory or len(ram) != header["config"]["memory_mib"] << 20:
            raise ValueError("the memory is not that large")
        named: dict[Any, Any] = {"kvm": True}
        for vcpu in header["vcpus"]:
            for register, value in vcpu["registers"].items():
                number = int(register, 16) & 0xFFFFFFFF  # above are the architecture and the size
                named[NAMES.get(number, f"{number:#x}")] = int.from_bytes(bytes.fromhex(value), "little")
        config, gic = header["config"], header["gic"]
        kept: list[Any] = [[vcpu["events"], vcpu["mp_state"]] for vcpu in header["vcpus"]]
        kept += [config[key] for key in ("features", "vcpus", "memory_mib", "append")]
        kept += [gic[key] for key in ("distributor", "redistributors", "cpus", "its")]
        kept += [gic["levels"]["ppis"], gic["levels"]["spis"], header["devices"], zlib.crc32(ram), tags]
        return named, kept

    (a, more), (b, other) = parts(ours), parts(theirs)
    return more == other and not unlike(a, b)


# -- the two commands


def shown(found: Seen) -> None:
    """Do what `harness show` does, both ways of it."""
    for line in look.lines_of(found):
        line.encode()  # a terminal takes no half of a character
    json.dumps(look.data_of(found))


def status_of(before: Seen, after: Seen) -> int:
    """Do what `harness diff` does, both ways of it."""
    outcome = look.compared(before, after)
    for line in look.words_of(outcome):
        line.encode()
    json.dumps(look.outcome_data(outcome))
    return outcome.status


def judged(name: str, number: int, before: Seen, folder: Path) -> float:
    """Put one mutant through both commands, and return how long it took."""
    data = mutant(name, number)
    (path := folder / "mutant").write_bytes(data)
    began = time.monotonic()
    status, stopped, refusal = None, "", "one line"
    try:
        found = seen.open_file(path)
        stopped = found.stopped
        shown(found)
        status = status_of(before, found)
    except HarnessError as error:
        refusal = str(error)
    took = time.monotonic() - began
    assert len(refusal.splitlines()) == 1, f"{name} {number}: {refusal}"
    if status == look.SAME:
        assert not stopped, f"{name} {number} was not read to its end and is called the same"
        assert really_same(name, data, folder), f"{name} {number} is called the same and is not"
    if data == original(name):
        assert status == look.SAME, f"{name} {number}"
    return took


@pytest.fixture
def before(tmp_path: Path) -> Callable[[str], Seen]:
    """`before(name)`: an input, opened once."""

    @cache
    def opened(name: str) -> Seen:
        (path := tmp_path / name).write_bytes(original(name))
        return seen.open_file(path)

    return opened


@pytest.mark.timeout(600)
@pytest.mark.parametrize("batch", range(BATCHES))
def test_mutants(
    batch: int, before: Callable[[str], Seen], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    slowest, which = max((judged(name, number, before(name), tmp_path), f"{name} {number}") for name, number in batches(batch))
    record_property("slowest", f"{which}: {slowest:.3f} s")
    assert slowest < SLOWEST, which


def _says_all_survived(ours: State, theirs: State, *_: object) -> Comparison:
    return Comparison(len(ours.registers.keys() & theirs.registers.keys()), ())


@pytest.mark.parametrize(
    ("name", "sabotaged", "instead"),
    [
        ("golden", "compare", _says_all_survived),
        ("state", "compare", _says_all_survived),
        ("resealed", "compare", _says_all_survived),
        ("mapped", "_memory", lambda *_: ()),
        ("stream", "_memory", lambda *_: ()),
    ],
)
def test_a_diff_that_drops_a_difference_is_caught(
    name: str,
    sabotaged: str,
    instead: Callable[..., Any],
    before: Callable[[str], Seen],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(look, sabotaged, instead)
    with pytest.raises(AssertionError, match="is called the same and is not"):
        max(judged(name, number, before(name), tmp_path) for number in range(200))


def test_a_diff_that_drops_one_field_is_caught(
    before: Callable[[str], Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that a bit was flipped in, of three thousand."""
    data = original("golden")
    device = decode(data).devices["cpu"]
    at = next(run.offset for run in device.runs if run.path == "cpreg_vmstate_values") + 8 * 40 + 7
    spoiled = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    monkeypatch.setitem(globals(), "mutant", lambda *_: spoiled)
    judged("golden", 0, before("golden"), tmp_path)
    real = compare

    def one_less(*sides: Any) -> Comparison:
        found = real(*sides)
        assert len(found.differences) == 1
        return Comparison(found.compared, found.differences[1:])

    monkeypatch.setattr(look, "compare", one_less)
    with pytest.raises(AssertionError, match="is called the same and is not"):
        judged("golden", 0, before("golden"), tmp_path)


@pytest.mark.parametrize("name", INPUTS)
def test_an_input_is_whole(name: str, before: Callable[[str], Seen], tmp_path: Path) -> None:
    found = before(name)
    assert not found.stopped
    assert status_of(found, found) == look.SAME
    assert really_same(name, original(name), tmp_path)


# -- what mutants and their makers have found


def machine_with(old: str, new: str) -> bytes:
    """Return the saved machine with one text of its header replaced."""
    _, _, body = original("machine").partition(b"\n")
    length = body.index(b"]]}") + 3
    header = body[:length].decode()
    assert header.count(old) == 1
    changed = header.replace(old, new).encode("ascii")
    return sealed(changed + body[length:], len(changed))


def replaced(name: str, old: bytes, new: bytes) -> bytes:
    assert original(name).count(old) == 1
    return original(name).replace(old, new)


DIFFER: Mapping[str, tuple[str, Callable[[], bytes]]] = {
    "a section that nothing describes": ("stream", lambda: replaced("stream", b"not described", b"not discribed")),
    "the machine's UUID": ("stream", lambda: replaced("stream", bytes(range(16)), bytes(16))),
    "the version of the RAM section": (
        "stream",
        lambda: replaced("stream", b"\x03ram" + struct.pack(">II", 0, 4), b"\x03ram" + struct.pack(">II", 0, 5)),
    ),
    "the size of a saved machine's memory": ("machine", lambda: machine_with('"memory_mib":1', '"memory_mib":2')),
    "the features of a saved machine": ("machine", lambda: machine_with('["el2","sve"]', '["el2"]')),
    "a timer that only one saved machine has": (
        "machine",
        lambda: machine_with('"0x603000000013df19":"0500000000000000",', ""),
    ),
    "a register of the GIC at an offset that has no name": ("machine", lambda: machine_with('"0x104"', '"0x105"')),
}


@pytest.mark.parametrize("what", DIFFER)
def test_what_differs_is_not_called_the_same(what: str, before: Callable[[str], Seen], tmp_path: Path) -> None:
    name, changed = DIFFER[what]
    (path := tmp_path / "changed").write_bytes(changed())
    assert status_of(before(name), seen.open_file(path)) == look.DIFFERS


def _a_device_twice() -> bytes:
    data = original("stream")
    section = next(section for section in decode(data).sections if section.name == "arm_gicv3")
    end = section.offset + section.size + 5
    return data[:end] + data[section.offset : end] + data[end:]


STOPPED: Mapping[str, Callable[[], bytes]] = {
    "device 'arm_gicv3' is there twice": _a_device_twice,
    "subsection 'cpu/more' has version 2": lambda: replaced(
        "stream", b"\x08cpu/more" + struct.pack(">I", 1), b"\x08cpu/more" + struct.pack(">I", 2)
    ),
    "a name that is not text": lambda: replaced("stream", b'"gicd_ctlr"', b'"\\ud800ctr"'),
}


@pytest.mark.parametrize("says", STOPPED)
def test_a_stream_ends_where_it_cannot_be_right(says: str, before: Callable[[str], Seen], tmp_path: Path) -> None:
    (path := tmp_path / "changed").write_bytes(STOPPED[says]())
    found = seen.open_file(path)
    assert says in found.stopped
    shown(found)
    assert status_of(before("stream"), found) != look.SAME


REFUSED: Mapping[str, Callable[[], bytes]] = {
    "a name is there twice": lambda: replaced("state", b'"cpu0/text"', b'"cpu0/CNTVCT_EL0"'),
    "a name that is not text: 'cpu0/\\ud800'": lambda: replaced("state", b'"cpu0/text"', b'"cpu0/\\ud800"'),
    "a mapped-ram header that cannot be": lambda: replaced(
        "mapped", struct.pack(">IQ", 1, PAGE), struct.pack(">IQ", 1, 2 * PAGE)
    ),
    "for which the stream is too small": lambda: _small(
        lambda _: _section(1, 2, "ram", struct.pack(">Q", 1 << 62 | 4) + _name("ram0") + struct.pack(">Q", 1 << 61))
    ),
    "recursion": lambda: b'{"format": ' + b"[" * 100_000,
    "a saved machine of version \\x85, not 1": lambda: b"arm64-kvm-state \x85 1 1 1\n",
    "AttributeError": lambda: machine_with('"registers":{', '"registers":[],"others":{'),
    "ValueError: memory of": lambda: machine_with('"memory_mib":1', '"memory_mib":10000000000'),
    "OverflowError": lambda: machine_with('"memory_mib":1', '"memory_mib":Infinity'),
    "'its/GITS_CTLR' is not a name with a number": lambda: machine_with('"its":{"0x0":1', '"its":{"0x0":1.5'),
    "its extents are not those of its memory": lambda: machine_with("[[0,4096],", "[[0,8192],"),
}


@pytest.mark.parametrize("says", REFUSED)
def test_a_file_that_is_refused_is_so_in_one_line(says: str, tmp_path: Path) -> None:
    (path := tmp_path / "changed").write_bytes(REFUSED[says]())
    with pytest.raises(UsageError) as raised:
        seen.open_file(path)
    assert says in str(raised.value) and len(str(raised.value).splitlines()) == 1


def test_a_saved_machine_may_have_words_that_are_not_ascii(tmp_path: Path) -> None:
    (path := tmp_path / "changed").write_bytes(machine_with('"quiet"', '"\\ud800"'))
    shown(seen.open_file(path))


def test_a_file_may_have_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"\xff.json")
    path.write_bytes(original("state"))
    shown(seen.open_file(path))
