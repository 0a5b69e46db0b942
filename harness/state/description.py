"""The JSON description at the end of a migration stream, and the reading of fields by it.

QEMU writes it in `migration/savevm.c` and `migration/vmstate.c`: each device with its fields (name, type, size of one
element in bytes, `array_len` where a run of equal elements was folded, `index` where it was not), nested structs and
subsections.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.state.cursor import Bad, Cursor

Value = int | bytes
Layout = Mapping[str, Any]
Layouts = Mapping[tuple[str, int], Layout]

_DESCRIPTION = b"\x06"
_SUBSECTION = 5
_UNSIGNED = {1: "B", 2: "H", 4: "I", 8: "Q"}
_INTEGER_TYPES = frozenset({"bool", "timer", "cpsr", "fpscr", "fpcr", "fpsr", "pstate64", "powered_off"})
_MAX_DEPTH = 16
_MAX_SIZE = 1 << 24  # bytes; 15 kB for one vCPU


@dataclass(frozen=True)
class Run:
    """Consecutive elements of one field: where they are in the stream, and what they hold.

    `size` is that of one element in bytes, `code` its `struct` format letter, empty for raw bytes. `array` says
    whether the paths carry an index.
    """

    path: str
    offset: int
    size: int
    code: str
    array: bool
    values: tuple[Value, ...]

    def items(self) -> Iterator[tuple[str, Value]]:
        """Yield each element's path and value."""
        if not self.array:
            yield self.path, self.values[0]
            return
        for index, value in enumerate(self.values):
            yield f"{self.path}[{index}]", value


def find(cursor: Cursor) -> Layouts | None:
    """Return the layout of each device from the end of the stream, or None where there is no readable description."""
    try:
        tree = json.loads(cursor.data[begin:]) if (begin := place(cursor)) is not None else {}
        return {(device["name"], device["instance_id"]): device for device in tree["devices"]}
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def place(cursor: Cursor) -> int | None:
    """Return the offset of the JSON text, which the mark and its length in 4 bytes stand before; None where there is none."""
    data, end = cursor.data, cursor.size
    lowest = max(0, end - _MAX_SIZE)
    at = data.rfind(_DESCRIPTION, lowest, end)
    while at >= 0:
        if int.from_bytes(data[at + 1 : at + 5], "big") == end - at - 5:
            return at + 5
        at = data.rfind(_DESCRIPTION, lowest, at)
    return None


def read(cursor: Cursor, layout: Layout, prefix: str, runs: list[Run], depth: int = 0) -> None:
    """Read one device or struct, and its subsections, as `layout` says; append to `runs`. Raises Bad."""
    begin = cursor.at
    if depth > _MAX_DEPTH:
        raise Bad("the description is nested too deeply", begin)
    try:
        fields = layout.get("fields", ())
        often = Counter(field["name"] for field in fields)
        seen: Counter[str] = Counter()
        for field in fields:
            path, index = f"{prefix}{field['name']}", field.get("index")
            if index is None and often[field["name"]] > 1:  # elements of an array of pointers come without an index
                index = seen[field["name"]]
                seen[field["name"]] += 1
            _field(cursor, field, path if index is None else f"{path}[{index}]", runs, depth)
        for sub in layout.get("subsections", ()):
            _subsection(cursor, sub, prefix, runs, depth)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Bad(f"the description of the devices is damaged ({type(error).__name__})", cursor.at) from None


def _field(cursor: Cursor, field: Layout, path: str, runs: list[Run], depth: int) -> None:
    size, kind, length = field["size"], field["type"], field.get("array_len")
    count = 1 if length is None else length
    if not (isinstance(size, int) and isinstance(count, int) and size >= 0 and count >= 0 and isinstance(kind, str)):
        raise Bad(f"the description of {path!r} is damaged", cursor.at)
    if not (path.isascii() and path.isprintable()):
        raise Bad(f"a name that is not text: {path!a}", cursor.at)
    if not size:
        return
    cursor.count(count, size)
    if "struct" in field:
        for n in range(count):
            begin = cursor.at
            read(cursor, field["struct"], f"{path}." if length is None else f"{path}[{n}].", runs, depth + 1)
            if cursor.at - begin != size:
                raise Bad(f"{path!r} has {cursor.at - begin} bytes, not {size}", begin)
        return
    code = _code(kind, size)
    begin = cursor.at
    values: tuple[Value, ...] = cursor.integers(code, count) if code else tuple(cursor.take(size) for _ in range(count))
    runs.append(Run(path, begin, size, code, length is not None, values))


def _code(kind: str, size: int) -> str:
    """Return the `struct` letter for an integer type, or nothing for bytes.

    `int32 le` means an upper bound, not an order of bytes.
    """
    if size not in _UNSIGNED:
        return ""
    if kind.startswith("int") or kind == "timer":
        return _UNSIGNED[size].lower()
    return _UNSIGNED[size] if kind.startswith("uint") or kind in _INTEGER_TYPES else ""


def _subsection(cursor: Cursor, sub: Layout, prefix: str, runs: list[Run], depth: int) -> None:
    begin = cursor.at
    name = sub["vmsd_name"]
    if cursor.u8() != _SUBSECTION or cursor.text(cursor.u8()) != name:
        raise Bad(f"subsection {name!r} is not where the description says", begin)
    if (version := cursor.u32()) != sub.get("version", version):
        raise Bad(f"subsection {name!r} has version {version}, and not that of its description", begin)
    read(cursor, sub, f"{prefix}{name.rpartition('/')[2]}/", runs, depth + 1)
