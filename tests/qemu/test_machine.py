"""A machine over a QEMU that misbehaves: what is heard, and which error it becomes."""

from __future__ import annotations

import stat

import pytest

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestFailure, QemuFailure, Unsupported
from harness.qemu import machine as machine_module
from harness.qemu.qmp import QmpRefused
from harness.qemu.spec import Start
from tests.qemu.fakes import FAKE, Starter, are_closed, descriptors


def soon() -> Deadline:
    return Deadline.after(10)


def test_words_of_the_guest_and_of_the_monitor(fake: Starter) -> None:
    machine = fake()
    assert machine.console.line(soon(), "hello").startswith("@1 hello guest=fake")
    assert machine.monitor("info registers") == "you said info registers\r\n"
    assert machine.status() == "running"
    machine.stop()
    assert machine.status() == "paused"
    machine.quit(soon())
    assert machine.process.poll() == 0
    machine.quit(soon())


def test_a_process_that_is_told_to_end_and_dies_of_it_has_not_ended_well(fake: Starter) -> None:
    waited, dismissed = fake("fault=dies-dismissed"), fake("fault=dies-dismissed", side="destination")
    with pytest.raises(QemuFailure, match="^source: QEMU was killed by SIGTERM"):
        waited.quit(soon())
    dismissed.dismiss()
    with pytest.raises(QemuFailure, match="^destination: QEMU was killed by SIGTERM"):
        dismissed.end_well(soon())
    assert [each.dismissed for each in (waited, dismissed)] == [False, True]


def test_a_qemu_that_ends_at_once_is_quoted(fake: Starter) -> None:
    machine = fake.make("fault=exit")
    with pytest.raises(QemuFailure, match="source: QEMU did not start: -cpu nonsense: unable to find") as caught:
        machine.__enter__()
    assert machine.process.poll() == 1
    assert "qemu-system-aarch64" not in str(caught.value)


def test_a_host_without_el2_for_guests_is_no_failure_of_a_guest_at_el2(fake: Starter) -> None:
    with pytest.raises(Unsupported, match="source: mach-virt: host kernel KVM does not support"):
        fake.make("fault=no-el2", el2=True).__enter__()
    with pytest.raises(QemuFailure, match="did not start: mach-virt"):
        fake.make("fault=no-el2").__enter__()


def test_a_qemu_that_is_not_there(fake: Starter) -> None:
    machine = fake.make(qemu=type(FAKE)(("/none/such",), {}, (0, 0, 0), "", ""))
    with pytest.raises(QemuFailure, match="did not start: .*/none/such"):
        machine.__enter__()


def test_a_guest_that_powers_off_at_once_is_heard(fake: Starter) -> None:
    for _ in range(10):
        with fake.make("says=skip") as machine:
            assert machine.console.line(soon(), "a word") == "@1 skip text=this CPU has none"


def test_a_qemu_that_never_greets_is_not_left_behind(fake: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_module, "COMMAND_SECONDS", 0.1)
    machine = fake.make("fault=mute")
    with pytest.raises(DeadlineExpired, match="QMP greeting of source"):
        machine.__enter__()
    assert machine.process.poll() is not None


def test_a_refused_command_has_qemus_words(fake: Starter) -> None:
    with pytest.raises(QmpRefused, match="source: nonsense: The command nonsense has not been found") as caught:
        fake().execute("nonsense")
    assert caught.value.description == "The command nonsense has not been found"


def test_death_in_the_middle_of_a_command(fake: Starter) -> None:
    with pytest.raises(QemuFailure, match=r"source: QEMU exited with status 1: Assertion `bql_locked\(\)' failed\."):
        fake().execute("fake-die")


def test_death_by_a_signal_is_named(fake: Starter) -> None:
    with pytest.raises(QemuFailure, match="QEMU was killed by SIGABRT"):
        fake().execute("fake-kill")


def test_a_command_that_hangs(fake: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake()
    monkeypatch.setattr(machine_module, "COMMAND_SECONDS", 0.1)
    with pytest.raises(DeadlineExpired, match="waited 0.1 s for source to answer fake-hang"):
        machine.execute("fake-hang")
    machine.close()
    assert machine.process.poll() == -9


def test_events_are_kept_from_the_first_on_and_found_by_their_data(fake: Starter) -> None:
    machine = fake()
    for number in (1, 2):
        machine.execute("fake-event", {"name": "THING", "number": number})
    assert machine.wait_event("THING", soon(), number=2).data == {"number": 2}
    assert machine.wait_event("THING", soon()).data == {"number": 1}
    assert machine.wait_event("THING", soon(), since=1).data == {"number": 2}
    with pytest.raises(DeadlineExpired, match="the event OTHER from source"):
        machine.wait_event("OTHER", Deadline.after(0.05))


def test_a_wait_for_an_event_ends_with_the_process(fake: Starter) -> None:
    machine = fake()
    machine.dismiss()
    with pytest.raises(QemuFailure, match="QEMU exited with status 0"):
        machine.wait_event("NEVER", soon())


def test_a_wait_for_a_line_ends_with_the_process(fake: Starter) -> None:
    machine = fake("says=nothing")
    machine.kill()
    with pytest.raises(QemuFailure, match="QEMU was killed by SIGKILL"):
        machine.console.line(soon(), "hello")


def test_lines_written_before_the_end_are_heard_first(fake: Starter) -> None:
    machine = fake()
    machine.quit(soon())
    assert [machine.console.line(soon(), "it")[:8] for _ in range(3)] == ["@1 hello", "@1 arran", "@1 now"]
    with pytest.raises(QemuFailure, match="exited with status 0"):
        machine.console.line(soon(), "it")


def test_a_flood_passes_without_a_line_lost(fake: Starter) -> None:
    machine = fake("says=nothing")
    machine.execute("fake-write", {"text": "@1 beat cpu=0 n=1\n", "times": 20_000})
    for _ in range(2000):
        assert machine.console.line(soon(), "beat") == "@1 beat cpu=0 n=1"
    assert len(machine.console.leftover()[0]) <= 18_000
    machine.close()
    assert (machine.directory / "console.log").stat().st_size == 18 * 20_000


def test_a_console_that_closes_while_the_machine_runs(fake: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = fake("says=nothing")
    monkeypatch.setattr(machine_module, "COMMAND_SECONDS", 0.2)
    machine.execute("fake-close-console")
    with pytest.raises(QemuFailure, match="console closed"):
        machine.console.line(soon(), "hello")


def test_a_panic_ends_the_wait(fake: Starter) -> None:
    with pytest.raises(GuestFailure, match="panicked: @1 panic cpu=0 esr=0x96000004 text=data abort"):
        fake("says=panic").console.line(soon(), "hello")


def test_look_reads_every_register_by_its_manual_name(fake: Starter) -> None:
    machine = fake()
    state = machine.look(soon())
    assert dict(state.registers) == {"cpu0/X0": 7, "cpu0/X1": 0x1234, "cpu0/ESR_EL1": 5, "cpu0/SVCR": 0}
    assert len(fake.workshop.targets.known) == 1
    assert machine.look(soon()).registers == state.registers
    assert len(fake.workshop.targets.known) == 1


def test_start_paused_waits_for_cont(fake: Starter) -> None:
    machine = fake(start=Start.PAUSED)
    with pytest.raises(DeadlineExpired, match="for hello"):
        machine.console.line(Deadline.after(0.05), "hello")
    machine.cont()
    assert machine.console.line(soon(), "hello")


def test_all_that_is_known_stays_and_nothing_else(fake: Starter) -> None:
    machine = fake()
    before = descriptors()
    second = fake(side="destination")
    second.look(soon())
    second.close()
    second.close()
    assert are_closed(before)
    names = {path.name for path in second.directory.iterdir() if not stat.S_ISSOCK(path.stat().st_mode)}
    assert names == {"console.log", "qmp.log", "stderr.log"}
    assert '-> {"execute":"qmp_capabilities"' in (second.directory / "qmp.log").read_text()
    text = str(fake.timeline)
    assert all(word in text for word in (" start ", " qmp ", " look ", " exit ")), text
    assert machine.process.poll() is None
