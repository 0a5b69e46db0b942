"""A known issue excuses its own failure, nothing else, and must fail."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from harness.errors import Suspect, UsageError, Verdict
from harness.report import known
from harness.report.known import KnownIssues
from tests.report.report_samples import FAILED, PASSED

ENTRY = """
[[issue]]
id = "timers-lost"
what = "the timers are lost"
suspect = "QEMU"
qemu = ">=10.0,<12"
seen = ["10.0.2", "11.1.3"]
message = 'cnthp .*ISTATUS'
reason = "not in the stream"
evidence = "a run"
when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}
"""

SHIPPED = Path(__file__).parents[2] / "scenarios/known_issues.toml"


@pytest.fixture
def issues(tmp_path: Path) -> KnownIssues:
    return load(tmp_path, ENTRY)


def load(folder: Path, text: str) -> KnownIssues:
    (folder / "known.toml").write_text(text)
    return known.load(folder / "known.toml")


def test_its_own_failure_is_known(issues: KnownIssues) -> None:
    judged = issues.judge(FAILED, "11.1.3")
    assert judged == replace(FAILED, verdict=Verdict.KNOWN, known_issue="timers-lost")


@pytest.mark.parametrize(
    "other",
    [
        replace(FAILED, message="cnthp fired twice"),
        replace(FAILED, message=""),
        replace(FAILED, params={**FAILED.params, "timer": "cntv"}),
        replace(FAILED, params={**FAILED.params, "e2h": 1}),
        replace(FAILED, params={"timer": "cnthp"}),
        replace(FAILED, lifecycle="pause"),
    ],
    ids=["another sentence", "no sentence", "another timer", "another e2h", "no e2h", "another lifecycle"],
)
def test_another_failure_stays_a_failure(issues: KnownIssues, other: Any) -> None:
    assert issues.judge(other, "11.1.3") is other


@pytest.mark.parametrize("version", ["9.2.4", "12.0.0", "1:7.2+dfsg-7+deb12u18", "10.0.0-rc1"])
def test_a_failure_on_another_version_stays_a_failure(issues: KnownIssues, version: str) -> None:
    assert issues.judge(FAILED, version) is FAILED


def test_a_pass_where_it_should_fail_is_fixed(issues: KnownIssues) -> None:
    judged = issues.judge(replace(FAILED, verdict=Verdict.PASS, message="", suspect=None), "11.1.3")
    assert (judged.verdict, judged.known_issue, judged.suspect) == (Verdict.FIXED, "timers-lost", Suspect.QEMU)
    assert judged.message.startswith("known issue timers-lost did not fail on QEMU 11.1.3 (the timers are lost)")


def test_another_pass_stays_a_pass(issues: KnownIssues) -> None:
    assert issues.judge(PASSED, "11.1.3") is PASSED
    right = replace(FAILED, verdict=Verdict.PASS)
    assert issues.judge(right, "9.2.0") is right


@pytest.mark.parametrize("verdict", [Verdict.ERROR, Verdict.SKIP, Verdict.BLOCKED, Verdict.FIXED, Verdict.KNOWN])
def test_what_was_not_tried_is_never_excused(issues: KnownIssues, verdict: Verdict) -> None:
    case = replace(FAILED, verdict=verdict)
    assert issues.judge(case, "11.1.3") is case


def test_an_entry_of_several_tables_is_about_the_cases_of_each(tmp_path: Path) -> None:
    table = 'when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}'
    assert table in ENTRY
    other = '{timer = ["cntp"], lifecycle = ["pause"]}'
    both = load(tmp_path, ENTRY.replace(table, f"when = [{other}, {table.removeprefix('when = ')}]"))
    assert both.judge(FAILED, "11.1.3").verdict is Verdict.KNOWN
    assert load(tmp_path, ENTRY.replace(table, f"when = [{other}]")).judge(FAILED, "11.1.3") is FAILED


def test_of_two_entries_the_one_with_the_sentence_excuses(tmp_path: Path) -> None:
    other = ENTRY.replace("timers-lost", "timers-late").replace("cnthp .*ISTATUS", "late")
    assert load(tmp_path, other + ENTRY).judge(FAILED, "11.1.3").known_issue == "timers-lost"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("11.1.3", "11.1.3"),
        ("QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)", "10.0.2"),
        ("1:7.2+dfsg-7+deb12u18", "7.2"),
        ("1:11.2.0~rc1+ds-1", "11.2.0rc1"),
        ("v11.2.0-rc0-45-g0123abc", "11.2.0rc0"),
        ("11.1.50", "11.1.50"),
    ],
)
def test_versions_as_they_are_written(text: str, version: str) -> None:
    assert known.parse_version(text) == Version(version)


def test_no_version_is_said_so(issues: KnownIssues) -> None:
    with pytest.raises(UsageError, match="no version in 'unknown'"):
        issues.judge(FAILED, "unknown")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("reason =", "resaon =", "entry 1 (timers-lost): unknown key 'resaon'; did you mean 'reason'?"),
        ("[[issue]]", "[[isue]]", "unknown key 'isue'; did you mean 'issue'?"),
        ("[[issue]]", "[issue]", "must be a list of tables; write [[issue]]"),
        ("lifecycle =", "lifecyle =", "unknown key 'lifecyle' in 'when'; did you mean 'lifecycle'?"),
        ('timer = ["cnthp", "cnthv"]', 'timer = "cnthp"', "'timer' must be a list of one or more plain values"),
        ('timer = ["cnthp", "cnthv"]', "timer = []", "'timer' must be a list of one or more plain values"),
        ('when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}', "when = {}", "at least one parameter"),
        ('when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}', "when = [{}]", "at least one parameter"),
        ('when = {timer = ["cnthp", "cnthv"], lifecycle = ["file"], e2h = [0]}', "when = []", "at least one parameter"),
        ('suspect = "QEMU"', 'suspect = "QMEU"', "unknown suspect 'QMEU'; did you mean 'QEMU'?"),
        ('qemu = ">=10.0,<12"', 'qemu = "10 or so"', "is no range of versions"),
        ('qemu = ">=10.0,<12"', 'qemu = ">=11"', "seen on 10.0.2, which '>=11' leaves out"),
        ('seen = ["10.0.2", "11.1.3"]', "seen = []", "'seen' must be a list"),
        ("'cnthp .*ISTATUS'", "'('", "is not a regular expression"),
        ("'cnthp .*ISTATUS'", "'.*'", "matches every failure"),
        ("'cnthp .*ISTATUS'", "''", "'message' must be given, in words"),
        ('evidence = "a run"', "", "'evidence' must be given, in words"),
        ('reason = "not in the stream"', "reason = 1", "'reason' must be given, in words"),
        ("[[issue]]", "[[issue]", "is not TOML"),
    ],
)
def test_an_entry_that_cannot_be_meant_is_one_clear_line(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert old in ENTRY
    with pytest.raises(UsageError) as caught:
        load(tmp_path, ENTRY.replace(old, new))
    assert str(caught.value).startswith(str(tmp_path / "known.toml"))
    assert words in str(caught.value)


def test_an_id_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'timers-lost' is given twice"):
        load(tmp_path, ENTRY + ENTRY)


def test_a_missing_file_is_an_error_and_an_empty_one_knows_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        known.load(tmp_path / "none.toml")
    assert load(tmp_path, "").judge(FAILED, "unknown") is FAILED


# Sentences of real failures, and the same with one thing changed that an entry must not excuse.
REAL = {
    "kvm-e2h0-cntvoff": (
        (
            "timers: cntv armed cval far at EL2 with E2H=0 on host with 2 vCPUs through kvm-straight in the lab neoverse-n2: "
            "interrupt 1 on vCPU 0 came 1795.4 ms before CVAL (and 1 more); the instant was not arranged on vCPU 0: "
            "CNTV_CTL_EL0 0x0, the counter has not reached CVAL (and 1 more); the guest found: vCPU 0: interrupt 1 at "
            "0x4d6aa166, before CVAL 0x541adbe2 | vCPU 1: interrupt 1 at 0x4d6c74d8, before CVAL 0x54198343; suspect kernel "
            "(L0)"
        ),
        ("before CVAL (and", "late (and"),
    ),
    "kvm-first-entry-stage-2": (
        (
            "nested: armed in-l2 at EL2 with E2H=0 on host through kvm-restore in the lab neoverse-n2: destination console: the guest "
            "panicked: @1 panic cpu=0 el=2 esr=0x86000015 elr=0x40203200 far=0x40203200 text=exception in L2, vector 4; suspect guest"
        ),
        ("esr=0x86000015", "esr=0x86000007"),
    ),
    "kvm-list-6.12-7.3": (
        (
            "registers: register-list at EL1 through kvm-migrate in the lab trixie neoverse-n2: only 6.12.117, the source, has "
            "PIRE0_EL1, PIR_EL1, TCR2_EL1; only 7.3.4, the destination, has KVM_VENDOR_HYP_BMAP_2, PMMIR_EL1; suspect kernel (L0)"
        ),
        ("PMMIR_EL1", "PMMIR_EL1, POR_EL1"),
    ),
    "kvm-list-7.3-6.12": (
        (
            "registers: register-list at EL1 through kvm-migrate in the lab trixie-backports neoverse-n2: only 7.3.4, the source, has "
            "KVM_VENDOR_HYP_BMAP_2, PMMIR_EL1; only 6.12.117, the destination, has PIRE0_EL1, PIR_EL1, TCR2_EL1; suspect kernel (L0)"
        ),
        ("TCR2_EL1", "TCR2_EL1, TCR_EL1"),
    ),
    "kvm-list-max-7.3-6.12": (
        (
            "registers: register-list at EL1 through kvm-migrate in the lab trixie-backports max,lpa2=off: only 7.3.4, the source, "
            "has KVM_VENDOR_HYP_BMAP_2, PMMIR_EL1, SCTLR2_EL1; suspect kernel (L0)"
        ),
        ("PMMIR_EL1, ", ""),
    ),
    "kvm-list-max-6.12-7.3": (
        (
            "registers: register-list at EL1 through kvm-migrate in the lab trixie max,lpa2=off: only 7.3.4, the destination, has "
            "KVM_VENDOR_HYP_BMAP_2, PMMIR_EL1, SCTLR2_EL1; suspect kernel (L0)"
        ),
        ("PMMIR_EL1, ", ""),
    ),
    "kvm-e2h0-without-el2": (
        (
            "registers: e2h0 through kvm-straight in the lab neoverse-n2: KVM_ARM_VCPU_INIT takes HAS_EL2_E2H0 without HAS_EL2; "
            "suspect kernel (L0)"
        ),
        ("takes HAS_EL2_E2H0", "refuses HAS_EL2_E2H0"),
    ),
    "qemu-el2-timers-lost": (
        (
            "timers: cnthp armed tval far at EL2 with E2H=0 on neoverse-n1 with 2 vCPUs through snapshot: interrupt lost on "
            "vCPU 0: PPI 26 came 0 times, expected 1; the counter has passed CVAL by 505.1 ms, CNTHP_CTL_EL2.ISTATUS is "
            "missing (CTL 0x1) (and 1 more); the guest found: vCPU 0: 0 interrupts, expected 1 | vCPU 0: at the end: ISTATUS "
            "is clear, the counter 0x2844a8c has passed CVAL 0x9c0840 | vCPU 1: 0 interrupts, expected 1 | vCPU 1: at the "
            "end: ISTATUS is clear, the counter 0x2e628e2 has passed CVAL 0x9cedb7; suspect QEMU"
        ),
        ("is missing (CTL 0x1)", "is set (CTL 0x5)"),
    ),
    "qemu-el2-timers-lost-nested": (
        (
            "nested: armed cnthv hw at EL2 with E2H=0 on max with 1 vCPU through file: interrupts lost: level 1 vCPU 0 took 0 of 3; "
            "CNTHV: the counter has passed CVAL by 1009.1 ms, ISTATUS is missing; the guest found: vCPU 0: L1: 0 interrupts of cnthv, "
            "expected 3; suspect QEMU"
        ),
        ("; suspect", " | vCPU 0: L2: x3 has 0x0; suspect"),
    ),
    "qemu-debug-runstate": (
        (
            "reported: debugger at EL1 on max with 1 vCPU through file: destination: crash, destination (SIGABRT): the "
            "destination did not take the stream: invalid runstate transition: 'inmigrate' -> 'debug'; suspect QEMU"
        ),
        ("'inmigrate' -> 'debug'", "'inmigrate' -> 'paused'"),
    ),
    "qemu-el2-timers-lost-reported": (
        (
            "reported: el2-timer-lost at EL2 with E2H=0 on max with 1 vCPU through file: interrupt lost on vCPU 0: PPI 26 "
            "came 0 times, expected 1; the counter has passed CVAL by 508.2 ms, CNTHP_CTL_EL2.ISTATUS is missing (CTL 0x1); "
            "the guest found: vCPU 0: 0 interrupts, expected 1 | vCPU 0: at the end: ISTATUS is clear, the counter 0x28018499 "
            "has passed CVAL 0x9598b70; suspect QEMU"
        ),
        ("is missing (CTL 0x1)", "is set (CTL 0x5)"),
    ),
    "qemu-counter-frequency": (
        (
            "reported: counter-frequency at EL1 on max with 1 vCPU through file: the counter of vCPU 0 went back by 18.3 ms; "
            "the counter of vCPU 0 went on by 41.8 ms in 661.1 ms; the guest found: vCPU 0: the counter is 0x1f6d6a, it was "
            "0x13159fb before the lifecycle | vCPU 0: the counter went back to 0x2004b7, it was 0x9ff85bf before; suspect "
            "QEMU"
        ),
        ("of vCPU 0 went back by", "of vCPU 1 went back by"),
    ),
    "qemu-gic-priority-bits": (
        (
            "reported: gic-priority-bits at EL1 on max with 1 vCPU through file: the guest found: vCPU 0: ICC_RPR_EL1 had "
            "0x60, has 0xff; suspect QEMU"
        ),
        ("ICC_RPR_EL1 had 0x60, has 0xff", "ICC_PMR_EL1 had 0x60, has 0xff"),
    ),
    "qemu-highmem": (
        (
            "reported: highmem at EL1 on max with 1 vCPU through file: these lie elsewhere: "
            "000000003f000000-000000003fffffff (prio 0, i/o): pcie-mmcfg-mmio, 0000004010000000-000000401fffffff (prio 0, "
            "i/o): pcie-mmcfg-mmio; suspect QEMU"
        ),
        (": pcie-mmcfg-mmio; suspect", ": pcie-mmcfg-mmio, 0000000009000000-0000000009000fff (prio 0, i/o): pl011; suspect"),
    ),
    "qemu-sve-lengths": (
        (
            "reported: sve-lengths at EL1 on max with 1 vCPU through file: the guest found: vCPU 0: the SVE vector length "
            "had 64 bytes, has 32; registers differ: cpu0/VG, cpu0/Z#; suspect QEMU"
        ),
        ("had 64 bytes, has 32", "had 64 bytes, has 16"),
    ),
    "qemu-secure-dacr": (
        (
            "reported: secure-dacr at EL1 on max with 1 vCPU through file: the Secure DACR was 0x55555555 and is 0x0; "
            "suspect QEMU"
        ),
        ("and is 0x0", "and is 0x1"),
    ),
    "qemu-icount-abort": (
        (
            "reported: icount-on-one-side at EL1 on max with 1 vCPU through live-unix: crash, destination "
            "(vmstate_load_state): the migration failed on the source; the source says failed: Unable to read from socket: "
            "Connection reset by peer; the destination says migration/vmstate.c:172: vmstate_load_state: Assertion "
            "`first_elem || !n_elems || !size' failed.; suspect QEMU"
        ),
        ("Assertion `first_elem", "Assertion `last_elem"),
    ),
    "qemu-10-snapshot-with-multifd": (
        (
            "reported: multifd-and-snapshots at EL1 on max with 1 vCPU through snapshot: source: QEMU was killed by "
            "SIGSEGV; suspect QEMU"
        ),
        ("SIGSEGV", "SIGABRT"),
    ),
    "qemu-10-refuses-longer-lists": (
        (
            "reported: registers-gone at EL1 on neoverse-n1 with 1 vCPU through file: destination: register missing: the "
            "destination did not take the stream: Invalid value 295 expecting positive value <= 292; Failed to load "
            "cpu:cpreg_vmstate_array_len; error while loading state for instance 0x0 of device 'cpu'; load of migration "
            "failed: Invalid argument; suspect QEMU"
        ),
        ("cpreg_vmstate_array_len", "cpreg_vmstate_indexes"),
    ),
    "qemu-10-error-desc": (
        (
            "reported: destination-stays at EL1 on max with 1 vCPU through live-unix: the destination says only 'load of "
            "migration failed: Invalid argument'; suspect QEMU"
        ),
        ("Invalid argument'", "Operation not permitted'"),
    ),
    "qemu-11-lacks-isar0": (
        (
            "reported: qemu-replaced at EL1 on cortex-a57 with 1 vCPU through snapshot: resumed: register missing, "
            "ID_AA64ISAR0_EL1: snapshot-load: error while loading state for instance 0x0 of device 'cpu': post load hook "
            "failed for: cpu, version_id: 22, minimum_version: 22, ret: -1; suspect QEMU"
        ),
        ("ID_AA64ISAR0_EL1", "ID_AA64ISAR1_EL1"),
    ),
    "qemu-sve-upper-half-lost": (
        (
            "registers: sve at EL1 on max with 1 vCPU through file: the guest found: vCPU 0: Z0, from bit 1024 on, had 0xa7 has 0x0 "
            "(and 31 more); registers differ: cpu0/Z#; suspect QEMU"
        ),
        ("Z0, from bit 1024 on", "Z0, from bit 0 on"),
    ),
    "kvm-e2h0-tval": (
        (
            "timers: cntv disabled tval none at EL2 with E2H=0 on host with 2 vCPUs through kvm-straight in the lab "
            "neoverse-n2: the guest found: vCPU 0: CVAL reads 0x0 after TVAL 0x124646 was written at a counter between "
            "0x732e1a03 and 0x732e2262 | vCPU 1: CVAL reads 0x0 after TVAL 0x12a7cc was written at a counter between "
            "0x7330fcfd and 0x7330fe77; suspect kernel (L0)"
        ),
        ("vCPU 1: CVAL reads 0x0", "vCPU 1: CVAL reads 0x1"),
    ),
    "qemu-cntv-offset-deadline": (
        (
            "timers: cntv_el02 armed tval far at EL2 with E2H=1 on neoverse-n1 with 2 vCPUs through postcopy: interrupt lost "
            "on vCPU 0: PPI 27 came 0 times, expected 1; the counter has passed CVAL by 503.6 ms, CNTV_CTL_EL02.ISTATUS is "
            "missing (CTL 0x1) (and 1 more); the guest found: vCPU 0: 0 interrupts, expected 1 | vCPU 0: at the end: ISTATUS "
            "is clear, the counter 0x1234a23b597 has passed CVAL 0x123483d56ad | vCPU 1: 0 interrupts, expected 1 | vCPU 1: "
            "at the end: ISTATUS is clear, the counter 0x1234a87a561 has passed CVAL 0x123483cb8ca; suspect QEMU"
        ),
        ("PPI 27", "PPI 30"),
    ),
    "qemu-cntv-offset-deadline-periodic": (
        (
            "timers: cntv_el02 periodic tval at EL2 with E2H=1 on neoverse-n1 with 1 vCPU through file-mapped-ram: source console: "
            "waited 30.0 s for the guest's `now`; last bytes b''; suspect QEMU"
        ),
        ("`now`", "`end`"),
    ),
    "qemu-cntv-el02-tval-offset": (
        (
            "timers: cntv_el02 pending tval at EL2 with E2H=1 on max with 1 vCPU through straight: the guest found: vCPU 0: CVAL "
            "reads 0xf546 after TVAL 0xffecc787 was written at a counter between 0x123457b9e39 and 0x123457bb1f1; suspect QEMU"
        ),
        ("CVAL reads", "CTL reads"),
    ),
    "qemu-migrate-right-after-completed": (
        (
            "reported: two-live-guests at EL1 on max with 1 vCPU through live-unix: source: QEMU was killed by SIGABRT: Unexpected "
            "error in yank_register_instance() at util/yank.c:87:; duplicate yank instance; suspect QEMU"
        ),
        ("duplicate yank instance", "no such yank instance"),
    ),
    "qemu-late-vcpu-off": (
        (
            "registers: late looked-at at EL1 on host with 2 vCPUs through reset in the lab neoverse-n2: source: vCPU 1 never came up: "
            "waited 30.0 s for the guest's `now`; suspect QEMU"
        ),
        ("vCPU 1 never came up", "vCPU 0 never came up"),
    ),
    "kvm-vel2-counter-offset": (
        (
            "timers: cnthp armed cval far at EL2 with E2H=1 on host with 2 vCPUs through pause in the lab neoverse-n2: "
            "interrupt 1 on vCPU 0 came 20014261.0 ms late (and 1 more); suspect kernel (L0)"
        ),
        ("20014261.0", "20.1"),
    ),
    "kvm-emulated-timer-masked-istatus": (
        (
            "timers: cntp_el02 expired-masked tval none at EL2 with E2H=1 on host with 2 vCPUs through reset in the lab "
            "neoverse-n2: the guest found: vCPU 0: arranged: ISTATUS is clear, the counter 0x8684d3d2 has passed CVAL "
            "0x866f368f | vCPU 1: arranged: ISTATUS is clear, the counter 0x86e90868 has passed CVAL 0x866f6880 | vCPU 0: "
            "after the lifecycle: ISTATUS is clear, the counter 0x876d3e64 has passed CVAL 0x866f368f | vCPU 1: after the "
            "lifecycle: ISTATUS is clear, the counter 0x87d18b9f has passed CVAL 0x866f6880; suspect kernel (L0)"
        ),
        ("vCPU 1: arranged: ISTATUS is clear", "vCPU 1: at the end: ISTATUS is clear"),
    ),
    "kvm-emulated-timer-masked-istatus-later": (
        (
            "timers: cntp_el02 expired-masked cval far at EL2 with E2H=1 on host with 2 vCPUs through kvm-twice in the lab "
            "neoverse-n2: CNTP_CTL_EL02.ISTATUS is missing 544.6 ms after CVAL on vCPU 0 (and 1 more); the guest found: vCPU "
            "0: arranged: ISTATUS is clear, the counter 0x44470d56 has passed CVAL 0x44336d2c | vCPU 1: arranged: ISTATUS is "
            "clear, the counter 0x44c74371 has passed CVAL 0x443211df | vCPU 0: after the lifecycle: ISTATUS is clear, the "
            "counter 0x465e3de7 has passed CVAL 0x44336d2c | vCPU 1: after the lifecycle: ISTATUS is clear, the counter "
            "0x46d0588a has passed CVAL 0x443211df; suspect kernel (L0)"
        ),
        ("CNTP_CTL_EL02.ISTATUS", "CNTHP_CTL_EL2.ISTATUS"),
    ),
    "kvm-hacr-el2-trap": (
        (
            "registers: hacr_el2 at EL2 with E2H=1 on host with 1 vCPU through straight in the lab neoverse-n2: the kernel of lab "
            "says: [   14.532716] WARNING: arch/arm64/kvm/sys_regs.c:64 at bad_vncr_trap+0x7c/0x90, CPU#1: CPU 0/KVM/134 | [   14.622306] "
            "kvm [131]:  { Op0( 3), Op1( 4), CRn( 1), CRm( 1), Op2( 7), func_read },; suspect kernel (L0)"
        ),
        ("Op2( 7)", "Op2( 6)"),
    ),
    "kvm-software-pending-level": (
        (
            "gic: all at EL1 on host with 1 vCPU through straight in the lab neoverse-n2: interrupts lost: vCPU 0 took 23 of 25; the "
            "guest found: vCPU 0: ppi 16, acked: pending is 1 and active is 1 before the lifecycle | vCPU 0: ppi 17 was taken 0 "
            "times, expected 1 | vCPU 0: spi 97 was taken 0 times, expected 1; suspect kernel (L0)"
        ),
        ("acked: pending is 1", "idle: pending is 1"),
    ),
    "kvm-software-pending-level-and-routes": (
        (
            "gic: all at EL1 on host with 2 vCPUs through file in the lab neoverse-n2: interrupts lost: vCPU 0 took 23 of 25; the "
            "guest found: vCPU 0: ppi 16, acked: pending is 1 and active is 1 before the lifecycle | vCPU 1: ppi 16, acked: pending "
            "is 1 and active is 1 before the lifecycle | vCPU 0: spi 145, background: route had 0x1, has 0x0 | vCPU 0: spi 147, "
            "background: route had 0x1, has 0x0 | vCPU 0: ppi 17 was taken 0 times, expected 1; suspect kernel (L0)"
        ),
        ("background: route had 0x1", "background: priority had 0x1"),
    ),
    "kvm-reset-forwarded-interrupt": (
        (
            "nested: pending-lr none hw at EL2 with E2H=1 on host with 1 vCPU through reset in the lab neoverse-n2: the guest found: "
            "vCPU 0: L2: interrupt 27 has not come in 20000 ms: CNTV_CVAL_EL0 0x10428af4a, the counter 0x14eaa2bd6, CNTV_CTL_EL0 "
            "0x5; suspect kernel (L0)"
        ),
        ("CNTV_CTL_EL0 0x5", "CNTV_CTL_EL0 0x1"),
    ),
    "kvm-mmfr2-nv-gone": (
        (
            "registers: core at EL1 on host with 1 vCPU through file in the lab trixie neoverse-n2: cpu0/ID_AA64MMFR2_EL1.NV was 0x2 "
            "and is 0x0; suspect kernel (L0)"
        ),
        ("NV was", "BBM was"),
    ),
    "kvm-older-kernel-refuses": (
        (
            "timers: cntp armed cval far at EL1 on host with 1 vCPU through file in the lab trixie-backports neoverse-n2: destination: "
            "the destination did not take the stream: handle_cpreg_only_in_incoming_stream: PMMIR_EL1 (S3_0_9_14_6) in the incoming "
            "stream but unknown on the destination: fail migration; Could not set register ID_AA64MMFR2_EL1 (S3_0_0_7_2) to "
            "1221011110001011 (is 1221011112001011); Could not set register fw reg 0 to 10003 (is 10001); Failed to put registers "
            "after init: Invalid argument; only the source has KVM_REG_ARM_VENDOR_HYP_BMAP_2, PMMIR_EL1; only the destination has PIRE0_EL1, PIR_EL1, TCR2_EL1; "
            "KVM_REG_ARM_PSCI_VERSION 0x10003 -> 0x10001; ID_AA64MMFR2_EL1.NV 0 -> 2; suspect QEMU"
        ),
        ("fw reg 0", "ID_AA64PFR0_EL1"),
    ),
    "kvm-older-kernel-refuses-qemu-10": (
        (
            "registers: core at EL1 on host with 1 vCPU through file in the lab trixie-backports neoverse-n2 trixie: destination: the "
            "destination did not take the stream: error while loading state for instance 0x0 of device 'cpu'; Failed to put "
            "registers after init: Invalid argument; only the source has KVM_REG_ARM_VENDOR_HYP_BMAP_2, PMMIR_EL1; only the destination has PIRE0_EL1, PIR_EL1, TCR2_EL1; "
            "KVM_REG_ARM_PSCI_VERSION 0x10003 -> 0x10001; ID_AA64MMFR2_EL1.NV 0 -> 2; suspect QEMU"
        ),
        ("PIR_EL1, TCR2", "PIR_EL1, SCTLR2"),
    ),
    "qemu-10-counts-registers": (
        (
            "registers: core at EL1 on host with 1 vCPU through file in the lab trixie neoverse-n2 trixie: destination: the destination "
            "did not take the stream: Invalid value 259 expecting positive value <= 258; Failed to load cpu:cpreg_vmstate_array_len; "
            "error while loading state for instance 0x0 of device 'cpu'; load of migration failed: Invalid argument; only the source "
            "has PIRE0_EL1, PIR_EL1, TCR2_EL1; only the destination has KVM_REG_ARM_VENDOR_HYP_BMAP_2, PMMIR_EL1; "
            "KVM_REG_ARM_PSCI_VERSION 0x10001 -> 0x10003; ID_AA64MMFR2_EL1.NV 2 -> 0; suspect QEMU"
        ),
        ("has PIRE0_EL1, PIR_EL1", "has PIR_EL1"),
    ),
    "kvm-pmu-sets-cleared": (
        (
            "registers: core at EL1 on host with 1 vCPU through file in the lab trixie neoverse-n2: the guest found: vCPU 0: "
            "PMCNTENSET_EL0 had 0x1e has 0x0 (and 2 more); registers differ: cpu0/PMCNTENCLR_EL0, cpu0/PMCNTENSET_EL0, "
            "cpu0/PMINTENCLR_EL1, cpu0/PMINTENSET_EL1, cpu0/PMOVSCLR_EL0, cpu0/PMOVSSET_EL0; suspect kernel (L0)"
        ),
        ("cpu0/PMINTENCLR_EL1", "cpu0/PMCR_EL0"),
    ),
    "kvm-pmu-sets-cleared-before-entry": (
        (
            "registers: at EL1 through kvm-straight in the lab trixie neoverse-n2: PMCNTENCLR_EL0.P1 1 -> 0, PMCNTENCLR_EL0.C 1 -> 0 on "
            "cpu0 by taking back what was read before the first entry; PMINTENSET_EL1.P1 1 -> 0 on cpu0 by taking back what was read "
            "before the first entry; suspect kernel (L0)"
        ),
        ("PMINTENSET_EL1.P1", "PMCR_EL0.E"),
    ),
    "kvm-pmu-sets-cleared-unset": (
        (
            "timers: cntv periodic cval far at EL1 on host with 2 vCPUs through poll-registers in the lab trixie neoverse-n2: "
            "cpu1/PMCNTENCLR_EL0.P1 was 0x1 and is 0x0 (and 19 more); registers differ: cpu1/PMCNTENCLR_EL0, cpu1/PMCNTENSET_EL0, "
            "cpu1/PMINTENCLR_EL1, cpu1/PMINTENSET_EL1; suspect kernel (L0)"
        ),
        ("cpu1/PMINTENCLR_EL1", "cpu1/PMCR_EL0"),
    ),
    "kvm-gic-field-as-written": (
        (
            "reported: gic-field at EL1 on host with 1 vCPU through kvm-straight in the lab trixie neoverse-n2: "
            "ID_AA64PFR0_EL1.GIC is 0 with a GICv3; suspect kernel (L0)"
        ),
        ("kernel (L0)", "QEMU"),
    ),
    "kvm-list-registers-full-after-restore": (
        (
            "gic: edge at EL1 on host with 2 vCPUs through kvm-restore in the lab trixie neoverse-n2: interrupts lost: vCPU 0 took 21 of "
            "23; the guest found: vCPU 0: sgi 0 was taken 0 times, expected 1 | vCPU 0: sgi 1 was taken 0 times, expected 1 | vCPU 1: "
            "sgi 0 was taken 0 times, expected 1 | vCPU 1: sgi 1 was taken 0 times, expected 1; registers differ: cpu0/PMCNTENSET_EL0; "
            "suspect kernel (L0)"
        ),
        ("took 21 of 23", "took 20 of 23"),
    ),
    "kvm-list-registers-full-view": (
        (
            "gic: edge at EL1 on host with 2 vCPUs through kvm-straight in the lab trixie neoverse-n2: the guest found: vCPU 0: spi 113, "
            "acked-pending: pending had 0x1, has 0x0; suspect kernel (L0)"
        ),
        ("spi 113, acked-pending", "spi 112, acked"),
    ),
    "kvm-list-registers-full": (
        (
            "gic: all at EL1 on host with 1 vCPU through straight in the lab trixie neoverse-n2: source console: the guest panicked: "
            "@1 panic cpu=0 el=1 esr=0x0 elr=0x4020069c far=0x0 text=acknowledged 1023, expected 17; suspect guest"
        ),
        ("1023", "33"),
    ),
    "kvm-cval-kept-at-reset": (
        (
            "timers: cntp pending tval far at EL1 on host with 2 vCPUs through reset in the lab trixie neoverse-n2: "
            "cpu0/CNTP_CVAL_EL0 was 0x0 and is 0x111fbcc6e (and 1 more); registers differ: cpu0/CNTP_CVAL_EL0, cpu1/CNTP_CVAL_EL0; "
            "suspect kernel (L0)"
        ),
        ("cpu1/CNTP_CVAL_EL0", "cpu1/CNTP_CTL_EL0"),
    ),
    "qemu-10-pmu-sets-by-gdb": (
        (
            "registers: core at EL1 on host with 1 vCPU through pause in the lab neoverse-n2 trixie: cpu0/PMCNTENSET_EL0 is 0x1e by "
            "the guest and 0 by the gdb view; suspect kernel (L0)"
        ),
        ("and 0 by", "and 2 by"),
    ),
    "qemu-kvm-gicd-irouter": (
        (
            "gic: edge at EL1 on host with 2 vCPUs through snapshot in the lab max,lpa2=off: the guest found: vCPU 0: spi 145, "
            "background: route had 0x1, has 0x0 (and 71 more); suspect kernel (L0)"
        ),
        ("route had 0x1", "priority had 0x1"),
    ),
    "qemu-counter-frequency-not-checked": (
        (
            "migration: cntfrq-slower through live-unix: the counter of vCPU 0 went back by 17.0 ms; the guest found: vCPU 0: "
            "the counter is 0x34d7c, it was 0x1067e4c before the lifecycle | vCPU 0: the counter went back to 0x66c8e, it was "
            "0x109850b before; suspect QEMU"
        ),
        ("vCPU 0 went back", "vCPU 1 went back"),
    ),
    "qemu-counter-frequency-not-checked-ahead": (
        (
            "migration: cntfrq-no-backcompat through live-unix: interrupt 1 on vCPU 0 came 9982.4 ms late; "
            "CNTV_CTL_EL0.ISTATUS is missing 1734.8 ms after CVAL on vCPU 0; the counter of vCPU 0 went on by 8175.4 ms in "
            "512.9 ms; the guest found: vCPU 0: after the lifecycle: ISTATUS is clear, the counter 0x916e10e has passed CVAL "
            "0x27763cf | vCPU 0: 0 interrupts, expected 1; suspect QEMU"
        ),
        ("vCPU 0 came", "vCPU 1 came"),
    ),
    "qemu-vector-length-not-checked": (
        (
            "migration: sve-shorter through live-unix: the guest found: vCPU 0: the SVE vector length had 128 bytes, has 64; "
            "registers differ: cpu0/P#, cpu0/VG, cpu0/Z#; suspect QEMU"
        ),
        ("cpu0/P#", "cpu0/X#"),
    ),
    "qemu-gic-layout-not-checked": (
        (
            "migration: gic-4-to-3 through live-unix: destination console: the guest panicked: @1 panic cpu=1 el=2 esr=0x96000010 "
            "elr=0x40203284 far=0x80f0100 text=unexpected exception, vector 4; suspect QEMU"
        ),
        ("cpu=1", "cpu=0"),
    ),
    "qemu-memory-map-not-checked": (
        (
            "migration: highmem-off through live-unix: destination console: the guest panicked: @1 panic cpu=0 el=1 esr=0x96000010 "
            "elr=0x40200204 far=0x4010000000 text=unexpected exception, vector 4; suspect QEMU"
        ),
        ("far=0x4010000000", "far=0x9000000"),
    ),
    "qemu-gic-priority-bits-not-checked": (
        (
            "migration: gic-5-bit-priorities through live-unix: the guest found: vCPU 0: ICC_RPR_EL1 had 0x60, has 0xff (and 3 more); "
            "suspect QEMU"
        ),
        ("ICC_RPR_EL1", "ICC_PMR_EL1"),
    ),
    "qemu-nvme-save-crash": (
        (
            "migration: nvme-gone through live-unix: destination: crash, source (SIGSEGV): the destination did not take the stream: load "
            "of migration failed: Invalid argument: Unknown section or instance '0000:00:01.0/nvme' 0; the source says device: it was "
            "killed by SIGSEGV without a word; the registers of new machines there could not be compared: source-new: QEMU was killed "
            "by SIGSEGV; suspect QEMU"
        ),
        ("source-new: QEMU was killed by SIGSEGV", "source-new: QEMU was killed by SIGABRT"),
    ),
    "qemu-save-without-configuration": (
        (
            "migration: no-configuration through live-unix: source-new: QEMU was killed by SIGABRT: qobject/json-writer.c:77: "
            "leave_container: Assertion `depth' failed.; suspect QEMU"
        ),
        ("`depth'", "`width'"),
    ),
    "qemu-10-to-11-isar0": (
        (
            "migration: qemu-trixie-to-this through live-unix: destination: register missing, ID_AA64ISAR0_EL1: the destination did not "
            "take the stream: handle_cpreg_only_in_incoming_stream: ID_AA64ISAR0_EL1 (0x1013c030) in the incoming stream but unknown "
            "on the destination: fail migration; only the source has ID_AA64ISAR0_EL1; suspect QEMU"
        ),
        ("missing, ID_AA64ISAR0_EL1:", "missing, ID_AA64ISAR0_EL1, ID_AA64ISAR1_EL1:"),
    ),
    "qemu-11-to-10-crash": (
        (
            "migration: qemu-this-to-trixie through live-unix: destination: crash, destination (vmstate_load_state): the destination did "
            "not take the stream: migration/vmstate.c:172: vmstate_load_state: Assertion `first_elem || !n_elems || !size' failed.; the "
            "source says failed: Channel error: Input/output error; only the destination has ID_AA64ISAR0_EL1; suspect QEMU"
        ),
        ("`first_elem", "`last_elem"),
    ),
    "qemu-7-and-later": (
        (
            "migration: qemu-this-to-bookworm through live-unix: destination: register missing: the destination did not take the stream: "
            "Invalid value 274 expecting positive value <= 258; Failed to load cpu:cpreg_vmstate_array_len; suspect QEMU"
        ),
        ("274", "300"),
    ),
    "qemu-multifd-destination-hangs": (
        (
            "faults: return-path channels cut memory stay on cortex-a57 with 1 vCPU through multifd: destination: the destination hangs: "
            "5 s after its connection had ended it had neither failed nor exited; suspect QEMU"
        ),
        ("destination: the destination", "source: the source"),
    ),
    "qemu-cntv-offset-deadline-of-level-2": (
        (
            "nested: l2-running cnthv sw at EL2 with E2H=1 on neoverse-n1 with 2 vCPUs through straight: interrupts lost: level 2 vCPU 0 "
            "took 0 of 3; CNTV: the counter has passed CVAL by 1084.4 ms, ISTATUS is missing; the guest found: vCPU 0: L2: 0 interrupts, "
            "expected 3 | vCPU 1: L2: 0 interrupts, expected 3; suspect QEMU"
        ),
        ("level 2", "level 1"),
    ),
    "qemu-cntv-offset-deadline-of-both-levels": (
        (
            "nested: pending-lr cnthv hw at EL2 with E2H=0 on neoverse-n1 with 1 vCPU through live-tcp: interrupts lost: level 2 vCPU 0 "
            "took 1 of 3; CNTV: the counter has passed CVAL by 1131.1 ms, ISTATUS is missing; the guest found: vCPU 0: L2: 1 interrupts, "
            "expected 3 | vCPU 0: L1: 0 interrupts of cnthv, expected 3; suspect QEMU"
        ),
        ("L1: 0 interrupts", "L1: 2 interrupts"),
    ),
    "qemu-10-gdb-shows-el1": (
        (
            "registers: pauth at EL2 with E2H=1 on max with 2 vCPUs through file: the gdb view and the stream view disagree: ELR_EL2 0 -> "
            "0x4020888c on cpu0; MAIR_EL2.Attr0 0 -> 4, MAIR_EL2.Attr1 0 -> 0xff on cpu0; SMCR_EL2.LEN 0 -> 0xf on cpu0; and 11 more of "
            "686 compared; suspect QEMU"
        ),
        ("ELR_EL2", "ELR_EL1"),
    ),
    "qemu-10-refused-in-postcopy": (
        (
            "faults: return-path gic disabled on max with 2 vCPUs through postcopy: source: its guest was refused, and it is "
            "finish-migrate; suspect QEMU"
        ),
        ("finish-migrate", "internal-error"),
    ),
    "qemu-mapped-ram-size": (
        (
            "faults: one-way memory disabled on max with 2 vCPUs through file-mapped-ram: refusing: a destination with "
            "{'memory_mib': 64} took the guest without a word; suspect QEMU"
        ),
        ("64", "16"),
    ),
    "qemu-stream-without-checksum": (
        (
            "faults: flipped cpu content memory on cortex-a57 with 1 vCPU through file: cpu0/V9 was 0x0 and is 0xff000000000000; "
            "suspect QEMU"
        ),
        ("V9", "V8"),
    ),
    "qemu-mapped-ram-full-disk-unnamed": (
        (
            "faults: nothing memory on max with 2 vCPUs through file-mapped-ram: source: unknown cause: the source could not save: "
            "ram_save_setup failed: Input/output error; suspect QEMU"
        ),
        ("Input/output error", "Operation not permitted"),
    ),
    "qemu-cont-after-migration": (
        (
            "faults: source-told-to-go-on memory on max with 1 vCPU through live-unix: 2 guests live: source is running, its migration "
            "completed, and its guest answers `beat`; destination is running, its migration completed, and its guest answers `beat`; "
            "expected was destination; suspect QEMU"
        ),
        ("2 guests live", "no guest lives"),
    ),
    "qemu-postcopy-allowed-memory-lost": (
        (
            "migration: postcopy-ram on max with 2 vCPUs through live-unix: the guest found: vCPU 1: node 1188 at 0x4026dc40: "
            "sequence 1189, round 53, expected 48; 4 of 4 words wrong; checksum 0x1fe5a3bc7f6a7583, has 0x1fe5a3bc7f6a7583 "
            "(and 33 more); suspect QEMU"
        ),
        ("sequence", "register"),
    ),
}


ISSUES = known.load(SHIPPED).issues


@pytest.mark.parametrize("issue", ISSUES, ids=lambda issue: issue.id)
def test_a_shipped_entry_excuses_its_failure_and_no_other(issue: known.Issue) -> None:
    sentence, (word, other) = REAL[issue.id]
    assert issue.excuses(sentence)
    assert word in sentence and not issue.excuses(sentence.replace(word, other))
    beside = ("registers differ: cpu0/TPIDR_EL1", "a storm of exits: source: vCPU 0 left the guest 9999 times")
    alone = re.sub("; registers differ: [^;]*", "", sentence)
    assert not any(issue.excuses(alone.replace("; suspect", f"; {words}; suspect")) for words in beside)
    assert not issue.excuses(re.sub(r"\(and \d+ more\)", "(and 999 more)", sentence)) or "(and " not in sentence
    if "; the guest found: " in sentence:  # all that it found
        more = " | vCPU 1: spi 120, background: priority had 0x90, has 0x0"
        assert not issue.excuses(re.sub("; (suspect|registers differ)", rf"{more}; \1", sentence, count=1))


# Those whose sentences are of `harness.guest.timers.judge`.
OF_TIMERS = {
    "qemu-el2-timers-lost",
    "qemu-el2-timers-lost-reported",
    "qemu-cntv-offset-deadline",
    "qemu-cntv-el02-tval-offset",
    "qemu-counter-frequency",
    "qemu-counter-frequency-not-checked",
    "qemu-counter-frequency-not-checked-ahead",
    "kvm-vel2-counter-offset",
    "kvm-emulated-timer-masked-istatus",
    "kvm-emulated-timer-masked-istatus-later",
    "kvm-e2h0-tval",
    "kvm-e2h0-cntvoff",
}
# Of each kind that `harness.state.timers.find` knows, one that no entry is about.
FINDINGS = (
    "interrupt lost on vCPU 1: PPI 30 came 0 times, expected 1, CNTP_CTL_EL0.ISTATUS is set (CTL 0x5)",
    "interrupt 1 on vCPU 1 came 3.0 ms before CVAL",
    "PPI 27 came 3 times on vCPU 1, expected 1",
    "interrupt 1 on vCPU 1 came 600.0 ms late",
    "interrupt 1 on vCPU 1: CNTV_CTL_EL0.ISTATUS is missing: CNTV_CTL_EL0 reads 0x1 in the handler, not 0x5",
    "the counter of vCPU 1 went back by 10.0 ms",
    "the counter of vCPU 1 went on by 10.0 ms in 2000.0 ms",
    "CVAL on vCPU 1 was 0xc8 and is 0xc9",
    "interrupt 1 on vCPU 1 is INTID 30",
)


@pytest.mark.parametrize("issue", [issue for issue in ISSUES if issue.id in OF_TIMERS], ids=lambda issue: issue.id)
def test_an_entry_for_a_timer_excuses_nothing_beside_what_it_is_about(issue: known.Issue) -> None:
    sentence, _ = REAL[issue.id]
    parts = re.fullmatch(r"([^:]*: [^:]*: )(.*?)(?:(?:; )?the guest found: (.*))?(; suspect .*)", sentence)
    assert parts is not None
    where, seen, found, suspect = parts.groups(default="")

    def excused(*seen: str, found: str = found) -> bool:
        return issue.excuses(
            where + "; ".join([*filter(None, seen), *([f"the guest found: {found}"] if found else [])]) + suspect
        )

    assert excused(seen)
    assert not any(excused(other, seen) or excused(seen, other) for other in FINDINGS)
    complaint = "vCPU 0: 3 spurious interrupts"
    assert not any(excused(seen, found=words) for words in (complaint, f"{complaint} | {found}", f"{found} | {complaint}"))
    more_than_vcpus = seen.replace("(and 1 more)", "(and 2 more)")
    assert more_than_vcpus == seen or not excused(more_than_vcpus)


def test_a_level_is_said_as_cases_have_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no 'level' in 'when'; write 'el' and 'e2h'"):
        load(tmp_path, ENTRY.replace("e2h = [0]", 'level = ["nvhe"]'))


def test_an_entry_for_a_destination_wants_that_destination(tmp_path: Path) -> None:
    between = ENTRY.replace('qemu = ">=10.0,<12"', 'qemu = ">=10.0,<12"\ndst_qemu = "<10"\ndst_kernel = ">=7"')
    issues = load(tmp_path, between)
    assert issues.judge(FAILED, "11.1.3", "", "7.2.22", "7.3.4").known_issue == "timers-lost"
    assert issues.judge(FAILED, "11.1.3", "7.3.4", "7.2.22", "6.12.1") is FAILED
    assert issues.judge(FAILED, "11.1.3", "7.3.4", "11.1.3", "7.3.4") is FAILED
    assert issues.judge(FAILED, "11.1.3", "7.3.4") is FAILED, "there is no other ground"
    with pytest.raises(UsageError, match="'qemu' or 'kernel' must be given"):
        load(tmp_path, ENTRY.replace("qemu =", "dst_qemu ="))


def test_an_entry_for_a_kernel_wants_that_kernel(tmp_path: Path) -> None:
    of_kernel = ENTRY.replace('qemu = ">=10.0,<12"', 'kernel = ">=7.3"').replace('["10.0.2", "11.1.3"]', '["7.3.4"]')
    issues = load(tmp_path, of_kernel)
    assert issues.judge(FAILED, "11.1.3", "7.3.4+deb13-cloud-arm64").known_issue == "timers-lost"
    assert issues.judge(FAILED, "11.1.3", "6.12.90").verdict is Verdict.FAIL
    assert issues.judge(FAILED, "11.1.3").verdict is Verdict.FAIL, "no kernel is under test"
