"""A time limit in words."""

from __future__ import annotations

import re

from harness.errors import UsageError

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
