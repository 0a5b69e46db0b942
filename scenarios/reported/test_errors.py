"""What becomes of a guest when its migration fails: reported by those who lost it, or who were not told why."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any

from harness.guest.timers import times
from harness.lifecycle.passage import Passage, Saved
from harness.lifecycle.snapshot import attach, create, job_of
from harness.plugin.reported import Kind, Report, reported
from harness.plugin.trial import Trial
from harness.qemu import migration
from harness.qemu.gdb import GdbControl
from harness.qemu.machine import Machine
from harness.qemu.spec import Start
from scenarios.reported.parts import another, edited, judge, last_say, machine_of, refusal, soon

# A destination that takes nothing of a guest on `max`: it lacks registers of it.
LACKING: dict[str, Any] = {"cpu": "cortex-a57"}
REFUSAL = "register missing.*the destination did not take the stream"


def begin(source: Machine, destination: Machine, *capabilities: str) -> None:
    """Begin to migrate over a Unix socket."""
    for side in (source, destination):
        migration.enable(side, *capabilities)
    uri = f"unix:{destination.place / 'migration'}"
    migration.receive(destination, uri)
    migration.send(source, uri)


def refused(source: Machine, destination: Machine) -> None:
    """Migrate to a destination that does not take the guest, and see that the source runs again by itself."""
    begin(source, destination, "return-path")
    with refusal(REFUSAL):
        migration.transferred(source, destination, soon())
    source.wait_event("RESUME", soon(), since=source.migration_began)
    assert source.status() == "running"


def through_a_slow_network(source: Machine, destination: Machine) -> None:
    """Have everything that the source sends under way before the destination hears the first of it."""
    for side in (source, destination):
        migration.enable(side)
    with socket.socket(socket.AF_UNIX) as network:
        network.bind(str(source.place / "network"))
        network.listen()
        network.settimeout(soon().remaining)
        migration.send(source, f"unix:{source.place / 'network'}")
        sent, _ = network.accept()
        with sent, sent.makefile("rb") as stream:
            data = stream.read()
    migration.receive(destination, f"unix:{destination.place / 'migration'}")
    with destination.connect("migration") as received, suppress(BrokenPipeError, ConnectionResetError):
        received.sendall(data)


@reported(
    Report(
        "source-says-completed",
        "E1",
        Kind.GUARD,
        "tells of the destination's refusal whatever the source says, and the source can take the guest back",
        lifecycle="live-unix",
    )
)
def test_a_refusal_is_told_although_the_source_says_completed(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    source, destination = machine_of(guest), another(trial, **LACKING)
    through_a_slow_network(source, destination)
    with refusal(REFUSAL + ".*the source says completed"):
        migration.transferred(source, destination, soon())
    migration.finalized(source, soon())
    assert source.status() == "postmigrate"
    source.cont()
    last_say(trial, guest)


@reported(
    Report(
        "return-path", "E2", Kind.GUARD, "lets the source go on, and tells why the destination refused", lifecycle="live-unix"
    )
)
def test_with_a_return_path_the_source_goes_on_and_says_why(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    refused(machine_of(guest), another(trial, **LACKING))
    last_say(trial, guest)


@reported(
    Report(
        "source-goes-on",
        "E6",
        Kind.GUARD,
        "never leaves the source paused after a migration that failed: its timer ticks on",
        lifecycle="live-unix",
    )
)
def test_the_source_ticks_on_after_a_failed_migration(trial: Trial) -> None:
    guest = trial.boot("timers", timer="cntv", instant="periodic", by="cval", **times("periodic", trial.ahead_us))
    refused(machine_of(guest), another(trial, **LACKING))
    last_say(trial, guest)


@reported(
    Report("cancelled", "E3", Kind.GUARD, "goes on after a cancelled migration, and the next succeeds", lifecycle="live-unix")
)
def test_a_cancelled_guest_goes_on_and_can_be_migrated(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    source, destination = machine_of(guest), another(trial)
    migration.set_parameters(source, max_bandwidth=100_000)
    begin(source, destination, "return-path")
    source.wait_event("MIGRATION", soon(), status="active")
    source.execute("migrate_cancel")
    source.wait_event("MIGRATION", soon(), status="cancelled")
    assert source.status() == "running"
    migration.set_parameters(source, max_bandwidth=0)
    trial.put_through(guest)
    judge(trial, guest)


@reported(
    Report(
        "two-live-guests",
        "E4",
        Kind.MODEL,
        "does not send a guest twice; where the source is continued by mistake, both live guests are seen",
        lifecycle="live-unix",
    )
)
def test_a_guest_that_has_left_is_not_sent_again_and_may_live_twice(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    source, destination = machine_of(guest), another(trial)
    begin(source, destination, "return-path")
    migration.transferred(source, destination, soon())
    with refusal("paused due to previous migration"):
        migration.send(source, f"unix:{destination.place / 'migration'}")
    migration.finalized(source, soon())
    destination.cont()
    source.cont()
    assert [each.status() for each in (source, destination)] == ["running", "running"]
    source.kill()
    guest.follow([source, destination])
    last_say(trial, guest)


@reported(Report("stopped-twice", "E5", Kind.GUARD, "migrates a stopped machine with a disk again and again", lifecycle="file"))
def test_a_stopped_machine_with_a_disk_is_migrated_twice(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    machine = machine_of(guest)
    machine.stop()
    passage = Passage(trial.start)
    disk = Saved(machine, "disk.qcow2")
    create(passage, machine, disk.path)
    machines = [machine]
    for _ in range(2):
        following = passage.twin()
        attach(following, disk.path)
        begin(machine, following, "return-path")
        migration.transferred(machine, following, soon())
        assert following.status() != "running"
        machine = following
        machines.append(machine)
    machine.cont()
    guest.follow(machines)
    last_say(trial, guest)


@reported(Report("debugger", "E7", Kind.BUG, "carries a guest that a debugger had stopped"))
def test_a_guest_that_a_debugger_stopped_is_carried(trial: Trial) -> None:
    guest = trial.boot("timers", timer="cntv", instant="pending", by="cval")  # which does not sleep
    source = machine_of(guest)
    with GdbControl(source.connect("gdb"), soon(), source.side) as stub:
        stub.choose(stub.threads()[0])
        stub.step()
    assert source.status() == "debug"
    restored = edited(trial, guest)
    restored.cont()
    last_say(trial, guest)


@reported(
    Report("half-loaded", "E9", Kind.GUARD, "leaves a machine stopped whose snapshot could not be loaded", lifecycle="snapshot")
)
def test_a_failed_loadvm_leaves_the_machine_stopped(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    source = machine_of(guest)
    source.stop()
    passage = Passage(trial.start)
    disk = Saved(source, "disk.qcow2")
    create(passage, source, disk.path)
    job_of(passage, source, "snapshot-save")
    source.quit(soon())
    destination = another(trial, Start.PAUSED, **LACKING)
    attach(destination, disk.path)
    with refusal(r"^destination-other: register missing"):
        job_of(passage, destination, "snapshot-load")
    assert destination.status() != "running"
    destination.quit(soon())
    whole = passage.twin(Start.PAUSED)
    attach(whole, disk.path)
    job_of(passage, whole, "snapshot-load")
    whole.cont()
    guest.follow([source, whole])
    last_say(trial, guest)


@reported(
    Report(
        "destination-stays", "E10", Kind.GUARD, "keeps a destination that refused alive, and it says why", lifecycle="live-unix"
    )
)
def test_a_destination_that_refused_can_be_asked_why(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    source, destination = machine_of(guest), another(trial, **LACKING)
    for side in (source, destination):
        migration.enable(side, "return-path")
    uri = f"unix:{destination.place / 'migration'}"
    destination.execute("migrate-incoming", {"uri": uri, "exit-on-error": False})
    migration.send(source, uri)
    destination.wait_event("MIGRATION", soon(), status="failed")
    said = destination.execute("query-migrate")["error-desc"]
    assert "device 'cpu'" in said, f"the destination says only {said!r}"
    source.wait_event("RESUME", soon(), since=source.migration_began)
    last_say(trial, guest)


@reported(Report("icount-on-one-side", "E8", Kind.BUG, "refuses what it cannot take, and never aborts", lifecycle="live-unix"))
def test_a_guest_with_icount_is_refused_without_an_abort(trial: Trial) -> None:
    trial.vary({"arguments": ("-icount", "shift=0")}, {})
    guest = trial.boot("registers", sets="gpr")
    with refusal("error while loading state for instance 0x0 of device 'cpu'"):
        trial.put_through(guest)
    last_say(trial, guest)
