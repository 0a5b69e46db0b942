"""Each guard of scenarios/reported fails when what it guards against comes back: every one has its sabotage here.

The scenario itself is run, on the real QEMU, with a payload that does wrong, a stream that is changed before it is loaded, a
destination that is like the source where it should differ, or a part of the harness in place of which another one stands. The
scenarios on vCPUs that run nothing are run on a kernel of ours (kernels.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import pytest

from harness.errors import HarnessError, Verdict
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.lifecycle.passage import Passage, Saved
from harness.plugin.matrix import Params
from harness.plugin.reported import Kind
from harness.plugin.trial import Bench, Trial
from harness.plugin.verdicts import conclude
from harness.qemu.machine import Machine
from harness.report.model import Compared
from harness.state.edit import add_register, set_field, set_register
from harness.state.model import State
from harness.state.stream import decode
from scenarios.reported import page, parts
from scenarios.reported.test_timers import an_hour_later
from tests.reported.kernels import Kernel

Edit = Callable[[bytes], bytes]

CASES = {report.name: (test, report) for test, reports in page.tests() for report in reports if report.kind is Kind.GUARD}


@dataclass(frozen=True)
class Sabotage:
    """What is done to a scenario, and the words that have to come of it."""

    words: str
    # Arguments that the payload gets beside the scenario's.
    asked: Mapping[str, str] = field(default_factory=dict)
    edit: Edit | None = None
    # The destination does not differ from the source.
    alike: bool = False
    # Dotted name of something, and what stands in its place.
    patch: tuple[str, Any] | None = None
    # Of the kernel that vCPUs are asked of.
    fault: str = ""


def payload(words: str, sabotage: str) -> Sabotage:
    return Sabotage(words, asked={"sabotage": sabotage})


def kernel(words: str, fault: str) -> Sabotage:
    return Sabotage(words, fault=fault)


def upper_half_lost(data: bytes) -> bytes:
    value = State.from_stream(decode(data)).registers["cpu1/V9"]
    assert isinstance(value, int)
    return set_register(data, "cpu1/V9", value & (1 << 64) - 1)


def one_table_for_all(data: bytes) -> bytes:
    first = decode(data).devices["arm_gicv3"].fields["cpu[0].gicr_pendbaser"]
    return set_field(data, "arm_gicv3", "cpu[1].gicr_pendbaser", first)


def last_priorities_lost(data: bytes) -> bytes:
    for spi in range(256, 288):
        data = set_field(data, "arm_gicv3", f"gicd_ipriority[{spi}]", 0)
    return data


def byte_lost(data: bytes) -> bytes:
    return set_field(data, "pl011", "read_fifo[0]", 0)


def late_as_the_machine_is_old(data: bytes) -> bytes:
    """Return a stream with the RTC as it was saved before the mend: by the machine's clock, which the scenario moves."""
    devices = decode(data).devices
    age, offset = devices["timer"].fields["cpu_clock_offset"], devices["pl031"].fields["tick-offset/tick_offset"]
    assert isinstance(age, int) and isinstance(offset, int)
    return set_field(data, "pl031", "tick-offset/tick_offset", offset - age // 10**9)


AGED = r"the guest has aged by \d\.\d+ s in"
X7_LOST = payload(r"vCPU 0: X7 had 0x[0-9a-f]+ has 0x", "gpr")
LATE = Sabotage(r"interrupt 1 on vCPU \d came 1\d{3}\.\d ms late", asked={"instant": "armed", "sabotage": "late"})
ACCEPTED = Sabotage("nothing failed; expected was: ", alike=True)

SABOTAGES = {
    # errors
    "source-says-completed": ACCEPTED,
    "return-path": ACCEPTED,
    "source-goes-on": ACCEPTED,
    "half-loaded": ACCEPTED,
    "flash-size": ACCEPTED,
    "destination-stays": Sabotage("waited .* for the event MIGRATION from destination-other", alike=True),
    "cancelled": X7_LOST,
    "stopped-twice": X7_LOST,
    "multifd-and-snapshots": Sabotage("nothing failed", patch=("harness.qemu.migration.enable", lambda *_: None)),
    # registers and features
    "bogus-aarch32-register": Sabotage(
        "register missing, S3_7_C15_C15_7", edit=lambda data: add_register(data, "cpu0/S3_7_C15_C15_7", 0)
    ),
    "features-in-the-stream": X7_LOST,
    "cycle-counter-at-0": payload(r"PMCCNTR_EL0 went back from \d+ to \d+", "back"),
    "input-in-flight": Sabotage("expected the byte g after now, got 0x0", edit=byte_lost),
    "upper-half-of-v": Sabotage(r"vCPU 1: V9, .*had 0x[0-9a-f]+ has 0x", edit=upper_half_lost),
    "m-profile-snapshot": Sabotage(
        "the guest ended before its `beat`", patch=("scenarios.reported.bare._M_ANSWER", b"@1 end\n\0")
    ),
    "pl011-clock": X7_LOST,
    # timers
    "stopped-clock": Sabotage(AGED, patch=("harness.qemu.machine.Machine.stop", lambda _: None)),
    "host-slept": Sabotage(AGED, patch=("harness.qemu.machine.Machine.stop", lambda _: None)),
    "cval-moved-ahead": LATE,
    "l1-kvm-ticks": LATE,
    "stale-istatus": Sabotage("ISTATUS is missing", asked={"instant": "armed", "sabotage": "loses-istatus"}),
    "counters-after-reset": Sabotage("went back by", asked={"instant": "armed", "sabotage": "counter-back"}),
    "vcpu-moves-between-cores": Sabotage(LATE.words, LATE.asked, patch=("scenarios.reported.test_timers.hop", lambda _: 20)),
    "swapped-ids": Sabotage("CNT", patch=("harness.state.kvm_ids.name_of", lambda number: f"CNT of {number}")),
    "clock-stands-still": Sabotage(r"the guest's clock is \d+ ns at the save and \d+ ns", edit=an_hour_later),
    "next-tick-overflows": Sabotage(
        "the guest ended before its `irq`", edit=lambda data: set_register(data, "cpu0/CNTV_CVAL_EL0", 0)
    ),
    "rtc-drifts": Sabotage(r"the RTC is off by -3[56]\d\d s", edit=late_as_the_machine_is_old),
    # the GIC
    "lpis-in-one-byte": payload("interrupts lost", "lost"),
    "lpi-that-nobody-sent": payload("surplus interrupts", "twice"),
    "one-redistributor-for-all": Sabotage(r"pending tables of two vCPUs: (\d+), \1", edit=one_table_for_all),
    "reset-of-the-first-cpu-only": payload("interrupts lost", "lost"),
    "reboot-with-an-its": payload("surplus interrupts", "twice"),
    "registers-of-the-last-spis": Sabotage("priority had", edit=last_priorities_lost),
    "device-removed-between-saves": payload("unmapped: LPI 8193 came 3 times, expected 2", "keeps"),
    "event-discarded-between-saves": payload("unmapped: LPI 8193 came 3 times, expected 2", "keeps"),
    "tables-left-out": payload("interrupts lost", "lost"),
    "dirty-ring": payload("interrupts lost", "lost"),
    "saved-right-after-reset": Sabotage(
        "the ITS still has its cbaser", edit=lambda data: set_field(data, "arm_gicv3_its", "cbaser", 1 << 63)
    ),
    # vCPUs
    "csv2": kernel("ID_AA64PFR0_EL1 refuses", "refuses ID_AA64PFR0_EL1"),
    "pmuver": kernel("ID_AA64DFR0_EL1 holds 0x", "keeps PMUVer"),
    "caches-of-another-core": kernel(r"CCSIDR\[0\] refuses", "refuses CCSIDR[0]"),
    "psci-version": kernel("KVM_PSCI_VERSION refuses", "refuses KVM_PSCI_VERSION"),
    "identity-after-reset": kernel("lost by KVM_ARM_VCPU_INIT: CLIDR_EL1", "wipes by reset"),
    "ids-of-each-vcpu": kernel("they differ: ID_AA64DFR0_EL1", "adjusts each vCPU"),
    "gic-field": kernel("ID_AA64PFR0_EL1.GIC is 0 with a GICv3", "believes user space"),
    "sve-lengths-too-late": kernel("ends with errno 0 after KVM_ARM_VCPU_FINALIZE", "takes lengths too late"),
    "v-registers-with-sve": kernel("these are listed: V0, V1", "lists V registers"),
    "vncr": kernel("not in KVM_GET_REG_LIST: VNCR_EL2", "hides VNCR_EL2"),
    "line-moved-by-user-space": kernel("PPIs 0x8000000 are pending before the vCPU has run", "moves the line"),
    "timer-line-is-read": kernel("CNTV has expired, and the lines of PPIs are 0x0", "hides the line"),
    "swapped-ids-in-kvm": kernel("CVAL reads", "swaps the ids"),
    "gicd-iidr": kernel("GICD_IIDR holds 0x4b00343b", "keeps the revision"),
    "lpis-enabled-too-soon": kernel(
        "at 0x40010000 before LPIs are enabled, and at 0x40020000 after", "moves tables under LPIs"
    ),
    "physical-counter": kernel("it reads 10000", "leaks the physical counter"),
}


class EditingPassage(Passage):
    """A passage on which a stream is changed before it is loaded."""

    edit: Edit

    def load(self, machine: Machine, path: PurePath, *capabilities: str) -> None:
        changed = Saved(machine, "changed")
        (machine.directory / changed.name).write_bytes(self.edit(Path(path).read_bytes()))
        super().load(machine, changed.path, *capabilities)


@dataclass
class SabotagedTrial(Trial):
    """A trial to which something is done."""

    sabotage: Sabotage = field(kw_only=True)

    @property
    def lifecycle(self) -> Lifecycle:
        usual = super().lifecycle
        if usual.needs_kvm:
            usual = LIFECYCLES["file"]
        if self.sabotage.edit is None:
            return usual
        by = type("Edited", (EditingPassage,), {"edit": staticmethod(self.sabotage.edit)})
        return Lifecycle(usual.name, usual.run, by, runs_on_ms=usual.runs_on_ms, restarts=usual.restarts)

    def boot(self, name: str, **arguments: object) -> Guest:
        return super().boot(name, **{**arguments, **self.sabotage.asked})

    def vary(self, source: Mapping[str, Any], destination: Mapping[str, Any], qemu: str = "", dst_qemu: str = "") -> None:
        here, there = ({name: value for name, value in side.items() if name != "accel"} for side in (source, destination))
        super().vary(here, {} if self.sabotage.alike else there, qemu, dst_qemu)


@pytest.fixture
def play(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Trial]]:
    """`play(name, sabotage)`: run the scenario of a guard as pytest would, up to the trial's last word."""
    trials: list[Trial] = []

    def played(name: str, sabotage: Sabotage) -> Trial:
        test, report = CASES[name]
        # No guest has to wait as long as in a run, where the computer may be busy with others.
        monkeypatch.setattr(parts, "SECONDS", 3.0)
        if sabotage.patch:
            monkeypatch.setattr(*sabotage.patch)
        case = Params(report.place)
        trial = SabotagedTrial(bench, case, sabotage=sabotage)
        trials.append(trial)
        given = {"case": case, "trial": trial, "tmp_path": tmp_path, "counts": trial.count, "samples": Kernel(sabotage.fault)}
        with trial.explained():
            test(**{name: given[name] for name in inspect.signature(test).parameters})
        return trial

    yield played
    for trial in trials:
        trial.close()


def test_every_guard_has_a_sabotage() -> None:
    assert CASES.keys() == SABOTAGES.keys()


@pytest.mark.parametrize("name", SABOTAGES)
def test_fails_when_it_comes_back(name: str, play: Callable[..., Trial]) -> None:
    with pytest.raises((HarnessError, AssertionError), match=SABOTAGES[name].words) as raised:
        play(name, SABOTAGES[name])
    case = conclude(name, "reported", "tcg", Params(CASES[name][1].place), raised.value, seconds=0, compared=Compared())
    assert case.verdict is Verdict.FAIL, case.message


@pytest.mark.parametrize("name", [name for name in SABOTAGES if "lab" in CASES[name][1].platforms and SABOTAGES[name].fault])
def test_passes_on_a_kernel_that_does_right(name: str, play: Callable[..., Trial]) -> None:
    assert play(name, Sabotage("")).tally.registers > 0
