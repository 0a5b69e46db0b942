"""`junit.xml`, which every CI dashboard reads.

JUnit knows four ends of a test. Ours map so: fail and fixed are failures (fixed because the list of known issues is no
longer true), error is an error, and skip, known and blocked are skipped, with the verdict as the type. The document
follows junit-10.xsd of Jenkins' xUnit plugin but for one thing: each case carries its parameters as properties, where
pytest's `record_property` puts them and that schema has no place for them.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

from harness.errors import Verdict
from harness.report.files import write_text
from harness.report.model import Case, Run, flatten
from harness.report.privacy import Redactor
from harness.report.results import redacted

NAME = "junit.xml"

ELEMENT = {
    Verdict.FAIL: "failure",
    Verdict.FIXED: "failure",
    Verdict.ERROR: "error",
    Verdict.SKIP: "skipped",
    Verdict.KNOWN: "skipped",
    Verdict.BLOCKED: "skipped",
}

ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 (section 2.2) has no way to write; a guest's console may say anything."""


def to_xml(run: Run) -> str:
    """Return the run as a JUnit document; times are seconds."""
    totals = run.totals
    skipped = totals[Verdict.SKIP] + totals[Verdict.KNOWN] + totals[Verdict.BLOCKED]
    common = {
        "name": "harness",
        "tests": str(len(run.cases)),
        "failures": str(totals[Verdict.FAIL] + totals[Verdict.FIXED]),
        "errors": str(totals[Verdict.ERROR]),
        "time": f"{run.seconds:.3f}",
    }
    root = ET.Element("testsuites", common)
    suite = ET.SubElement(root, "testsuite", common | {"skipped": str(skipped), "timestamp": run.started[:19]})
    _properties(suite, dict(flatten(run.provenance)))
    for case in run.cases:
        _case(suite, case)
    ET.indent(root, " ")
    return f"<?xml version='1.0' encoding='UTF-8'?>\n{ET.tostring(root, encoding='unicode')}\n"


def write(out: Path, run: Run, redactor: Redactor | None = None) -> Path:
    """Write `out/junit.xml` in one step, without the user's name and home; raises OSError."""
    path = out / NAME
    write_text(path, to_xml(redacted(run, redactor)))
    return path


def _case(suite: ET.Element, case: Case) -> None:
    file, _, name = case.id.partition("::")
    element = ET.SubElement(
        suite,
        "testcase",
        {
            "classname": file.removesuffix(".py").replace("/", ".") or case.subject,
            "name": _legal(name or case.id),
            "time": f"{case.seconds:.3f}",
        },
    )
    facts = {
        "verdict": case.verdict,
        "platform": case.platform,
        "lifecycle": case.lifecycle,
        **{f"param.{name}": value for name, value in case.params.items()},
        "known_issue": case.known_issue,
        "suspect": case.suspect,
        "bundle": case.bundle,
        "compared.registers": case.compared.registers,
        "compared.interrupts": case.compared.interrupts,
    }
    _properties(element, {name: str(value) for name, value in facts.items() if value is not None})
    if case.verdict in ELEMENT:
        message = _legal(case.message)
        first = message.partition("\n")[0] or str(case.verdict)
        end = ET.SubElement(element, ELEMENT[case.verdict], {"type": case.verdict, "message": first})
        end.text = "\n".join(filter(None, [message, case.bundle and f"bundle: {case.bundle}"]))


def _properties(parent: ET.Element, values: dict[str, str]) -> None:
    if not values:
        return
    holder = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(holder, "property", {"name": _legal(name), "value": _legal(value)})


def _legal(text: str) -> str:
    return ILLEGAL.sub(lambda found: f"\\x{ord(found.group()):02x}", text)
