"""junit.xml says of each case what a dashboard can understand."""

from __future__ import annotations

import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import Verdict
from harness.report import junit
from harness.report.model import Case
from harness.report.privacy import Redactor
from tests.report.report_samples import FAILED, LOST, PASSED, run_of, thousand


def parsed(*cases: Case) -> ET.Element:
    return ET.fromstring(junit.to_xml(run_of(*cases)))


@pytest.mark.parametrize(
    ("verdict", "element", "counter"),
    [
        (Verdict.FAIL, "failure", "failures"),
        (Verdict.FIXED, "failure", "failures"),
        (Verdict.ERROR, "error", "errors"),
        (Verdict.SKIP, "skipped", "skipped"),
        (Verdict.KNOWN, "skipped", "skipped"),
        (Verdict.BLOCKED, "skipped", "skipped"),
    ],
)
def test_each_verdict_has_its_element_and_is_counted(verdict: Verdict, element: str, counter: str) -> None:
    suite = parsed(PASSED, replace(FAILED, verdict=verdict))[0]
    end = suite.find(f"testcase/{element}")
    assert end is not None
    assert end.attrib == {"type": str(verdict), "message": LOST}
    counts = {name: suite.attrib[name] for name in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "2", "failures": "0", "errors": "0", "skipped": "0"} | {counter: "1"}


def test_a_pass_has_no_end_element() -> None:
    suite = parsed(PASSED)[0]
    assert [child.tag for case in suite.iter("testcase") for child in case] == ["properties"]


def test_attributes_are_those_of_the_schema() -> None:
    """The names that junit-10.xsd of Jenkins' xUnit plugin allows; the schema of Ant bars a time zone."""
    root = parsed(PASSED, FAILED)
    assert set(root.attrib) <= {"name", "time", "tests", "failures", "errors"}
    assert set(root[0].attrib) == {"name", "time", "tests", "failures", "errors", "skipped", "timestamp"}
    assert root[0].attrib["timestamp"] == "2026-11-20T01:02:03"
    assert [child.tag for child in root[0]] == ["properties", "testcase", "testcase"]
    assert root[0][1].attrib == {
        "classname": "scenarios.timers.test_fire",
        "name": "test_fires_once[tcg-file-cntv-armed-e2h0]",
        "time": "0.210",
    }


def test_a_case_carries_its_circumstances() -> None:
    case = parsed(replace(FAILED, bundle="bundles/x-1"))[0][1]
    properties = {item.attrib["name"]: item.attrib["value"] for item in case.iter("property")}
    assert properties == {
        "verdict": "fail",
        "platform": "tcg",
        "lifecycle": "file",
        "param.timer": "cnthp",
        "param.instant": "armed",
        "param.e2h": "0",
        "suspect": "QEMU",
        "bundle": "bundles/x-1",
        "compared.registers": "274",
        "compared.interrupts": "1",
    }
    assert case[-1].text == f"{LOST}\nbundle: bundles/x-1"


def test_what_xml_cannot_hold_is_shown_and_what_it_can_is_escaped() -> None:
    ugly = replace(FAILED, id="a.py::t[\x1b]", message="<b>\x00\ud800]]>&\nsecond", params={"t": '"<'})
    case = parsed(ugly)[0][1]
    assert case[-1].attrib["message"] == "<b>\\x00\\xd800]]>&"
    assert case[-1].text == "<b>\\x00\\xd800]]>&\nsecond"
    assert case.attrib["name"] == "t[\\x1b]"


def test_the_file_is_written_and_names_nobody(tmp_path: Path) -> None:
    case = replace(FAILED, message="cannot open /home/alice/x")
    path = junit.write(tmp_path, run_of(case), Redactor(("/home/alice",), "alice"))
    assert ET.parse(path).getroot().tag == "testsuites"
    assert "alice" not in path.read_text()


# -- by the schema


@pytest.fixture(scope="module")
def schema() -> Path:
    """junit-10.xsd, which is not ours to hand on: Jenkins' xUnit plugin has it, and pytest's source archive."""
    path = os.environ.get("HARNESS_JUNIT_XSD")
    if not path or not shutil.which("xmllint"):
        pytest.skip("no xmllint, or no schema: set HARNESS_JUNIT_XSD to testing/example_scripts/junit-10.xsd of pytest's sdist")
    return Path(path)


def complaints(schema: Path, root: ET.Element, tmp_path: Path) -> str:
    document = tmp_path / "junit.xml"
    document.write_text(ET.tostring(root, encoding="unicode"), encoding="utf-8")
    argv = ["xmllint", "--noout", "--schema", str(schema), str(document)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else ""


def test_by_the_schema_all_is_well_but_the_properties_of_cases(schema: Path, tmp_path: Path) -> None:
    root = parsed(*thousand().cases)
    for case in root.iter("testcase"):
        properties = case.find("properties")
        assert properties is not None
        case.remove(properties)
    assert complaints(schema, root, tmp_path) == ""


def test_the_schema_complains_of_what_is_wrong(schema: Path, tmp_path: Path) -> None:
    root = parsed(PASSED)
    case = root.find("testsuite/testcase")
    assert case is not None
    del case.attrib["name"]
    assert "attribute 'name' is required" in complaints(schema, root, tmp_path)
