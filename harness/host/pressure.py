"""How long something on this computer has waited for a CPU, by the kernel's own account."""

from __future__ import annotations

import re
from pathlib import Path

_CPU = Path("/proc/pressure/cpu")


def stalled() -> float:
    """Return for how many seconds since it was started at least one thread of this computer wanted a CPU and had none.

    By the first line of /proc/pressure/cpu, `some … total=` in µs (Documentation/accounting/psi.rst); 0 where there is none.
    """
    try:
        text = _CPU.read_text("ascii")
    except OSError:
        return 0.0
    found = re.match(r"some .*\btotal=(\d+)", text)
    return int(found[1]) / 1e6 if found else 0.0
