"""Made-up runs for the tests of the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.errors import Suspect, Verdict
from harness.events import Step
from harness.report.evidence import DifferenceRow, Evidence, Side, Stream
from harness.report.model import Case, Compared, Run

LOST = "cnthp armed: no interrupt after file: 12.5 ms past CVAL 0x1e8480 and ISTATUS is missing; suspect QEMU"

PASSED = Case(
    id="scenarios/timers/test_fire.py::test_fires_once[tcg-file-cntv-armed-e2h0]",
    subject="timers",
    platform="tcg",
    lifecycle="file",
    params={"timer": "cntv", "instant": "armed", "e2h": 0},
    verdict=Verdict.PASS,
    seconds=0.21,
    compared=Compared(274, 1),
)

FAILED = replace(
    PASSED,
    id="scenarios/timers/test_fire.py::test_fires_once[tcg-file-cnthp-armed-e2h0]",
    params={"timer": "cnthp", "instant": "armed", "e2h": 0},
    verdict=Verdict.FAIL,
    suspect=Suspect.QEMU,
    message=LOST,
)


def run_of(*cases: Case) -> Run:
    """Return a run with these cases."""
    provenance = {"harness": "v0-1-gabc", "qemu": {"version": "11.1.3", "machines": ["virt", "virt-9.0"]}, "cpu": "max"}
    return Run("2026-11-20T01:02:03Z", 93.125, provenance, cases)


def evidence_of(case: Case, folder: Path, home: str = "/home/alice") -> Evidence:
    """Return evidence with both sides, a stream in `folder`, a difference and two steps, all naming `home`."""
    stream = folder / "stream"
    stream.write_bytes(b"QEVM" + bytes(5000))
    argv = ("qemu-system-aarch64", "-kernel", f"{home}/guests/timers.img", "-append", "timer=cnthp e2h=0")
    source = Side("source", argv, "11.1.3", 0, f"@1 hello {home}\n@1 now\n", f'{{"uri": "{home}/s"}}\n', "")
    return Evidence(
        case=case,
        options=("--platform", "tcg", "--qemu", f"{home}/bin/qemu-system-aarch64"),
        sides=(source, replace(source, name="destination", exit_status=None, console="@1 timer cpu=0 n=0\n")),
        states={
            "before": {"registers": {"CNTHP_CTL_EL2": "0x1"}, "made in": f"{home}/out"},
            "after": '{"registers": {}}',
        },
        streams=(Stream("first", stream),),
        differences=(DifferenceRow("CNTHP_CTL_EL2", "ISTATUS", "1", "0", "must be set once CNT passes CVAL"),),
        steps=(Step(0.05, "source", "console", "hello"), Step(0.0712, "source", "qmp", f"saved to {home}/s by alice")),
        provenance={"qemu": {"path": f"{home}/bin/qemu-system-aarch64"}},
    )


def thousand() -> Run:
    """Return 1,000 cases of all verdicts but fixed, some 300 of them failures."""
    lifecycles = (
        "straight",
        "pause",
        "file",
        "multifd",
        "postcopy",
        "snapshot",
        "twice",
        "ping-pong",
        "live-fd",
        "reset",
    )
    verdicts = [*[Verdict.FAIL] * 3, Verdict.ERROR, Verdict.SKIP, Verdict.KNOWN, Verdict.BLOCKED, *[Verdict.PASS] * 3]
    cases = []
    for number in range(1000):
        verdict = verdicts[number * 7 // 13 % 10]
        cases.append(
            replace(
                FAILED,
                id=f"scenarios/timers/test_fire.py::test_fires_once[{number}]",
                lifecycle=lifecycles[number % 10],
                params={"timer": f"cnt{number // 10 % 20}", "instant": "armed", "e2h": number % 2, "vcpus": 1},
                verdict=verdict,
                message="" if verdict is Verdict.PASS else LOST,
                suspect=Suspect.QEMU if verdict is Verdict.FAIL else None,
                known_issue="timers-lost" if verdict is Verdict.KNOWN else None,
            )
        )
    return run_of(*cases)
