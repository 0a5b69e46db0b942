"""`measured.json`: how long after CVAL each interrupt of a case came, in µs, for the plots of the report.

Beside `results.json` and no part of it: passed cases leave no bundle, and what they measured is worth a look too.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.errors import UsageError
from harness.report import results
from harness.report.files import write_text

NAME = "measured.json"
_KEY = "latency_us"

Latencies = Mapping[str, Sequence[float]]


def write(out: Path, latencies: Latencies) -> None:
    """Write `out/measured.json` in one step, by case id; raises OSError."""
    data = {_KEY: {node: [round(each, 1) for each in found] for node, found in latencies.items() if found}}
    write_text(out / NAME, json.dumps(data, ensure_ascii=False) + "\n")


def read(out: Path) -> Latencies:
    """Return what the cases of a run measured, nothing where the file is not there; raises UsageError where it is damaged."""
    path = out / NAME
    if not path.exists():
        return {}
    data = results.read_json(path)
    found = data.get(_KEY) if isinstance(data, dict) else None
    if not isinstance(found, dict) or not all(_are_numbers(values) for values in found.values()):
        raise UsageError(f"expected {_KEY!r} with a list of numbers for each case", where=str(path))
    return found


def _are_numbers(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(each, int | float) for each in values)
