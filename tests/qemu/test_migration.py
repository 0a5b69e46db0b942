"""A transfer is judged from both sides: the source's word alone is never enough."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from harness.deadline import Deadline
from harness.errors import Blocked, DeadlineExpired, QemuFailure, Suspect, Unsupported
from harness.lifecycle import LIFECYCLES, snapshot
from harness.lifecycle.passage import Passage
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.qemu.qmp import Event
from harness.qemu.spec import Start
from tests.qemu.fakes import Starter


def soon() -> Deadline:
    return Deadline.after(10)


def _transfer(source: Machine, destination: Machine) -> None:
    path = destination.directory / "sock"
    for side in (source, destination):
        migration.enable(side, "return-path")
    migration.receive(destination, f"unix:{path}")
    migration.send(source, f"unix:{path}")
    migration.transferred(source, destination, soon())


def test_both_sides_completed(fake: Starter) -> None:
    source, destination = fake.pair()
    _transfer(source, destination)
    assert migration.status(source) == migration.status(destination) == "completed"


def test_completed_on_the_source_but_refused_by_the_destination(fake: Starter) -> None:
    source, destination = fake.pair("fault=refuses")
    with pytest.raises(QemuFailure) as caught:
        _transfer(source, destination)
    assert str(caught.value).startswith(
        'destination: RAM block, mach-virt.ram: the destination did not take the stream: Unknown ramblock "mach-virt.ram"'
    )
    assert "load of migration failed; the source says completed" in str(caught.value)
    assert caught.value.suspect is Suspect.QEMU


def test_failed_on_the_source_with_its_reason(fake: Starter) -> None:
    source, destination = fake.pair("fault=failed")
    with pytest.raises(QemuFailure, match="failed on the source; the source says failed: Sibling indicated error 1"):
        _transfer(source, destination)


def test_a_destination_that_refuses_is_named_although_the_source_was_heard_first(
    fake: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, destination = fake("fault=failed"), fake("fault=refuses", side="destination", start=Start.INCOMING)
    path = destination.directory / "sock"
    migration.receive(destination, f"unix:{path}")
    migration.send(source, f"unix:{path}")

    def refuse(_: Machine) -> None:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.connect(str(path))
            stream.sendall(b"QEVM")

    monkeypatch.setattr(migration, "_let_end", refuse)
    with pytest.raises(
        QemuFailure,
        match=r"^destination: RAM block, mach-virt.ram: the destination did not take the stream: .*; the source says failed: Sib",
    ):
        migration.transferred(source, destination, soon())


def test_a_postcopy_guest_is_the_destinations_when_the_source_has_heard_of_it(fake: Starter) -> None:
    source, destination = fake.pair()
    destination.execute("fake-event", {"name": "MIGRATION", "status": "postcopy-active"})
    destination.cont()
    for status in ("active", "device", "postcopy-device"):
        source.execute("fake-event", {"name": "MIGRATION", "status": status})
        with pytest.raises(DeadlineExpired, match="the source to hear of the switch"):
            migration.switched_over(source, destination, Deadline.after(0.05))
    source.execute("fake-event", {"name": "MIGRATION", "status": "postcopy-active"})
    migration.switched_over(source, destination, soon())
    source.execute("fake-event", {"name": "MIGRATION", "status": "failed"})
    with pytest.raises(QemuFailure, match="the migration failed on the source"):
        migration.switched_over(source, destination, soon())


def test_a_source_that_is_killed(fake: Starter) -> None:
    source, destination = fake.pair()
    migration.receive(destination, f"unix:{destination.directory / 'sock'}")
    source.kill()
    with pytest.raises(
        QemuFailure, match="failed on the source; the source says none: it was killed by SIGKILL without a word"
    ):
        migration.transferred(source, destination, soon())


def test_a_destination_that_is_killed(fake: Starter) -> None:
    source, destination = fake.pair()
    destination.kill()
    with pytest.raises(
        QemuFailure,
        match="destination: crash, destination .SIGKILL.: the destination did not take the stream: it was killed by SIGKILL without a word; the source says none",
    ):
        migration.transferred(source, destination, soon())


def test_a_transfer_that_never_ends(fake: Starter) -> None:
    source, destination = fake.pair()
    with pytest.raises(DeadlineExpired, match="both sides to complete the migration"):
        migration.transferred(source, destination, Deadline.after(0.05))


def test_a_source_that_completes_alone_is_not_believed(fake: Starter) -> None:
    source, destination = fake.pair()
    source.execute("fake-event", {"name": "MIGRATION", "status": "completed"})
    source.wait_event("MIGRATION", soon())
    with pytest.raises(DeadlineExpired):
        migration.transferred(source, destination, Deadline.after(0.05))


def test_what_an_earlier_migration_said_does_not_count(fake: Starter) -> None:
    source, destination = fake.pair()
    for side in (source, destination):
        side.execute("fake-event", {"name": "MIGRATION", "status": "failed"})
        side.wait_event("MIGRATION", soon())
    _transfer(source, destination)


def test_blocked_by_design_quotes_the_reasons(fake: Starter) -> None:
    source = fake("fault=blocked")
    with pytest.raises(Blocked, match="source: KVM nested virt is enabled; and another"):
        migration.send(source, "file:/dev/null")


def test_a_refusal_without_a_blocker_is_a_failure(fake: Starter) -> None:
    with pytest.raises(QemuFailure, match="source: unknown cause: migrate: unknown migration protocol: carrier"):
        migration.send(fake(), "carrier:pigeon")


def test_a_capability_that_is_lacking_is_no_failure(fake: Starter) -> None:
    with pytest.raises(Unsupported, match="QEMU refuses postcopy-ram: 'postcopy-ram' is not supported by this host kernel"):
        migration.enable(fake("fault=uncapable"), "postcopy-ram")


def test_saved_waits_for_the_whole_file(fake: Starter, tmp_path: Path) -> None:
    source = fake()
    migration.send(source, f"file:{tmp_path / 'stream'}")
    migration.saved(source, soon())
    assert (tmp_path / "stream").read_bytes() == b"QEVM"


def test_saved_says_why_not(fake: Starter, tmp_path: Path) -> None:
    source = fake("fault=failed")
    migration.send(source, f"file:{tmp_path / 'stream'}")
    with pytest.raises(QemuFailure, match="could not save: Sibling indicated error 1"):
        migration.saved(source, soon())


def test_saved_ends_with_the_process(fake: Starter) -> None:
    source = fake()
    source.kill()
    with pytest.raises(QemuFailure, match="killed by SIGKILL"):
        migration.saved(source, soon())


def test_a_stream_that_cannot_be_loaded(fake: Starter, tmp_path: Path) -> None:
    _, destination = fake.pair()
    (tmp_path / "stream").write_bytes(b"QEV")
    with pytest.raises(QemuFailure, match="destination: QEMU exited with status 1: Not a migration stream"):
        migration.receive(destination, f"file:{tmp_path / 'stream'}")


@pytest.mark.parametrize("name", ["pause", "file", "live-unix", "ping-pong", "twice"])
def test_lifecycles_over_the_fake_compare_what_they_saw(fake: Starter, name: str) -> None:
    passage = Passage(lambda side, start: fake("", side=side, start=start))
    machine = LIFECYCLES[name].run(passage, fake())
    assert machine.status() == "running"
    assert passage.pairs
    assert all(pair.before.registers == pair.after.registers for pair in passage.pairs)


def test_a_changed_register_is_in_the_pair(fake: Starter) -> None:
    passage = Passage(lambda side, start: fake("fault=register", side=side, start=start))
    LIFECYCLES["file"].run(passage, fake("fault=register"))
    (pair,) = passage.pairs
    assert (pair.before.registers["cpu0/X1"], pair.after.registers["cpu0/X1"]) == (0x1234, 0xBEEF)


@pytest.mark.parametrize(("fault", "seconds"), [("", 20), ("fault=resets-once", 2)])
def test_each_reset_is_waited_for(fake: Starter, fault: str, seconds: float) -> None:
    passage = Passage(lambda side, start: fake(fault, side=side, start=start), deadline=Deadline.after(seconds))
    with pytest.raises(DeadlineExpired, match="the event RESET from source$") if fault else nullcontext():
        LIFECYCLES["reset"].run(passage, fake(fault))


class Jobs:
    """A machine whose jobs end at once: those that make an image well, the others with an error, for it is blocked."""

    side = "source"
    migration_began = 0
    process = SimpleNamespace(poll=lambda: None)

    def __init__(self) -> None:
        self.qmp = SimpleNamespace(events=[])

    def stderr(self) -> str:
        return ""

    def execute(self, command: str, arguments: Mapping[str, Any] | None = None) -> Any:
        if arguments and "job-id" in arguments:
            self.job = {"id": arguments["job-id"], "error": "no" if command.startswith("snapshot-") else None}
            self.qmp.events.append(Event("JOB_STATUS_CHANGE", {"id": arguments["job-id"], "status": "concluded"}))
        return {"query-jobs": [self.job], "query-migrate": {"blocked-reasons": ["nested virt is enabled"]}}.get(command)

    def wait_event(self, *_: object, **__: object) -> None:
        """It has come."""


def test_a_snapshot_is_blocked_by_design_the_first_time_only() -> None:
    passage, machine = cast(Passage, SimpleNamespace(deadline=soon())), cast(Any, Jobs())
    snapshot.create(passage, machine, Path("image"))
    with pytest.raises(Blocked, match="^source: nested virt is enabled$"):
        snapshot.job_of(passage, machine, "snapshot-save")
    with pytest.raises(QemuFailure, match="snapshot-save: no$"):
        snapshot.job_of(passage, machine, "snapshot-save")
