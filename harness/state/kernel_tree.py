"""Names and fields of system registers as a Linux source tree has them, for registers newer than our own table.

    with used(Path("~/linux").expanduser()):
        ...  # sysregs.name_of, fields_of and meaning_of prefer what the tree says

The file is arch/arm64/tools/sysreg, its grammar that of gen-sysreg.awk beside it (Linux 5.19 and later): blocks `Sysreg NAME
op0 op1 CRn CRm op2` and `SysregFields NAME` with one line for each field, highest bit first. `Fields` and `Mapping` take the
fields of another block. A `Prefix` block is the whole register in another layout, that of the feature in its name: E2H or VHE
is that with HCR_EL2.E2H, and what is outside of any prefix is preferred to the others. An unknown line is an error: a guess
would name bits wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError
from harness.state import sysregs
from harness.state.sysregs import Encoding, Field, Sign

_FILE = "arch/arm64/tools/sysreg"
_REMEDY = "name the top of a Linux source tree, 5.19 or newer"
_SIGNS = {"SignedEnum": Sign.SIGNED, "UnsignedEnum": Sign.UNSIGNED, "Enum": Sign.ENUMERATED, "Field": Sign.ENUMERATED}
_NAMELESS = ("Res0", "Res1", "Raz", "Unkn")
# Words of a line, by the first.
_WORDS = {
    **dict.fromkeys((*_NAMELESS, "SysregFields", "Fields", "Mapping", "Prefix"), 2),
    **dict.fromkeys(_SIGNS, 3),
    **dict.fromkeys(("EndSysreg", "EndSysregFields", "EndEnum", "EndPrefix"), 1),
    "Sysreg": 7,
}
_LIMITS = (3, 7, 15, 15, 7)  # of op0, op1, CRn, CRm, op2
_E2H = re.compile(r"(?<![Nn])(E2H|VHE)(?!0)")


class _Bad(Exception):
    """What is wrong with the line that is being read."""


@dataclass
class _Block:
    """A register or a layout: its fields, by prefix; the name of another that it takes them from, and where that is said."""

    name: str
    layouts: dict[str, list[Field]] = field(default_factory=dict)
    signs: dict[str, Sign] = field(default_factory=dict)
    like: str = ""
    like_at: int = 0
    must: bool = False

    def fields(self, *, e2h: bool) -> tuple[Field, ...]:
        """Return the fields in one of the two layouts; without E2H that outside of any prefix comes before the others."""
        prefixes = [prefix for prefix in sorted(self.layouts, key=bool) if bool(_E2H.search(prefix)) == e2h]
        return tuple(sorted(self.layouts[prefixes[0]], key=lambda each: each.lsb)) if prefixes else ()


@dataclass
class _Reader:
    """What was read so far, and the blocks that are open."""

    encodings: dict[Encoding, str] = field(default_factory=dict)
    blocks: dict[str, _Block] = field(default_factory=dict)
    open: list[str] = field(default_factory=list)
    block: _Block = field(default_factory=lambda: _Block(""))
    prefix: str = ""
    # Bits of the block, or of the prefix in it, that a line has described.
    described: int = 0

    def line(self, number: int, words: list[str]) -> None:
        """Read one line."""
        inside = self.open[-1] if self.open else ""
        if inside == "Enum":
            self._in_enum(words)
            return
        kind, rest = words[0], words[1:]
        if kind not in _WORDS:
            raise _Bad(f"unknown word {kind!r}")
        if len(words) != _WORDS[kind]:
            raise _Bad(f"{kind} with {len(words) - 1} words after it, not {_WORDS[kind] - 1}")
        if kind in ("Sysreg", "SysregFields"):
            self._begin(inside, kind, rest)
        elif not inside:
            raise _Bad(f"{kind} outside of a Sysreg or SysregFields block")
        elif kind.startswith("End"):
            self._end(inside, kind)
        elif kind in ("Fields", "Mapping"):
            self.block.like, self.block.like_at, self.block.must = rest[0], number, kind == "Fields"
        elif kind == "Prefix":
            self._prefix(inside, rest[0])
        else:
            self._bits(kind, rest)

    def _in_enum(self, words: list[str]) -> None:
        if words == ["EndEnum"]:
            self.open.pop()
        elif len(words) != 2 or not re.fullmatch(r"0b[01]+", words[0]):
            raise _Bad(f"a value of an enumeration is `0b… NAME`, not {' '.join(words)!r}")

    def _begin(self, inside: str, kind: str, rest: list[str]) -> None:
        if inside:
            raise _Bad(f"{kind} within the {inside} block {self.block.name}")
        self.open.append(kind)
        self.block = self.blocks[rest[0]] = _Block(rest[0])
        self.prefix, self.described = "", 0
        if kind == "Sysreg":
            if not all(text.isdecimal() and int(text) <= most for text, most in zip(rest[1:], _LIMITS, strict=True)):
                raise _Bad(f"{' '.join(rest[1:])!r} is no encoding")
            op0, op1, crn, crm, op2 = map(int, rest[1:])
            self.encodings[op0, op1, crn, crm, op2] = rest[0]

    def _prefix(self, inside: str, prefix: str) -> None:
        if inside == "Prefix":
            raise _Bad("a Prefix within a Prefix")
        self.open.append("Prefix")
        self.prefix, self.described = prefix, 0

    def _end(self, inside: str, kind: str) -> None:
        if kind != f"End{inside}":
            raise _Bad(f"{kind} in a {inside} block")
        self.open.pop()
        self.prefix = ""
        self.described = sum(each.mask for each in self.block.layouts.get("", ()))

    def _bits(self, kind: str, rest: list[str]) -> None:
        if not (match := re.fullmatch(r"(\d{1,2})(?::(\d{1,2}))?", rest[0])):
            raise _Bad(f"{rest[0]!r} are no bits")
        high, low = int(match[1]), int(match[2] or match[1])
        if not low <= high < 64:
            raise _Bad(f"{rest[0]!r} are no bits of a register")
        made = Field(rest[-1], low, high - low + 1)
        if self.described & made.mask:
            raise _Bad(f"bits {rest[0]} are described twice")
        self.described |= made.mask
        if kind not in _NAMELESS:
            self.block.layouts.setdefault(self.prefix, []).append(made)
            self.block.signs[made.name] = _SIGNS[kind]
        if kind.endswith("Enum"):
            self.open.append("Enum")

    def source(self, block: _Block) -> _Block:
        """Return the block whose fields another has. Raises _Bad where there is none."""
        seen = {block.name}
        while block.like:
            if block.like not in self.blocks:
                if block.must:
                    raise _Bad(f"there is no SysregFields block {block.like}")
                return block  # a mapping to a register that the file leaves out
            block = self.blocks[block.like]
            if block.name in seen:
                raise _Bad(f"{block.name} has the fields of itself")
            seen.add(block.name)
        return block

    def table(self) -> sysregs.Table:
        """Return all registers with what they have."""
        fields: dict[str, tuple[Field, ...]] = {}
        signs: dict[str, dict[str, Sign]] = {}
        for name in dict.fromkeys(self.encodings.values()):
            block = self.source(self.blocks[name])
            own, e2h = block.fields(e2h=False), block.fields(e2h=True)
            if own or e2h:
                fields[name], signs[name] = own or e2h, block.signs
            elif block.like and (known := sysregs.fields_of(block.like)):
                fields[name] = known
            if any(_E2H.search(prefix) for prefix in block.layouts):
                fields[f"{name}+E2H"] = e2h
        return sysregs.Table(self.encodings, fields, signs)


def read(tree: Path) -> sysregs.Table:
    """Read the registers of a Linux source tree. Raises UsageError that names the line."""
    path = tree / _FILE
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror or error}", where=str(path), remedy=_REMEDY) from None
    except UnicodeDecodeError:
        raise UsageError("it is not text", where=str(path), remedy=_REMEDY) from None
    reader, number = _Reader(), 0
    try:
        for number, line in enumerate(text.split("\n"), 1):
            if (words := line.split()) and not words[0].startswith("#"):
                reader.line(number, words)
        if reader.open:
            raise _Bad(f"the {reader.open[-1]} block of {reader.block.name} does not end")
        for block in reader.blocks.values():
            number = block.like_at
            reader.source(block)
    except _Bad as error:
        raise UsageError(str(error), where=f"{path}:{number}", remedy="see gen-sysreg.awk beside it") from None
    if not reader.encodings:
        raise UsageError("it has no Sysreg block", where=str(path), remedy=_REMEDY)
    return reader.table()


@contextmanager
def used(tree: Path | None) -> Iterator[None]:
    """Prefer the names and fields of a Linux source tree, or none, for the time of the block. Raises UsageError."""
    if tree is None:
        yield
        return
    with sysregs.preferring(read(tree)):
        yield
