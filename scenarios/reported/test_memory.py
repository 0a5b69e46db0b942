"""The guest's memory: dirty pages that were missed, and the capabilities of a migration that do not fit each other."""

from __future__ import annotations

from harness.errors import GuestFailure, NoEvidence
from harness.lifecycle.passage import Passage, Saved
from harness.lifecycle.snapshot import create, job_of
from harness.plugin.reported import Kind, Report, reported
from harness.plugin.trial import Trial
from harness.qemu import migration
from harness.state.stream import decode
from scenarios.reported.parts import another, edited, expected, judge, last_say, machine_of, refusal, soon


@reported(Report("corrupt-list", "M2", Kind.MODEL, "sends every page that the guest changed"))
def test_a_node_of_a_list_that_was_torn_is_found(trial: Trial) -> None:
    guest = trial.boot("memory", kib=64, sabotage="flip")
    trial.put_through(guest)
    with expected(GuestFailure, "1 of 4 words wrong"):
        judge(trial, guest)
    trial.count(registers=1)


@reported(
    Report(
        "multifd-and-snapshots",
        "M3",
        Kind.GUARD,
        "refuses a snapshot while multifd is on, and the guest goes on",
        lifecycle="snapshot",
    )
)
def test_a_snapshot_is_taken_with_multifd_on(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    machine = machine_of(guest)
    migration.enable(machine, "multifd")
    passage = Passage(trial.start)
    machine.stop()
    create(passage, machine, Saved(machine, "snapshots.qcow2").path)
    with refusal("Snapshots are not compatible with multifd"):
        job_of(passage, machine, "snapshot-save")
    machine.cont()
    last_say(trial, guest)


@reported(
    Report(
        "multifd-on-one-side",
        "M4",
        Kind.MODEL,
        "says that the other side has it not, and the source goes on",
        lifecycle="multifd",
    )
)
def test_multifd_on_the_source_only_is_refused(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    source, destination = machine_of(guest), another(trial)
    migration.enable(source, "return-path", "multifd")
    migration.enable(destination, "return-path")
    migration.receive(destination, f"unix:{destination.place / 'migration'}")
    migration.send(source, f"unix:{destination.place / 'migration'}")
    with refusal("capability, multifd"):
        migration.transferred(source, destination, soon())
    last_say(trial, guest)


@reported(
    Report(
        "mapped-ram-as-plain",
        "M5",
        Kind.MODEL,
        "names the capability that the stream was written with",
        lifecycle="file-mapped-ram",
    )
)
def test_a_mapped_ram_stream_is_no_plain_one(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    passage = Passage(trial.start)
    source = machine_of(guest)
    source.stop()
    saved = passage.save(source, "stream", "mapped-ram")
    with refusal("capability, mapped-ram"):
        passage.load(another(trial), saved.path)
    source.cont()
    last_say(trial, guest)


@reported(Report("input-in-flight", "M8", Kind.GUARD, "delivers what a device had received and the guest had not taken yet"))
def test_a_byte_on_its_way_into_the_guest_arrives(trial: Trial) -> None:
    guest = trial.boot("timers", timer="cntv", instant="armed-far", by="cval")
    machine_of(guest).stop()
    guest.go()
    restored = edited(trial, guest)
    uart = decode(trial.passages[-1].streams[0].here()).devices["pl011"].fields
    if not uart["read_count"]:
        raise NoEvidence("the byte had not reached the UART when the guest was saved")
    restored.cont()
    judge(trial, guest)
