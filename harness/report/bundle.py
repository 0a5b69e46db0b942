"""`out/bundles/<case>/`: the directory that holds all evidence of one failure and re-runs it.

    README.txt                 what went wrong, and the command that tries it again
    cover-letter.txt           for a mail to those who can mend it
    case.json                  the case, its sides, what differs, what happened when, versions, and what `harness repro` needs
    sides/NAME/                argv.txt (a line each, then for a shell), console.log, qmp.log, stderr.log
    states/NAME.json           registers, as `harness.state` writes them
    streams/NAME.gz            migration streams

It is meant to be attached to a mail: the user's name and home directory are taken out of every text. Streams hold the
guest's memory and are left as they are.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path

from harness.errors import HarnessBug
from harness.report import letter
from harness.report.evidence import Evidence, Side, Stream
from harness.report.files import copy_limited, replaced_directory
from harness.report.model import flatten
from harness.report.privacy import HOME, Redactor
from harness.report.repeats import base
from harness.report.results import case_to_data

FOLDER = "bundles"
RECORD = "case.json"
SCHEMA = 2
"""Of `case.json`; raised when what it holds changes its meaning or goes."""
STREAM_LIMIT = 32 << 20
"""Bytes of one compressed stream; a bundle should still fit into a mail or a CI's artefact store."""
NAME_LENGTH = 60
"""Characters of the readable part of a directory's name; with the digest it stays far below any file system's limit."""


def path_of(case_id: str) -> str:
    """Return the bundle's path relative to the output directory: readable, a safe file name, unique to the id."""
    test = case_id.rpartition("::")[2]
    digest = sha256(case_id.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{FOLDER}/{_safe(test)[:NAME_LENGTH]}-{digest}"


def write(out: Path, evidence: Evidence, redactor: Redactor | None = None, stream_limit: int = STREAM_LIMIT) -> str:
    """Write the bundle of a case in one step, replacing an older one; give its path relative to `out`.

    A stream that takes more than `stream_limit` bytes compressed is left out, with a note. Raises OSError, and
    HarnessBug when two parts of the evidence have one name.
    """
    redactor = redactor or Redactor.here()
    path = path_of(evidence.case.id)
    _distinct(evidence.case.id, (side.name for side in evidence.sides))
    _distinct(evidence.case.id, evidence.states)
    _distinct(evidence.case.id, (stream.name for stream in evidence.streams))
    with replaced_directory(out / path) as folder:
        for side in evidence.sides:
            _write_side(folder / "sides" / _safe(side.name), side, redactor)
        for name, state in evidence.states.items():
            data = json.loads(state) if isinstance(state, str) else state
            _write(folder / "states" / f"{_safe(name)}.json", _json(redactor.data(data)))
        streams = [_write_stream(folder / "streams", stream, stream_limit) for stream in evidence.streams]
        _write(folder / RECORD, _json(redactor.data(_record(evidence, path, streams, redactor))))
        _write(folder / "README.txt", _readme(evidence, streams, redactor))
        _write(folder / letter.NAME, redactor.text(letter.cover_letter(evidence)))
    return path


def _write_side(folder: Path, side: Side, redactor: Redactor) -> None:
    argv = [redactor.text(word) for word in side.argv]
    command = shlex.join(argv).replace(HOME, f"'\"{HOME}\"'")
    _write(folder / "argv.txt", "".join(f"{word}\n" for word in argv) + f"\n# for a shell:\n{command}\n")
    for name, text in (("console.log", side.console), ("qmp.log", side.qmp), ("stderr.log", side.stderr)):
        _write(folder / name, redactor.text(text))


def _write_stream(folder: Path, stream: Stream, limit: int) -> dict[str, object]:
    record: dict[str, object] = {"name": stream.name, "file": None, "bytes": None, "note": ""}
    if not stream.path.is_file():
        return record | {"note": "was never written"}
    folder.mkdir(exist_ok=True)
    target = folder / f"{_safe(stream.name)}.gz"
    record["bytes"] = stream.path.stat().st_size
    if copy_limited(stream.path, target, limit) is None:
        return record | {"note": f"left out: more than {limit} bytes compressed"}
    return record | {"file": f"streams/{target.name}"}


def _record(evidence: Evidence, path: str, streams: list[dict[str, object]], redactor: Redactor) -> dict[str, object]:
    sides = [
        {
            "name": side.name,
            "folder": f"sides/{_safe(side.name)}",
            "qemu_version": side.qemu_version,
            "exit_status": side.exit_status,
        }
        for side in evidence.sides
    ]
    return {
        "schema": SCHEMA,
        "case": case_to_data(evidence.case) | {"bundle": path},
        "rerun": _rerun(evidence, redactor),
        "sides": sides,
        "differences": [asdict(difference) for difference in evidence.differences],
        "steps": [asdict(step) for step in evidence.steps],
        "streams": streams,
        "provenance": dict(evidence.provenance),
        "hosts": [dict(host) for host in evidence.hosts],
        **evidence.rerun,
    }


def _rerun(evidence: Evidence, redactor: Redactor) -> str:
    """Return the command that runs the case again, where it is as its scenario has it."""
    return f"harness repro {path_of(evidence.case.id)}" if _changed(evidence) else _pytest(evidence, redactor)


def _pytest(evidence: Evidence, redactor: Redactor) -> str:
    return f"{shlex.join(['pytest', base(evidence.case.id)])} {redactor.text(shlex.join(evidence.options))}".rstrip()


def _readme(evidence: Evidence, streams: list[dict[str, object]], redactor: Redactor) -> str:
    case = evidence.case
    head = [
        case.message or f"verdict {case.verdict}",
        "",
        f"Verdict:    {case.verdict}" + (f" ({case.known_issue})" if case.known_issue else ""),
        f"Suspect:    {case.suspect or 'nobody yet'}",
        f"Platform:   {case.platform}",
        f"Case:       {case.circumstances}",
        f"Compared:   {case.compared.registers} registers, {case.compared.interrupts} interrupts",
        "",
        *_made_smaller(evidence),
        "To try it again, here or on another computer, with the harness set up:",
        "",
        "    harness repro THIS-DIRECTORY",
    ]
    lines = []
    for side in evidence.sides:
        status = "not known" if side.exit_status is None else side.exit_status
        lines += ["", f"Side {side.name}: QEMU {side.qemu_version or 'of unknown version'}, exit status {status}"]
        lines += [f"    sides/{_safe(side.name)}/: command line, console, QMP and error output"]
    for stream in streams:
        lines += ["", f"Stream {stream['name']}: {stream['file'] or stream['note']}"]
    if evidence.differences:
        lines += ["", "What differs:"]
        lines += [f"    {d.name} {d.field}: {d.before} -> {d.after}  {d.rule}".rstrip() for d in evidence.differences]
    if evidence.steps:
        lines += ["", "What happened, in seconds:"]
        lines += [f"    {step}" for step in evidence.steps]
    lines += ["", "Versions:", *(f"    {name}: {value}" for name, value in flatten(evidence.provenance))]
    clean = [*map(redactor.text, head), *_by_pytest(evidence, redactor), *map(redactor.text, lines)]
    return "\n".join(clean) + "\n"


def _by_pytest(evidence: Evidence, redactor: Redactor) -> list[str]:
    """Return the lines that say how pytest runs it, which cannot where it is otherwise than its scenario has it."""
    if _changed(evidence):
        return []
    words = "or, where the harness has the same scenarios and the same kernels and QEMUs are at hand, from its own folder:"
    return ["", words, "", f"    {_pytest(evidence, redactor)}"]


def _changed(evidence: Evidence) -> bool:
    plan = evidence.rerun.get("plan")
    changes = plan.get("changes") if isinstance(plan, Mapping) else None
    return isinstance(changes, Mapping) and any(changes.values())


def _made_smaller(evidence: Evidence) -> list[str]:
    """Return the lines that say what of the case was taken away."""
    plan = evidence.rerun.get("plan")
    dropped = plan.get("dropped") if isinstance(plan, Mapping) else None
    return ["Made smaller, and still failing:", *(f"    {words}" for words in dropped), ""] if dropped else []


def _distinct(case_id: str, names: Iterable[str]) -> None:
    safe = [_safe(name) for name in names]
    if twice := {name for name in safe if safe.count(name) > 1}:
        raise HarnessBug(f"two parts of the evidence are called {min(twice)!r}", where=case_id)


def _safe(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"


def _json(data: object) -> str:
    return json.dumps(data, indent=1, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8", "backslashreplace"))
