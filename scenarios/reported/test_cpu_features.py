"""SVE, pointer authentication, MTE, the PMU and vector registers: on one side only, of another size, or half saved."""

from __future__ import annotations

from pathlib import Path

from harness.plugin.matrix import Params
from harness.plugin.reported import ANYWHERE, Kind, Report, reported
from harness.plugin.trial import Trial
from scenarios.reported import bare
from scenarios.reported.parts import judge, pair, see_refused, soon

MTE = {"options": ("mte=on",)}

PAIRS = {
    row.report.name: row
    for row in (
        pair(
            "sve-on-one-side",
            "F2",
            "register refused, .*only the destination has .*ZCR_EL1",
            {"cpu": "max,sve=off"},
            {"cpu": "max"},
        ),
        pair("pmu-on-one-side", "F7", "register missing, PMMIR_EL1", {}, {"cpu": "max,pmu=off"}),
        pair("mte-on-one-side", "F9", "RAM block, mach-virt.tag", MTE, {}),
        pair(
            "pauth-on-one-side",
            "F10",
            "register missing, AP.*only the source has .*APIAKEYLO_EL1",
            {},
            {"cpu": "max,pauth=off"},
        ),
        pair(
            "pauth-by-another-algorithm",
            "F10",
            "register refused, ID_AA64ISAR1_EL1:",
            {"cpu": "max,pauth-qarma5=on"},
            {"cpu": "max,pauth-impdef=on"},
        ),
    )
}


@reported(*(row.report for row in PAIRS.values()))
def test_a_feature_of_one_side_is_named(case: Params, trial: Trial) -> None:
    see_refused(trial, PAIRS[case.report])


@reported(
    Report(
        "upper-half-of-v",
        "F5",
        Kind.GUARD,
        "restores all 128 bits of V0 to V31",
        vcpus=2,
        platforms=ANYWHERE,
    )
)
def test_all_128_bits_of_the_vector_registers_survive(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr,fp", say="none")
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("sve-lengths", "F1", Kind.BUG, "refuses a guest whose vectors had another length"))
def test_the_vectors_of_a_running_guest_keep_their_length(trial: Trial) -> None:
    trial.vary({"cpu": "max,sve-max-vq=4"}, {"cpu": "max,sve-max-vq=2"})
    guest = trial.boot("registers", sets="gpr,sve")
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("m-profile-snapshot", "F8", Kind.GUARD, "loads a snapshot of an M-profile board", lifecycle="snapshot-same"))
def test_a_snapshot_of_an_m_profile_board_is_loaded(trial: Trial, tmp_path: Path) -> None:
    image = tmp_path / "m.bin"
    image.write_bytes(bare.m_profile())
    board = {"kernel": image, "cpu": "cortex-m3", "machine": "mps2-an385", "gic_version": None, "memory_mib": 16}
    trial.vary(board, board)
    guest = trial.boot("registers")
    trial.put_through(guest)
    guest.hear_until("beat", soon())
    trial.count(registers=1)


@reported(Report("cycle-counter-at-0", "F6", Kind.GUARD, "lets PMCCNTR_EL0 count on", vcpus=2, platforms=ANYWHERE))
def test_the_cycle_counter_counts_on(trial: Trial) -> None:
    guest = trial.boot("pmu")
    trial.put_through(guest)
    judge(trial, guest)
