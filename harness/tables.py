"""What a TOML file may say: a key that nobody knows is one clear line, with what was perhaps meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from difflib import get_close_matches

from harness.errors import UsageError


def only(table: Mapping[str, object], keys: Collection[str], where: str) -> None:
    """Raise UsageError naming the first key of a table that is not among `keys`."""
    for key in table:
        if key not in keys:
            raise UsageError(f"unknown key {key!r}", where=where, remedy=meant(key, keys))


def meant(word: str, choices: Collection[str]) -> str:
    """Return what to do about a word that is none of the choices."""
    close = get_close_matches(word, list(choices), n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(choices)}"
