"""A saved guest whose file was cut off or has a byte flipped, in any section: it is refused, and goes on where it was saved.

What is not refused must be harmless: every register that the stream holds is compared, and the guest has its say. A stream
has no checksum, so a flip in the contents of a device or a page is neither (known issue qemu-stream-without-checksum).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.faults import census
from harness.guest.payload import Guest
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from harness.state import ram
from harness.state.model import State
from harness.state.stream import Stream, decode
from scenarios.faults.survivors import arrange, judge, machine_of, new_passage, refuses
from scenarios.faults.ways import FILES

RAM_BASE = 0x40000000  # of the virt machine (hw/arm/virt.c)
PAGE_BYTES = 4096

# Bytes from the beginning of a section's head, whose name has `n` bytes: type, id, length and name, instance, version.
HEAD: Mapping[str, Callable[[int], int]] = {
    "type": lambda _: 0,
    "id": lambda _: 4,
    "name": lambda n: 5 + n,
    "instance": lambda n: 6 + n + 3,
    "version": lambda n: 10 + n + 3,
}
PARTS = (*HEAD, "content", "footer")
# `ram` is the section with its pages; the description is no section, and QEMU does not read it.
CONTENT = {
    "arm_gicv3": "gicd_irouter[100]",
    "timer": "cpu_clock_offset",
    "cpu": "vfp/env.vfp.zregs[9].d[0]",
    "pl011": "read_fifo[8]",
    "globalstate": "runstate",
}
"""A field of each device, and for `ram` a page of the payload `memory`: what is hit by a flip in the content."""
SECTIONS = ("ram", "arm_gicv3", "timer", "cpu", "pl011", "globalstate")
OTHERS = ("magic", "version-of-stream", "machine", "end-mark", "description")


def exists(row: Row) -> bool:
    """Say whether there is such a place: what is no section has no parts, and pages come without a name."""
    place, part, way = row.get("place"), row.get("part"), row.get("lifecycle")
    if place in OTHERS:
        return part in (None, "content")
    if place == "ram" and part == "content":
        # With mapped-ram its pages lie elsewhere, and only one guest looks at every page of its own.
        return way != "file-mapped-ram" and row.get("guest") in (None, "memory")
    return not (place == "ram" and part in ("name", "instance", "version"))


# What nothing guards.
CONTENTS = [
    {"lifecycle": way, "damage": "flipped", "place": place, "part": "content", "guest": guest, "vcpus": 1, "cpu": "cortex-a57"}
    for way in FILES
    for place in SECTIONS
    for guest in ("memory", "expired-masked")
]

MATRIX = Matrix(
    {
        "lifecycle": tuple(FILES),
        "damage": ("cut", "flipped"),
        "place": (*SECTIONS, *OTHERS),
        "part": PARTS,
        "guest": ("memory", "expired-masked"),
        "vcpus": (1, 2),
        "cpu": ("cortex-a57", "max"),
    },
    valid=exists,
    also=[row for row in CONTENTS if exists(row)],
    platforms=("tcg",),
)


@pytest.mark.matrix(MATRIX)
def test_damaged_guest_is_refused_or_unharmed(case: Params, trial: Trial) -> None:
    guest = arrange(trial, case.guest)
    source = machine_of(guest)
    passage = new_passage(trial)
    source.stop()
    saved = passage.save(source, "stream", *FILES[case.lifecycle])
    before = decode(saved.here())
    damage(saved.here(), case["damage"], place(case, guest, before, saved.here()))
    destination = passage.twin()
    if refuses(passage, destination, saved.path, *FILES[case.lifecycle]):
        census.count(guest, trial.machines).lost()
        source.cont()
    else:
        again = passage.save(destination, "again", *FILES[case.lifecycle])
        passage.compare(State.from_stream(before), State.from_stream(decode(again.here())))
        trial.compare(passage)
        destination.cont()
    side = "source" if source.status() == "running" else "destination"
    judge(trial, census.count(guest, trial.machines).one(side))


def damage(stream: Path, how: str, offset: int) -> None:
    """Cut a file off before a byte, or invert that byte; with mapped-ram it is too large, and too empty, to be copied."""
    if how == "cut":
        os.truncate(stream, offset)
        return
    with stream.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0xFF]))


def place(case: Row, guest: Guest, stream: Stream, path: Path) -> int:
    """Return the offset of the byte that the case is about."""
    last = stream.sections[-1]
    end_mark = last.offset + last.size + 5
    others = {"magic": 1, "version-of-stream": 7, "machine": 15, "end-mark": end_mark, "description": end_mark + 100}
    name, part = case["place"], case["part"]
    if name in others:
        return others[name]
    section = next(each for each in stream.sections if each.name == name and each.kind != "start")
    if part in HEAD:
        return section.offset + HEAD[part](len(name))
    if part == "footer":
        return section.offset + section.size
    return page(guest, path) if name == "ram" else field(stream, name, CONTENT[name])


def field(stream: Stream, device: str, path: str) -> int:
    """Return the offset of a field's second byte."""
    runs = ((run, n, name) for run in stream.devices[device].runs for n, (name, _) in enumerate(run.items()))
    return next(run.offset + n * run.size for run, n, name in runs if name == path) + 1


def page(guest: Guest, path: Path) -> int:
    """Return the offset of a byte in the middle of the second page of nodes of the payload `memory`."""
    address = guest.of_kind("arranged")[0].number("base") - RAM_BASE + PAGE_BYTES
    head = (address | ram.PAGE | ram.CONTINUE).to_bytes(8, "big")
    data = path.read_bytes()
    assert data.count(head) == 1
    return data.index(head) + len(head) + PAGE_BYTES // 2
