"""A time limit in words."""

from __future__ import annotations

import re

from harness.errors import UsageError

GRACE_SECONDS = 120.0
"""How long after the limit a case may still run: longer than any by TCG, and than most in a lab take."""

_PARTS = re.compile("(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?")


def seconds_of(text: str) -> float:
    """Return the seconds that `2h`, `90m`, `1h30m`, `45s` or a bare number of seconds says. Raises UsageError."""
    if text.isascii() and text.isdigit():
        return float(text)
    found = _PARTS.fullmatch(text)
    if not text or found is None:
        raise UsageError(
            f"{text!r} is no time", where="--time-limit", remedy="say hours, minutes or seconds: 2h, 1h30m, 90m, 45s"
        )
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return float(hours * 3600 + minutes * 60 + seconds)


def words_of(seconds: float) -> str:
    """Return a time in the words that `seconds_of` reads, in whole seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if count]
    return "".join(parts) or "0"
