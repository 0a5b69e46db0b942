"""`harness known add`: a new entry for the list of known issues, from a bundle.

A new entry is as narrow as can be: the case's own parameters, the release it was seen on, its own sentence with the numbers
left open. Whoever adds it says why; whoever wants it wider edits the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import Suspect, UsageError, Verdict
from harness.report import known, results, sentences
from harness.report.files import write_text
from harness.report.model import FOUND, UNDER_TEST, Case, Scalar
from harness.report.versions import Versions, of_case

_KERNELS = (Suspect.KERNEL_L0, Suspect.KERNEL_L1)


@dataclass(frozen=True)
class Proposal:
    """An entry, as text to append to the file."""

    id: str
    text: str


def propose(bundle: Path, name: str, reason: str) -> tuple[Proposal, Case, Versions]:
    """Return an entry for a bundle's failure, with its case and versions. Raises UsageError where it cannot have one."""
    where = str(bundle / "case.json")
    record = results.read_json(bundle / "case.json")
    if not isinstance(record, dict) or not {"case", "sides", "provenance"} <= record.keys():
        raise UsageError("is not the record of a bundle", where=where, remedy="name a directory of out/bundles")
    case = results.case_from_data(record["case"], where)
    if case.verdict is not Verdict.FAIL:
        raise UsageError(f"its verdict is {case.verdict}; only what fails can be known", where=where)
    versions = _versions(case, record)
    if not (versions.qemu or versions.kernel):
        raise UsageError("it does not say which QEMU or kernel it failed on", where=where)
    text = _entry(case, versions, name, reason, bundle.resolve().name, str(record["provenance"].get("harness", "")))
    return Proposal(name, text), case, versions


def add(path: Path, proposal: Proposal, case: Case, versions: Versions) -> None:
    """Append the entry to the list at `path`, keeping all that is there.

    Raises UsageError where the list has one of that name or knows the failure already, or the entry would not excuse it.
    """
    given = (versions.qemu, versions.kernel, versions.dst_qemu, versions.dst_kernel)
    before = known.load(path)
    if proposal.id in {issue.id for issue in before.issues}:
        raise UsageError(f"there is an entry {proposal.id!r} already", where=str(path), remedy="choose another --id")
    judged = before.judge(case, *given)
    if judged.verdict is Verdict.KNOWN:
        raise UsageError(f"the entry {judged.known_issue!r} excuses it already", where=str(path))
    text = path.read_text("utf-8").rstrip("\n") + "\n\n" + proposal.text
    fresh = known.parsed(text, str(path))
    if fresh.judge(case, *given).known_issue != proposal.id:
        raise UsageError("the entry would not excuse its own failure", where=str(path), remedy="write it by hand")
    write_text(path, text)


def _versions(case: Case, record: Mapping[str, object]) -> Versions:
    """Return what the case ran on: QEMU as the sides say themselves, the kernel as its host does, or the run's provenance."""
    provenance = record["provenance"]
    general = of_case(case, provenance if isinstance(provenance, dict) else {})
    sides, hosts = _tables(record, "sides"), _tables(record, "hosts")
    here = Versions(
        str(sides[0].get("qemu_version") or general.qemu) if sides else general.qemu,
        str(hosts[0].get("kernel", "")) if hosts else general.kernel,
    )
    if len(hosts) < 2:
        return here
    there = [str(side.get("qemu_version") or "") for side in sides if str(side.get("name")).startswith("destination")]
    return replace(here, dst_qemu=there[0] if there else "", dst_kernel=str(hosts[1].get("kernel", "")))


def _tables(record: Mapping[str, object], name: str) -> list[dict[str, object]]:
    found = record.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _entry(case: Case, versions: Versions, name: str, reason: str, bundle: str, harness: str) -> str:
    core = sentences.core(case.message)
    kernel = versions.kernel if case.suspect in _KERNELS or not versions.qemu else ""
    subject, version = ("kernel", kernel) if kernel else ("qemu", versions.qemu)
    release = known.parse_version(version)
    params = {key: value for key, value in case.params.items() if key not in (*UNDER_TEST, *FOUND)}
    values: dict[str, Scalar] = {"subject": case.subject, "platform": case.platform, "lifecycle": case.lifecycle, **params}
    suspected = f"; suspect {case.suspect}"
    # To the end of the sentence: another register that differs as well is told there.
    end = f"{sentences.escaped(suspected)}$" if case.message.endswith(suspected) else ""
    lines = [
        "[[issue]]",
        f"id = {_string(name)}",
        f"what = {_string(core)}",
        f"suspect = {_string(str(case.suspect or Suspect.QEMU))}",
        f"{subject} = {_string(f'=={release.major}.{release.minor}.*')}",
        f"seen = [{_string(release.public)}]",
        f"message = {_string(sentences.pattern(core) + end)}",
        f"reason = {_string(reason)}",
        f"evidence = {_string(f'bundle {bundle}' + (f', harness {harness}' if harness else ''))}",
        "",
        "[issue.when]",
        *(f"{_key(key)} = [{_value(value)}]" for key, value in values.items() if value is not None),
    ]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _value(value: Scalar) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return _string(value) if isinstance(value, str) else str(value)


def _string(text: str) -> str:
    """Return a TOML string: literal where it may be, which keeps regular expressions readable."""
    if "'" not in text and text.isprintable():
        return f"'{text}'"
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 32 or ord(c) == 127 else f"\\{c}" if c in '"\\' else c for c in text)
    return f'"{escaped}"'
