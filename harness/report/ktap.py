"""`results.ktap`: the run in the kernel's own test format, for tools that read kselftest and KUnit.

Source: Documentation/dev-tools/ktap.rst. Three levels: subject, test, case. `ok` are pass and, with a directive, skip and
blocked (SKIP) and known (XFAIL, as kselftest has it); `not ok` are fail and fixed, and error with the directive ERROR, which a
missing case has too. A level is `not ok` when something in it is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from harness.errors import Verdict
from harness.report.files import write_text
from harness.report.model import BROKEN, Case, Run, flatten
from harness.report.privacy import Redactor
from harness.report.results import redacted

NAME = "results.ktap"

_UNTRIED = (Verdict.SKIP, Verdict.BLOCKED)
# Where tools/testing/kunit/kunit_parser.py takes the kernel's output to end, wherever in a line it stands.
_ENDS = re.compile(r"List of all partitions:|Kernel panic - not syncing: VFS:|reboot: System halted")


def to_ktap(run: Run) -> str:
    """Return the run as KTAP, version 1."""
    subjects = _grouped(run.cases, lambda case: case.subject)
    lines = ["KTAP version 1", *(f"# {_line(f'{name}: {value}')}" for name, value in flatten(run.provenance))]
    lines.append(f"1..{len(subjects)}")
    for number, (subject, cases) in enumerate(subjects, 1):
        tests = _grouped(cases, _test_of)
        lines += _level(subject, len(tests))
        for at, (test, own) in enumerate(tests, 1):
            lines += _indented(_level(test, len(own)))
            for index, case in enumerate(own, 1):
                lines += _indented(_indented(_case(index, case)))
            lines += _indented([_summary(at, test, own)])
        lines.append(_summary(number, subject, cases))
    return "\n".join(lines) + "\n"


def write(out: Path, run: Run, redactor: Redactor | None = None) -> Path:
    """Write `out/results.ktap` in one step, without the user's name and home; raises OSError."""
    path = out / NAME
    write_text(path, to_ktap(redacted(run, redactor)))
    return path


def _grouped(cases: Sequence[Case], name_of: Callable[[Case], str]) -> list[tuple[str, list[Case]]]:
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(name_of(case), []).append(case)
    return list(groups.items())


def _test_of(case: Case) -> str:
    """Return file and function: with a dot, so that no level has the name of the one above, where its end would be seen."""
    file, _, rest = case.id.partition("::")
    return f"{Path(file).stem}.{rest.partition('[')[0].replace('::', '.') or 'test'}"


def _level(name: str, count: int) -> list[str]:
    return _indented(["KTAP version 1", f"# Subtest: {_name(name)}", f"1..{count}"])


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def _case(number: int, case: Case) -> Iterator[str]:
    ok = "not ok" if case.verdict in BROKEN else "ok"
    if case.verdict in BROKEN:
        told = [*case.message.splitlines(), f"suspect {case.suspect}", case.bundle and f"bundle {case.bundle}"]
        yield from (f"# {case.verdict}: {_line(text)}" for text in told if text)
    line = f"{ok} {number} {_name(case.id.partition('[')[2].removesuffix(']') or 'case')}"
    said = _line(case.message).replace("# ", "#")  # parsers look for ` # SKIP` anywhere in the line
    match case.verdict:
        case Verdict.SKIP | Verdict.BLOCKED:
            yield f"{line} # SKIP {said}".rstrip()
        case Verdict.KNOWN:
            yield f"{line} # XFAIL {case.known_issue}: {said}".rstrip()
        case Verdict.ERROR:
            yield f"{line} # ERROR {said}".rstrip()
        case _:
            yield line


def _summary(number: int, name: str, cases: Sequence[Case]) -> str:
    ok = "not ok" if any(case.verdict in BROKEN for case in cases) else "ok"
    skipped = " # SKIP" if all(case.verdict in _UNTRIED for case in cases) else ""
    return f"{ok} {number} {_name(name)}{skipped}"


def _name(text: str) -> str:
    """Return a description: anything but a hash sign and line ends, and without the dash that parsers take off its front."""
    return _line(text).replace("#", "_").lstrip("-: ") or "_"


def _line(text: str) -> str:
    """Return a text in one line that ends no report."""
    flat = " ".join(re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).split())
    return _ENDS.sub(lambda found: found[0].replace(": ", ":").replace("of all", "of  all"), flat)
