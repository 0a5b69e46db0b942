"""`cover-letter.txt`: what one writes to those who can mend it, ready to be pasted into a mail. Pure."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import PurePath

from harness.report.evidence import Evidence
from harness.state.sysregs import fields_of

NAME = "cover-letter.txt"
_WIDTH = 76
_SUBJECT = 100
"""Characters of a subject that mail programs still show."""
_DIFFERENCES = 20
_CLOSING = """\
The directory holds the command lines of all machines, their consoles, QMP
and error output, all registers that were looked at, and the migration
streams; README.txt in it says what happened when."""

# What a reader of a report about virtual machines asks for first: fields of ID registers.
_ASKED = (
    ("ID_AA64MMFR0_EL1", ("ECV", "TGran4", "TGran16", "TGran64")),
    ("ID_AA64MMFR1_EL1", ("VH", "XNX")),
    ("ID_AA64MMFR2_EL1", ("NV",)),
    ("ID_AA64MMFR4_EL1", ("E2H0", "NV_frac")),
    ("ID_AA64PFR0_EL1", ("EL2", "RAS", "SVE", "GIC")),
    ("ID_AA64PFR1_EL1", ("SME", "MTE")),
)
# As git describe writes it into a version of a kernel or of QEMU.
_COMMIT = re.compile(r"-g([0-9a-f]{7,40})\b")


def cover_letter(evidence: Evidence) -> str:
    """Return the letter: what happened, on what, and how to see it again. Names and paths of persons are still in it."""
    case = evidence.case
    failure = evidence.rerun.get("failure")
    words = str(failure["words"]) if isinstance(failure, Mapping) and failure.get("words") else case.message
    paragraphs = [
        f"Subject: {_short(f'{case.subject} through {case.lifecycle}: {words}')}",
        "A test of arm64 virtual machines that get interrupted fails.",
        "What happened:",
        _wrapped(case.message or f"verdict {case.verdict}"),
        *_differences(evidence),
        "What it ran on:",
        "\n".join(_entry(name, text) for name, text in _circumstances(evidence)),
        "How to see it again, with the harness and the directory that is attached:",
        "    harness repro DIRECTORY",
        *_needs(evidence),
        _CLOSING,
    ]
    return "\n\n".join(paragraphs) + "\n"


def _circumstances(evidence: Evidence) -> Iterator[tuple[str, str]]:
    case = evidence.case
    yield "case", case.circumstances
    yield "suspect", str(case.suspect or "nobody yet")
    inputs = evidence.rerun.get("inputs")
    for name, each in inputs.items() if isinstance(inputs, Mapping) else ():
        origin = str(each["origin"])
        where = f"a file called {PurePath(origin).name}" if "/" in origin else origin
        yield name.replace("_", " "), f"{each['version']}{_commit(each['version'])}, SHA-256 {each['sha256']}, {where}"
    for host in evidence.hosts:
        for name in ("kernel", "kvm", "cpu", "page_size", "features"):
            if host.get(name):
                yield f"{host['name']}, {name.replace('_', ' ')}", f"{host[name]}{_commit(host[name])}"
        if features := host.get("features"):
            yield f"{host['name']}, FEAT_ECV", "yes" if "ecv" in features.split() else "no"
    yield "guest's level", _level(case.params)
    yield "guest's CPU", _id_fields(evidence)
    for name in ("cpu", "harness"):
        if name in evidence.provenance:
            yield {"cpu": "this computer"}.get(name, name), str(evidence.provenance[name])


def _level(params: Mapping[str, object]) -> str:
    if params.get("el") == 2:  # as the Arm ARM numbers them
        return f"entered at EL2, HCR_EL2.E2H = {params.get('e2h')}"
    return "entered at EL1" if "el" in params else "not said by the case"


def _id_fields(evidence: Evidence) -> str:
    """Return the fields that are asked for, as the first look at the guest had them."""
    for state in evidence.states.values():
        data = json.loads(state) if isinstance(state, str) else state
        registers = data.get("registers")
        values = registers if isinstance(registers, Mapping) else {}
        found = [
            f"{register}.{field.name} {field.of(int(value, 16)):#x}"
            for register, names in _ASKED
            if isinstance(value := values.get(f"cpu0/{register}"), str)
            for field in fields_of(register)
            if field.name in names
        ]
        if found:
            return ", ".join(found)
    return "its ID registers were not looked at"


def _differences(evidence: Evidence) -> list[str]:
    rows = [f"    {row.name} {row.field}: {row.before} -> {row.after}" for row in evidence.differences[:_DIFFERENCES]]
    more = len(evidence.differences) - len(rows)
    return ["What differs:", "\n".join([*rows, *([f"    and {more} more"] if more > 0 else [])])] if rows else []


def _needs(evidence: Evidence) -> list[str]:
    """Return what has to be named, for it is a file of the sender's."""
    inputs = evidence.rerun.get("inputs")
    files = [
        f"--{name.replace('_', '-')} FILE, for {each['what']} with the SHA-256 above"
        for name, each in (inputs.items() if isinstance(inputs, Mapping) else ())
        if "/" in str(each["origin"])
    ]
    return ["It needs " + " and ".join(files) + "."] if files else []


def _commit(version: object) -> str:
    found = _COMMIT.search(str(version))
    return f" (commit {found[1]})" if found else ""


def _entry(name: str, text: str) -> str:
    return textwrap.fill(
        f"{name + ':':<17}{text}",
        _WIDTH,
        initial_indent="  ",
        subsequent_indent=" " * 19,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _SUBJECT else f"{line[: _SUBJECT - 1].rstrip()}…"


def _wrapped(text: str) -> str:
    return textwrap.fill(
        text, _WIDTH, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
