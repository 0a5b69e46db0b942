"""The guest protocol: what may be on a line comes through, and every other line is quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import GuestFailure
from harness.guest.protocol import KINDS, Value, parse

KEYS = st.from_regex(r"[a-z_][a-z0-9_]{0,8}", fullmatch=True).filter(lambda key: key != "text")
WORDS = st.from_regex(r"[a-z][a-z0-9_,.-]{0,8}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_characters="\n\r", exclude_categories=["Cs", "Cc", "Zl", "Zp"]))
NUMBERS = st.integers(0, 2**2048 - 1)


def written(value: Value, *, hexadecimal: bool) -> str:
    return value if isinstance(value, str) else f"{value:#x}" if hexadecimal else str(value % 10**20)


@given(
    kind=st.sampled_from(sorted(KINDS)),
    values=st.dictionaries(KEYS, NUMBERS | WORDS, max_size=6),
    text=st.none() | TEXTS,
    hexadecimal=st.booleans(),
)
def test_what_is_written_is_read(kind: str, values: dict[str, Value], text: str | None, *, hexadecimal: bool) -> None:
    words = [f"{key}={written(value, hexadecimal=hexadecimal)}" for key, value in values.items()]
    line = " ".join([f"@1 {kind}", *words, *([] if text is None else [f"text={text}"])])
    message = parse(line, side="source")
    assert message.kind == kind and message.side == "source"
    read = {key: written(value, hexadecimal=hexadecimal) for key, value in message.values.items() if key != "text"}
    assert read == {key: written(value, hexadecimal=hexadecimal) for key, value in values.items()}
    assert message.text == (text or "")


@given(st.text(max_size=40))
def test_no_line_ends_in_anything_but_a_message_or_a_quotation(line: str) -> None:
    try:
        parse(line)
    except GuestFailure as error:
        assert repr(line) in error.what  # noqa: PT017  # most examples fail, and those that do not are right too
    else:
        assert line.startswith("@1 ")


GARBAGE = [
    "",
    "hello",
    "@1",
    "@1 ",
    "@1  now",
    "@x now",
    "@1 NOW",
    "@1 dance",
    " @1 now",
    "@1 now ",
    "@1 irq cpu",
    "@1 irq cpu=",
    "@1 irq cpu=-1",
    "@1 irq cpu=0xAB",
    "@1 irq cpu=0x",
    "@1 irq cpu=1 cpu=1",
    "@1 irq cpu=1  n=2",
    "@1 irq cpu=1 n=2;",
    "@1 irq CPU=1",
    "@1 irq cpu=1 \x00\x00",
    "@1 irq cpu=1\x00",
    "\x00@1 now",
    "@1 ir@1 irq cpu=0",
    "@1 irq cpu=12a",
    "@1 hello guest=\x01",
]


@pytest.mark.parametrize("line", GARBAGE)
def test_garbage_is_quoted(line: str) -> None:
    with pytest.raises(GuestFailure) as caught:
        parse(line, side="destination")
    assert repr(line) in caught.value.what
    assert caught.value.where == "destination"


@pytest.mark.parametrize("version", ["0", "2", "11"])
def test_another_version(version: str) -> None:
    with pytest.raises(GuestFailure, match=f"speaks protocol version {version}, not 1: '@{version} now'"):
        parse(f"@{version} now")


def test_text_takes_the_rest_of_the_line() -> None:
    message = parse("@1 fail cpu=1 text=CTL is 0x1, cval=5 and text=no")
    assert message.text == "CTL is 0x1, cval=5 and text=no"
    assert dict(message.values) == {"cpu": 1, "text": message.text}


def test_values() -> None:
    message = parse("@1 timer cpu=0 timer=cntv_el02 cval=0x1f ctl=5")
    assert (message.number("cval"), message.number("ctl")) == (31, 5)
    assert (message.word("timer"), message.word("ctl"), message.word("none"), message.text) == ("cntv_el02", "5", "", "")
    for key in ("timer", "none"):
        with pytest.raises(GuestFailure, match=f"`timer` line has no number `{key}`"):
            message.number(key)
