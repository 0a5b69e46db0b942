"""The decoder: golden streams, streams made by hand, and streams cut or damaged anywhere."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.errors import Suspect
from harness.state import edit
from harness.state.model import State
from harness.state.stream import Stream, StreamError, decode

Golden = Callable[[str], bytes]
SLOW = settings(max_examples=150)
PAGE = 4096


def _name(name: str) -> bytes:
    return bytes([len(name)]) + name.encode()


def _section(kind: int, number: int, name: str, body: bytes, version: int = 1) -> bytes:
    head = _name(name) + struct.pack(">II", 0, version) if kind in (1, 4) else b""
    return bytes([kind]) + struct.pack(">I", number) + head + body + b"\x7e" + struct.pack(">I", number)


def _description(devices: Sequence[object]) -> bytes:
    text = json.dumps({"page_size": PAGE, "devices": devices}).encode()
    return b"\x00\x06" + struct.pack(">I", len(text)) + text


def _start(*capabilities: str) -> bytes:
    data = b"QEVM" + struct.pack(">I", 3) + b"\x07" + struct.pack(">I", 4) + b"virt"
    data += b"\x05" + _name("configuration/target-page-bits") + struct.pack(">II", 1, 12)
    if capabilities:
        data += b"\x05" + _name("configuration/capabilities") + struct.pack(">II", 1, len(capabilities))
        data += b"".join(map(_name, capabilities))
    return data


DEVICE: dict[str, object] = {
    "name": "dev",
    "instance_id": 0,
    "fields": [
        {"name": "word", "type": "uint32", "size": 4},
        {"name": "deadline", "type": "timer", "size": 8},
        {"name": "bytes", "type": "buffer", "size": 2},
        {"name": "many", "type": "uint16", "size": 2, "array_len": 3},
        {"name": "none", "type": "uint32", "size": 0, "array_len": 5},
        {
            "name": "cpu",
            "index": 0,
            "type": "struct",
            "size": 2,
            "struct": {"fields": [{"name": "a", "type": "uint8", "size": 2}]},
        },
        {
            "name": "cpu",
            "index": 1,
            "type": "struct",
            "size": 1,
            "struct": {"fields": [{"name": "a", "type": "bool", "size": 1}]},
        },
    ],
    "subsections": [{"vmsd_name": "dev/more", "version": 1, "fields": [{"name": "x", "type": "int8", "size": 1}]}],
}
BODY = (
    struct.pack(">Iq", 7, -1)
    + b"ab"
    + struct.pack(">3H", 1, 2, 3)
    + b"\x01\x02"
    + b"\x01"
    + b"\x05"
    + _name("dev/more")
    + struct.pack(">I", 1)
    + b"\xfe"
)
SMALL = _start() + _section(4, 2, "dev", BODY) + _description([DEVICE])


def _ram() -> bytes:
    """Every record a plain stream may have, in one setup and one end section."""
    blocks = _name("ram0") + struct.pack(">Q", 4 * PAGE) + _name("ram1") + struct.pack(">Q", PAGE)
    setup = struct.pack(">Q", 5 * PAGE | 0x04) + blocks + struct.pack(">QQ", 0x200, 0x10)
    pages = struct.pack(">Q", 0x02) + _name("ram0") + b"\0"
    pages += struct.pack(">Q", PAGE | 0x22) + b"\0" + struct.pack(">Q", 2 * PAGE | 0x28) + b"\x10" * PAGE
    pages += struct.pack(">Q", 3 * PAGE | 0x60) + b"\x01" + struct.pack(">H", 3) + b"xyz"
    pages += struct.pack(">Q", 0x08) + _name("ram1") + b"\xff" * PAGE + struct.pack(">Q", 0x10)
    return _section(1, 1, "ram", setup) + _section(3, 1, "ram", pages)


def _read(data: bytes) -> Stream:
    """Decode, or return what a StreamError kept; any other error ends the test."""
    try:
        return decode(data)
    except StreamError as error:
        caught = error
    assert 0 <= caught.offset <= len(data)
    return caught.partial


def test_golden_max(golden: Golden) -> None:
    stream = decode(golden("max-saved"))
    assert stream.machine == "virt-11.1"
    assert stream.ram["mach-virt.ram"] == 32 << 20
    assert stream.sections[0].name == "ram" and stream.sections[-1].name == "globalstate"
    fields = stream.devices["cpu"].fields
    assert fields["cpreg_vmstate_array_len"] == 414
    assert fields["gt_timer[GTIMER_VIRT]"] == 2**63 - 1
    assert stream.devices["arm_gicv3"].fields["cpu[1].gicr_ctlr"] == 2
    assert "cpu#1" in stream.devices


def test_file_and_bytes_agree(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "stream"
    path.write_bytes(golden("cortex-a57-saved"))
    assert decode(path) == decode(golden("cortex-a57-saved"))


def test_fields_by_description() -> None:
    assert dict(decode(SMALL).devices["dev"].fields) == {
        "word": 7, "deadline": -1, "bytes": b"ab", "many[0]": 1, "many[1]": 2, "many[2]": 3,
        "cpu[0].a": 0x0102, "cpu[1].a": 1, "more/x": -2,
    }  # fmt: skip


def test_ram_is_stepped_over() -> None:
    stream = decode(_start() + _ram() + _section(4, 2, "dev", BODY) + _description([DEVICE]))
    assert dict(stream.ram) == {"ram0": 4 * PAGE, "ram1": PAGE}
    assert [section.kind for section in stream.sections] == ["start", "end", "full"]


def test_mapped_ram() -> None:
    start = _start("mapped-ram")
    at = len(start) + 1 + 4 + 4 + 8 + 8 + 5 + 8  # section head, total, name, size
    pages = 2 * PAGE
    setup = struct.pack(">Q", 3 * PAGE | 0x04) + _name("ram0") + struct.pack(">Q", 3 * PAGE)
    setup += struct.pack(">IQQQ", 1, PAGE, at + 28, pages)
    setup += bytes(pages - at - 28) + b"\x7e" * (3 * PAGE) + struct.pack(">Q", 0x10)
    data = start + _section(1, 1, "ram", setup) + _section(4, 2, "dev", BODY) + _description([DEVICE])
    stream = decode(data)
    assert stream.capabilities == ("mapped-ram",)
    assert dict(stream.ram) == {"ram0": 3 * PAGE}
    assert stream.devices["dev"].fields["word"] == 7


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "empty"),
        (b"\x7fELF\x02\x01\x01", "ELF"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"GARBAGE!", "QEVM"),
        (b"QEVM\x00\x00\x00\x02", "version 2"),
        (b"QE", "cut off"),
        (_start() + b"\x33", "unknown section type 0x33"),
        (SMALL[:-1], "cut off"),
        (SMALL + b"x", "bytes after the description"),
        (_start() + _section(4, 2, "dev", BODY) + b"\x00", "no description"),
        (_start() + _section(4, 2, "dev", BODY) + b"\x00\x06\x00\x00\x00\x01{", "damaged"),
        (_start() + _section(4, 2, "other", BODY) + _description([DEVICE]), "does not know device 'other'"),
        (_start() + _section(4, 2, "dev", BODY + b"\x00") + _description([DEVICE]), "no footer"),
        (_start() + _section(2, 9, "dev", b"") + _description([DEVICE]), "never started"),
    ],
)
def test_refused_in_words(data: bytes, text: str) -> None:
    with pytest.raises(StreamError, match=text) as caught:
        decode(data)
    assert caught.value.suspect is Suspect.QEMU
    assert 0 <= caught.value.offset <= len(data)


def test_small_stream_cut_at_every_byte() -> None:
    data = _start() + _ram() + _section(4, 2, "dev", BODY) + _description([DEVICE])
    for end in [*range(300), *range(len(data) - 1200, len(data))]:
        with pytest.raises(StreamError) as caught:
            decode(data[:end])
        assert caught.value.offset <= end


def test_cut_names_the_section_and_keeps_the_rest(golden: Golden) -> None:
    data = golden("max-saved")
    for section in decode(data).sections:
        with pytest.raises(StreamError) as caught:
            decode(edit.cut(data, section.offset + section.size - 1))
        assert caught.value.section.partition("#")[0] == section.name
        assert caught.value.partial.machine == "virt-11.1"


def test_damage_keeps_the_devices_before_it(golden: Golden) -> None:
    data = golden("max-saved")
    cpu = next(section for section in decode(data).sections if section.name == "cpu" and section.instance == 0)
    with pytest.raises(StreamError, match="no footer") as caught:
        decode(edit.flip_byte(data, cpu.offset + cpu.size))
    partial = State.from_stream(caught.value.partial)
    assert partial.registers["cpu0/CNTV_CTL_EL0"] == 5
    assert "cpu1/PC" not in partial.registers


@SLOW
@given(share=st.floats(0, 1, exclude_max=True), from_end=st.booleans())
def test_cut_anywhere(golden: Golden, share: float, from_end: bool) -> None:
    data = golden("cortex-a57-saved")
    end = len(data) - 1 - int(share * 40000) if from_end else int(share * len(data))
    with pytest.raises(StreamError) as caught:
        decode(data[:end])
    assert caught.value.offset <= end
    State.from_stream(caught.value.partial)


@SLOW
@given(where=st.lists(st.tuples(st.integers(1, 45000), st.integers(1, 255)), min_size=1, max_size=6))
def test_damaged_anywhere(golden: Golden, where: list[tuple[int, int]]) -> None:
    """The devices and the description are in the last 45 kB; a damaged stream decodes or is refused, nothing else."""
    data = bytearray(golden("cortex-a57-saved"))
    for back, bits in where:
        data[-back] ^= bits
    State.from_stream(_read(bytes(data)))


@SLOW
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_noise(noise: bytes, more: bytes) -> None:
    for data in (
        noise,
        _start() + noise,
        SMALL[:40] + noise + SMALL[40:],
        _start("mapped-ram") + b"\x01\0\0\0\1\x03ram" + noise + more,
    ):
        _read(data)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**70)
    | st.floats()
    | st.sampled_from(["word", "uint32", "struct", "dev/more", "buffer"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "type", "size", "array_len", "index", "struct", "fields", "subsections", "vmsd_name"]),
            inner,
        )
    ),
    max_leaves=30,
)


@SLOW
@given(JSON)
def test_any_description(layout: object) -> None:
    device = {**DEVICE, **layout} if isinstance(layout, dict) else layout
    for devices in ([device], [{**DEVICE, "fields": layout}], [{**DEVICE, "subsections": layout}]):
        _read(_start() + _section(4, 2, "dev", BODY) + _description(devices))


def test_sparse_file_costs_no_memory(tmp_path: Path) -> None:
    """A mapped-ram file with a block of 8 GiB of holes: the decoder must not read it."""
    path = tmp_path / "big"
    start = _start("mapped-ram")
    size, pages = 8 << 30, 1 << 20
    at = len(start) + 1 + 4 + 4 + 8 + 8 + 5 + 8
    setup = (
        struct.pack(">Q", size | 0x04) + _name("ram0") + struct.pack(">Q", size) + struct.pack(">IQQQ", 1, PAGE, at + 28, pages)
    )
    head = start + b"\x01" + struct.pack(">I", 1) + _name("ram") + struct.pack(">II", 0, 4) + setup
    tail = struct.pack(">Q", 0x10) + b"\x7e" + struct.pack(">I", 1) + _section(4, 2, "dev", BODY) + _description([DEVICE])
    with path.open("wb") as file:
        file.write(head)
        os.truncate(path, pages + size)
        file.seek(pages + size)
        file.write(tail)
    assert decode(path).devices["dev"].fields["word"] == 7
