"""results.ktap is what the kernel's own tools read, and says of each case what they can understand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.errors import Suspect, Verdict
from harness.report import ktap
from harness.report.model import Case, lost
from harness.report.privacy import Redactor
from tests.report.report_samples import FAILED, LOST, PASSED, run_of, thousand

SKIPPED = replace(
    PASSED, id="scenarios/gic/test_spi.py::test_spi[tcg-file]", subject="gic", verdict=Verdict.SKIP, message="no GIC"
)
KNOWN = replace(FAILED, id=f"{FAILED.id[:-1]}-k]", verdict=Verdict.KNOWN, known_issue="timers-lost")
FIXED = replace(FAILED, id=f"{FAILED.id[:-1]}-f]", verdict=Verdict.FIXED, known_issue="timers-lost")
ERROR = replace(FAILED, id=f"{FAILED.id[:-1]}-e]", verdict=Verdict.ERROR, suspect=Suspect.HARNESS, message="a\nb # c")
BLOCKED = replace(FAILED, id=f"{FAILED.id[:-1]}-b]", verdict=Verdict.BLOCKED, message="nested")
EACH = (PASSED, FAILED, SKIPPED, KNOWN, FIXED, ERROR, BLOCKED, lost(replace(PASSED, id=f"{PASSED.id[:-1]}-m]"), "why"))

# What a console may put into a sentence, and what a reader of KTAP may take for something else.
UGLY = (
    "Subtest: x\nKTAP version 1\n1..3\nok 1 done",
    "not ok 1 # SKIP\r\n  ok 2",
    "reboot: System halted",
    "Kernel panic - not syncing: VFS: Unable to mount",
    "List of all partitions:",
    "- dash # SKIP # TODO",
    "\x00\x1b[31m\u2028\ud800",
    "",
)

RESULT = re.compile(
    r"(?P<ok>ok|not ok) (?P<number>\d+) (?P<name>[^#\s][^#]*?)(?: # (?P<directive>SKIP|XFAIL|ERROR)(?: (?P<why>.*))?)?"
)


@dataclass
class Level:
    """One level of KTAP, by ktap.rst: version, plan, then that many results in order, each perhaps after its own level."""

    results: list[tuple[str, str, str, Level | None]] = field(default_factory=list)


def parsed(lines: list[str], depth: int = 0) -> Level:
    """Read a level, taking its lines from the front; an AssertionError says what is not as ktap.rst has it."""
    indent = "  " * depth

    def next_line() -> str:
        while lines and re.match(rf"{indent}# (?!Subtest: )", lines[0]):
            lines.pop(0)
        assert lines and lines[0].startswith(indent), lines[:1]
        return lines[0][len(indent) :]

    assert next_line() == "KTAP version 1"
    lines.pop(0)
    while next_line().startswith("#"):
        lines.pop(0)
    plan = re.fullmatch(r"1\.\.(\d+)", next_line())
    assert plan
    lines.pop(0)
    level = Level()
    for number in range(1, int(plan[1]) + 1):
        inner = parsed(lines, depth + 1) if next_line().startswith("  ") else None
        found = RESULT.fullmatch(next_line())
        assert found, lines[0]
        assert int(found["number"]) == number
        if inner:
            assert (found["ok"] == "ok") == all(ok == "ok" for ok, *_ in inner.results), (
                "a level is not ok with something in it"
            )
        lines.pop(0)
        level.results.append((found["ok"], found["name"], found["directive"] or "", inner))
    return level


def whole(text: str) -> Level:
    lines = text.splitlines()
    level = parsed(lines)
    assert not lines
    return level


def levels(*cases: Case) -> Level:
    return whole(ktap.to_ktap(run_of(*cases)))


def leaves(level: Level) -> list[tuple[str, str, str]]:
    return [
        leaf for ok, name, directive, inner in level.results for leaf in (leaves(inner) if inner else [(ok, name, directive)])
    ]


def test_each_verdict_has_its_result() -> None:
    top = levels(*EACH)
    assert [(ok, name) for ok, name, *_ in top.results] == [("not ok", "timers"), ("ok", "gic")]
    assert top.results[1][2] == "SKIP"
    assert leaves(top) == [
        ("ok", "tcg-file-cntv-armed-e2h0", ""),
        ("not ok", "tcg-file-cnthp-armed-e2h0", ""),
        ("ok", "tcg-file-cnthp-armed-e2h0-k", "XFAIL"),
        ("not ok", "tcg-file-cnthp-armed-e2h0-f", ""),
        ("not ok", "tcg-file-cnthp-armed-e2h0-e", "ERROR"),
        ("ok", "tcg-file-cnthp-armed-e2h0-b", "SKIP"),
        ("not ok", "tcg-file-cntv-armed-e2h0-m", "ERROR"),
        ("ok", "tcg-file", "SKIP"),
    ]


def test_a_failure_is_told_before_its_result() -> None:
    lines = [line.strip() for line in ktap.to_ktap(run_of(replace(FAILED, bundle="bundles/x-1"))).splitlines()]
    at = lines.index("not ok 1 tcg-file-cnthp-armed-e2h0")
    assert lines[at - 3 : at] == [f"# fail: {LOST}", "# fail: suspect QEMU", "# fail: bundle bundles/x-1"]


@pytest.mark.parametrize("ugly", UGLY)
def test_nothing_that_is_said_is_taken_for_a_result(ugly: str) -> None:
    cases = [replace(case, message=ugly, id=f"{case.id[:-1]}{ugly}]") for case in EACH]
    assert [ok for ok, *_ in leaves(levels(*cases))] == [ok for ok, *_ in leaves(levels(*EACH))]


def test_the_grammar_check_can_fail() -> None:
    text = ktap.to_ktap(run_of(*EACH))
    for spoil in (
        ("1..2", "1..3"),
        ("not ok 1 timers", "ok 1 timers"),
        ("  ok 1 tcg", "  ok 7 tcg"),
        ("KTAP version 1\n  # S", "# S"),
    ):
        assert spoil[0] in text
        with pytest.raises(AssertionError):
            whole(text.replace(*spoil))


def test_the_file_is_written_and_names_nobody(tmp_path: Path) -> None:
    path = ktap.write(
        tmp_path, run_of(replace(FAILED, message="cannot open /home/alice/\ud800")), Redactor(("/home/alice",), "alice")
    )
    assert "alice" not in path.read_text()


# -- the kernel's own parser, run as it is, in a process of its own

PARSE = """
import json, sys
sys.path.insert(0, sys.argv[1])
import kunit_parser
class Silent:
    def __getattr__(self, name):
        return lambda text="": text
    def color_len(self):
        return 0
found = kunit_parser.parse_run_tests(sys.stdin.read().splitlines(), Silent())
def data(test):
    return {"name": test.name, "status": test.status.name, "subtests": [data(each) for each in test.subtests]}
print(json.dumps({"tree": data(found), "counts": vars(found.counts)}))
"""


@pytest.fixture(scope="session")
def kunit() -> Path:
    """The folder of kunit_parser.py in a kernel's source tree."""
    named = os.environ.get("HARNESS_KERNEL_TREE")
    trees = [Path(named)] if named else sorted(Path("/usr/src").glob("linux-source-*/"))
    folders = [tree / "tools/testing/kunit" for tree in trees]
    found = [folder for folder in folders if (folder / "kunit_parser.py").is_file()]
    if not found:
        pytest.skip("no kernel source with tools/testing/kunit: unpack Debian's linux-source and set HARNESS_KERNEL_TREE to it")
    return found[-1]


def by_the_kernel(kunit: Path, *cases: Case) -> dict[str, object]:
    text = ktap.to_ktap(run_of(*cases)).encode("utf-8", "backslashreplace").decode()
    done = subprocess.run([sys.executable, "-c", PARSE, kunit], input=text, capture_output=True, text=True, check=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def test_the_kernel_reads_each_verdict(kunit: Path) -> None:
    found = by_the_kernel(kunit, *EACH)
    # known is ok with a directive that this parser passes over; missing is not ok.
    assert found["counts"] == {"passed": 2, "failed": 4, "crashed": 0, "skipped": 2, "errors": 0}


@pytest.mark.parametrize("ugly", UGLY)
def test_the_kernel_is_not_misled(kunit: Path, ugly: str) -> None:
    cases = [replace(case, message=ugly, id=f"{case.id[:-1]}{ugly}]") for case in EACH]
    assert by_the_kernel(kunit, *cases)["counts"] == by_the_kernel(kunit, *EACH)["counts"]


def test_the_kernel_reads_a_thousand(kunit: Path) -> None:
    run = thousand()
    total = run.totals
    assert by_the_kernel(kunit, *run.cases)["counts"] == {
        "passed": total[Verdict.PASS] + total[Verdict.KNOWN],
        "failed": total[Verdict.FAIL] + total[Verdict.ERROR] + total[Verdict.FIXED],
        "skipped": total[Verdict.SKIP] + total[Verdict.BLOCKED],
        "crashed": 0,
        "errors": 0,
    }
