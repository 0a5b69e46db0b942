"""`kcidb.json`: the run as KernelCI's common database takes it, by its schema 5.3 (kcidb-io, kcidb_io/schema/v05_03.py).

    pass PASS   fail FAIL   error ERROR   missing MISS   skip, blocked SKIP
    known FAIL, with an incident that names the issue; fixed PASS, with an incident that says that it is absent

Each kernel under test is a build of a checkout of its own, unless the CI says which build it was: it knows where the Image
came from. Files are named only where the CI says at which address `out/` will be found, for the schema takes only addresses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from harness.errors import Suspect, UsageError, Verdict
from harness.report.files import write_text
from harness.report.model import Case, Run, flatten
from harness.report.privacy import Redactor
from harness.report.results import redacted
from harness.report.versions import Versions, of_case

NAME = "kcidb.json"
VERSION = {"major": 5, "minor": 3}
EXCERPT = 16_000
"""Characters of the excerpt of a log; the schema takes 16384."""

_STATUS = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.ERROR: "ERROR",
    Verdict.SKIP: "SKIP",
    Verdict.KNOWN: "FAIL",
    Verdict.FIXED: "PASS",
    Verdict.BLOCKED: "SKIP",
}
_EXECUTED = ("PASS", "FAIL", "ERROR")
_ORIGIN = re.compile(r"[a-z0-9_]+")
# The whole of it, as QEMU's machine `virt` writes it into the device tree (hw/arm/virt.c).
_COMPATIBLE = ["linux,dummy-virt"]

Data = dict[str, object]


@dataclass(frozen=True)
class Sender:
    """Who reports: `origin` is the CI's name there, `build` the build that it has reported already, `url` where `out/` is."""

    origin: str = "arm64_harness"
    build: str = ""
    url: str = ""

    def check(self) -> None:
        """Raise UsageError for what the schema would not take."""
        if not _ORIGIN.fullmatch(self.origin):
            raise UsageError("an origin is of small letters, digits and _", where=f"--origin {self.origin}")
        if self.build and not re.fullmatch(r"[a-z0-9_]+:[^\0]+", self.build):
            raise UsageError("the id of a build begins with an origin and a colon", where=f"--build {self.build}")
        if self.url and not re.fullmatch(r"https?://\S+", self.url):
            raise UsageError("not an address that begins with http:// or https://", where=f"--url {self.url}")


def to_kcidb(run: Run, sender: Sender, files: Mapping[str, tuple[str, ...]]) -> Data:
    """Return the run as a report. `files` are those of each bundle, by its path, relative to it. Raises UsageError."""
    sender.check()
    mark = sha256(json.dumps([run.started, str(run.provenance)]).encode("utf-8", "backslashreplace")).hexdigest()[:12]
    stamp = f"{sender.origin}:{re.sub(r'[^0-9TZ]', '', run.started)}-{mark}"
    versions = {case.id: of_case(case, run.provenance) for case in run.cases}
    kernels = {case.id: _kernel(case, versions[case.id]) for case in run.cases}
    builds = {words: sender.build or f"{stamp}-{number}" for number, words in enumerate(dict.fromkeys(kernels.values()), 1)}
    report: Data = {"version": VERSION}
    if not sender.build:
        report["checkouts"] = [{"id": name, "origin": sender.origin, "comment": words} for words, name in builds.items()]
        report["builds"] = [_build(sender, name, words, run) for words, name in builds.items()]
    ids = {case.id: f"{stamp}-{sha256(case.id.encode('utf-8', 'backslashreplace')).hexdigest()[:16]}" for case in run.cases}
    report["tests"] = [
        _test(case, sender, ids[case.id], builds[kernels[case.id]], versions[case.id], files.get(str(case.bundle), ()))
        for case in run.cases
    ]
    touched = [case for case in run.cases if case.known_issue]
    named = {str(case.known_issue): case for case in reversed(touched)}
    report["issues"] = [_issue(sender, name, case) for name, case in sorted(named.items())]
    report["incidents"] = [_incident(sender, case, ids[case.id]) for case in touched]
    return report


def write(out: Path, run: Run, sender: Sender | None = None, redactor: Redactor | None = None) -> Path:
    """Write `out/kcidb.json` in one step, without the user's name and home; raises OSError, UsageError."""
    files = {case.bundle: tuple(_files(out / case.bundle)) for case in run.cases if case.bundle}
    data = to_kcidb(redacted(run, redactor), sender or Sender(), files)
    path = out / NAME
    write_text(path, json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    return path


def _files(bundle: Path) -> Iterator[str]:
    yield from sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())


def _kernel(case: Case, versions: Versions) -> str:
    """Return the kernel under test in words, which are another build's where it is another, or not known."""
    if versions.kernel:
        return f"Linux {_text(versions.kernel)}"
    if case.platform == "tcg":
        return "no kernel is under test: guests run under emulation"
    return f"the kernel is not known here (platform {_text(case.platform)})"


def _build(sender: Sender, name: str, kernel: str, run: Run) -> Data:
    facts = {key: _text(value) for key, value in flatten(run.provenance)}
    return {
        "id": name,
        "checkout_id": name,
        "origin": sender.origin,
        "architecture": "arm64",
        "comment": kernel,
        "misc": {"provenance": facts},
    }


def _test(case: Case, sender: Sender, name: str, build: str, versions: Versions, files: tuple[str, ...]) -> Data:
    status = "MISS" if case.missing else _STATUS[case.verdict]
    emulated = case.platform in ("tcg", "lab")
    test: Data = {
        "id": name,
        "build_id": build,
        "origin": sender.origin,
        "path": _path(case),
        "status": status,
        "comment": _text(case.circumstances),
        "environment": {
            **({"compatible": _COMPATIBLE} if emulated else {}),
            "comment": _text(f"platform {case.platform}, {versions}"),
            "misc": {"platform": case.platform, "versions": vars(versions)},
        },
        "misc": {
            "node": _text(case.id),
            "verdict": case.verdict,
            "suspect": case.suspect,
            "bundle": case.bundle,
            "lifecycle": case.lifecycle,
            "params": {key: _text(value) if isinstance(value, str) else value for key, value in case.params.items()},
            "compared": vars(case.compared),
        },
    }
    if status in _EXECUTED:
        test["duration"] = case.seconds
        test["number"] = {"value": round(case.seconds * 1000, 1), "unit": "ms"}
    if case.message:
        test["log_excerpt"] = _text(case.message)[:EXCERPT]
    if sender.url and files:
        test |= _addresses(f"{sender.url.rstrip('/')}/{case.bundle}", files)
    return test


def _addresses(base: str, files: tuple[str, ...]) -> Data:
    def of(file: str) -> str:
        return f"{base}/{quote(file)}"

    others = [{"name": file.replace("/", "-"), "url": of(file)} for file in files if file != "README.txt"]
    return {"output_files": others} | ({"log_url": of("README.txt")} if "README.txt" in files else {})


def _path(case: Case) -> str:
    """Return where the case is in the tree of tests, the same whatever is under test."""
    file, _, rest = case.id.partition("::")
    name, _, circumstances = case.key.partition("::")[2].partition("[")
    parts = (case.subject, Path(file).stem, name or rest, circumstances)
    return ".".join(re.sub(r"[^A-Za-z0-9_-]+", "-", part).strip("-") or "_" for part in parts)


def _issue(sender: Sender, name: str, case: Case) -> Data:
    of_code = case.suspect in (Suspect.QEMU, Suspect.KERNEL_L0, Suspect.KERNEL_L1)
    return {
        "id": f"{sender.origin}:{_text(name)}",
        "version": 1,
        "origin": sender.origin,
        "comment": _text(f"known issue {name}: {case.message}"),
        "culprit": {"code": of_code, "tool": case.suspect is Suspect.GUEST, "harness": case.suspect is Suspect.HARNESS},
    }


def _incident(sender: Sender, case: Case, test: str) -> Data:
    return {
        "id": f"{test}-incident",
        "origin": sender.origin,
        "issue_id": f"{sender.origin}:{_text(str(case.known_issue))}",
        "issue_version": 1,
        "test_id": test,
        "present": case.verdict is Verdict.KNOWN,
    }


def _text(value: str) -> str:
    """Return a text without NUL, which the schema bars."""
    return value.replace("\0", "\\x00")
