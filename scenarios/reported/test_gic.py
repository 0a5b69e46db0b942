"""The GIC and its ITS: pending bits, tables and registers that were lost, shifted, or given to the wrong vCPU."""

from __future__ import annotations

from harness.errors import Failure
from harness.guest import witness
from harness.lifecycle.passage import Passage
from harness.plugin.matrix import Params
from harness.plugin.reported import ANYWHERE, WITH_KVM, Kind, Report, reported
from harness.plugin.trial import Trial
from harness.state.edit import set_field
from harness.state.stream import decode
from scenarios.reported.parts import edited, expected, judge, last_say, machine_of, pair, see_refused, soon

PAIRS = {row.report.name: row for row in (pair("gicv3-to-gicv2", "G17", "device section, arm_gicv3", {}, {"gic_version": 2}),)}


@reported(*(row.report for row in PAIRS.values()))
def test_a_gic_of_another_version_is_named(case: Params, trial: Trial) -> None:
    see_refused(trial, PAIRS[case.report])


@reported(
    Report("lpis-in-one-byte", "G3", Kind.GUARD, "has each LPI pending for its own vCPU", vcpus=2, platforms=ANYWHERE),
    Report("lpi-that-nobody-sent", "G4", Kind.GUARD, "delivers no LPI that was not pending", platforms=ANYWHERE),
)
def test_pending_lpis_are_delivered_to_their_vcpus_and_no_others(trial: Trial) -> None:
    guest = trial.boot("gic", kinds="lpi")
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("one-redistributor-for-all", "G8", Kind.GUARD, "saves each vCPU's own redistributor", vcpus=2))
def test_each_vcpu_keeps_its_own_pending_table(trial: Trial) -> None:
    guest = trial.boot("gic", kinds="lpi")
    trial.put_through(guest, compare_streams=True)
    for look in trial.looks("stream"):
        tables = [value for name, value in look.registers.items() if "gicr_pendbaser" in name]
        assert len(tables) == len(set(tables)) == 2, f"pending tables of two vCPUs: {', '.join(map(str, tables))}"
    judge(trial, guest)


@reported(
    Report(
        "reset-of-the-first-cpu-only",
        "G9",
        Kind.GUARD,
        "resets the CPU interface of every vCPU",
        lifecycle="reset",
        vcpus=2,
        platforms=ANYWHERE,
    ),
    Report(
        "reboot-with-an-its",
        "G14",
        Kind.GUARD,
        "survives a reboot of a guest with an ITS",
        lifecycle="reset",
        platforms=ANYWHERE,
    ),
)
def test_a_guest_that_was_reset_gets_all_its_interrupts(trial: Trial) -> None:
    guest = trial.boot("gic", acks="edge")
    trial.put_through(guest)
    judge(trial, guest)


@reported(
    Report("registers-of-the-last-spis", "G12", Kind.GUARD, "keeps priority, trigger and route of every SPI, the last included")
)
def test_the_last_spis_keep_their_registers(trial: Trial) -> None:
    guest = trial.boot("gic", kinds="spi")
    trial.put_through(guest, compare_streams=True)
    judge(trial, guest)


@reported(Report("groups-changed", "G6", Kind.MODEL, "refuses groups that it cannot restore, and never changes them silently"))
def test_a_guest_whose_groups_were_changed_hears_less(trial: Trial) -> None:
    guest = trial.boot("gic", kinds="spi")

    def spis_from_96_on_in_group_0(data: bytes) -> bytes:
        return set_field(data, "arm_gicv3", "group[3]", 0)

    edited(trial, guest, spis_from_96_on_in_group_0).cont()
    with expected(Failure, r"interrupts lost: vCPU 0 took \d+ of \d+.*group had 0x1, has 0x0"):
        last_say(trial, guest)
    trial.count(registers=1)


@reported(Report("saved-right-after-reset", "G13", Kind.GUARD, "resets the ITS with the machine", platforms=ANYWHERE))
def test_a_machine_is_saved_right_after_a_reset(trial: Trial) -> None:
    guest = trial.boot("gic", kinds="lpi")
    machine = machine_of(guest)
    machine.stop()
    machine.execute("system_reset")
    machine.wait_event("RESET", soon())
    machine.console.leftover()
    restored = edited(trial, guest)
    again = Passage(trial.start).save(restored, "again")
    its = decode(again.here()).devices["arm_gicv3_its"].fields
    valid = [name for name, value in its.items() if name.startswith(("baser", "cbaser")) and int(value) >> 63]
    assert not valid, f"the ITS still has its {', '.join(valid)}"
    restored.cont()
    guest.restart()
    last_say(trial, guest)


@reported(
    Report(
        "tables-left-out",
        "G10",
        Kind.GUARD,
        "saves the ITS tables that are in the guest's memory, after KVM has written them",
        lifecycle="kvm-restore",
        vcpus=2,
        platforms=WITH_KVM,
    )
)
def test_the_tables_of_the_its_are_saved(trial: Trial) -> None:
    guest = trial.boot("gic", kinds="lpi")
    trial.put_through(guest)
    judge(trial, guest)


@reported(
    Report(
        "dirty-ring",
        "M1",
        Kind.GUARD,
        "sends the pages that the GIC writes when no vCPU runs, with a dirty ring too",
        lifecycle="live-unix",
        vcpus=2,
        platforms=WITH_KVM,
    )
)
def test_lpis_survive_a_migration_with_a_dirty_ring(trial: Trial) -> None:
    with_ring = {"accel": "kvm,dirty-ring-size=4096"}
    trial.vary(with_ring, with_ring)
    guest = trial.boot("gic", kinds="lpi")
    trial.put_through(guest)
    judge(trial, guest)


@reported(
    Report(
        "device-removed-between-saves",
        "G1",
        Kind.GUARD,
        "forgets a device that the guest has unmapped since the last save",
        platforms=ANYWHERE,
    ),
    Report(
        "event-discarded-between-saves",
        "G2",
        Kind.GUARD,
        "forgets an event that the guest has discarded since the last save",
        platforms=ANYWHERE,
    ),
)
def test_what_the_guest_unmaps_is_not_restored(case: Params, trial: Trial) -> None:
    guest = trial.boot("unmap", what=case.report.partition("-")[0])
    passage = trial.lifecycle.by(trial.start)
    trial.passages.append(passage)
    for last in (False, True):
        machine = guest.machine
        guest.follow([machine, trial.lifecycle.run(passage, machine)])
        guest.go()
        if not last:
            guest.reach_now()
    witness.hear_out(guest)
    trial.count(registers=guest.checks(), interrupts=len(guest.of_kind("irq")))
    guest.finish()
