"""What `harness new-report` does: an entry in the catalogue and a scenario that runs as it is, for somebody to change."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError

FOLDER = Path(__file__).parents[2] / "scenarios" / "reported"
_SKELETON = Path(__file__).with_name("templates") / "test_report.py.txt"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@dataclass(frozen=True)
class New:
    """What somebody knows of a report when it comes."""

    name: str
    title: str
    affected: str
    links: tuple[str, ...]


def write(report: New, folder: Path) -> Path:
    """Write the skeleton and the entry; return the skeleton. Raises UsageError, with nothing written."""
    if not _NAME.fullmatch(report.name):
        raise UsageError(f"{report.name!r} is no name for a report", remedy="write it as in el2-timer-lost")
    catalogue, test = folder / "catalogue.toml", folder / f"test_{report.name.replace('-', '_')}.py"
    try:
        text = catalogue.read_text("utf-8")
    except OSError as error:
        raise UsageError("there is no catalogue of reports", where=str(folder), remedy="run it in a checkout") from error
    if test.exists() or report.name in {entry["id"] for entry in tomllib.loads(text)["entry"]}:
        raise UsageError(f"there is a report {report.name!r} already", where=str(folder), remedy="choose another name")
    if bad := next((link for link in report.links if not re.fullmatch(r"https?://\S+", link)), None):
        raise UsageError(f"{bad!r} is no link", remedy="begin it with https://")
    catalogue.write_text(text.rstrip("\n") + "\n\n" + _entry(report), "utf-8")
    function = report.name.replace("-", "_")
    test.write_text(_SKELETON.read_text("utf-8").replace("NAME", report.name).replace("FUNCTION", function), "utf-8")
    return test


def _entry(report: New) -> str:
    """Return the entry as TOML, whose strings are JSON's."""
    fields = {"id": report.name, "title": report.title, "affected": report.affected, "links": list(report.links)}
    return "[[entry]]\n" + "".join(f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in fields.items())
