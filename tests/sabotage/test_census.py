"""The count of living guests is wrong in neither direction: none or two where one is claimed, one where none is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import HarnessBug, QemuFailure
from harness.faults import census
from harness.faults.census import Kind
from harness.faults.leftovers import Leftovers
from harness.guest.payload import Guest
from harness.host.line import Line
from harness.lifecycle.passage import Passage
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.state.edit import set_register
from tests.qemu.fakes import starter
from tests.sabotage.parts import NewTrial, start

Edit = Callable[[bytes], bytes]
PAYLOADS = ("memory", "timers")


@pytest.fixture
def sabotaged(new_trial: NewTrial) -> Trial:
    return new_trial("file")


def copied(sabotaged: Trial, source: Machine, edit: Edit = bytes) -> Machine:
    """Load the guest into another machine as well, and leave both stopped."""
    passage = Passage(sabotaged.start)
    source.stop()
    saved = passage.save(source)
    saved.here().write_bytes(edit(saved.here().read_bytes()))
    destination = passage.twin()
    passage.load(destination, saved.path)
    return destination


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"census: {payload}, one lives")
def test_passes_with_one(payload: str, sabotaged: Trial) -> None:
    guest = start(sabotaged, payload)
    found = census.count(guest, sabotaged.machines)
    assert found.one("source").machine is guest.machine
    with pytest.raises(QemuFailure, match=r"^one guest lives: source is running, .* answers `\w+`; expected was none$"):
        found.lost()


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"census: {payload}, killed")
def test_none_where_one_is_claimed(payload: str, sabotaged: Trial) -> None:
    guest = start(sabotaged, payload)
    assert isinstance(guest.machine, Machine)
    guest.machine.kill()
    guest.machine.wait_exit(Deadline.after(10))
    found = census.count(guest, sabotaged.machines)
    assert found.lost() == "no guest lives: source was killed by SIGKILL"
    with pytest.raises(QemuFailure, match=r"^no guest lives: source was killed by SIGKILL; expected was source$"):
        found.one("source")


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"census: {payload}, stopped on both sides")
def test_none_where_nobody_was_told_to_go_on(payload: str, sabotaged: Trial) -> None:
    guest = start(sabotaged, payload)
    assert isinstance(guest.machine, Machine)
    copied(sabotaged, guest.machine)
    found = census.count(guest, sabotaged.machines)
    assert [each.kind for each in found.standings] == [Kind.STOPPED, Kind.STOPPED]
    assert found.lost() == (
        "no guest lives: source is postmigrate, its migration completed; destination is paused, its migration completed"
    )


@pytest.mark.parametrize("payload", PAYLOADS, ids=lambda payload: f"census: {payload}, two live")
def test_two_where_one_is_claimed(payload: str, sabotaged: Trial) -> None:
    guest = start(sabotaged, payload)
    assert isinstance(guest.machine, Machine)
    destination = copied(sabotaged, guest.machine)
    guest.machine.cont()
    destination.cont()
    found = census.count(guest, sabotaged.machines)
    for side in ("source", "destination"):
        with pytest.raises(
            QemuFailure, match=rf"^2 guests live: source is running, .*; destination is .* expected was {side}$"
        ):
            found.one(side)


@pytest.mark.parametrize("side", ["source"], ids=["census: on the wrong side"])
def test_one_on_the_wrong_side(side: str, sabotaged: Trial) -> None:
    guest = start(sabotaged, "memory")
    assert isinstance(guest.machine, Machine)
    copied(sabotaged, guest.machine).cont()
    with pytest.raises(QemuFailure, match=rf"^one guest lives: source is postmigrate, .*; expected was {side}$"):
        census.count(guest, sabotaged.machines).one(side)


def nowhere(data: bytes) -> bytes:
    """Put the guest where there is nothing, with its vectors there too: an exception that never ends."""
    return set_register(set_register(data, "cpu0/PC", 0x100), "cpu0/VBAR_EL1", 0)


@pytest.mark.parametrize("seconds", [0.3], ids=["census: runs and says nothing"])
def test_a_machine_that_runs_is_no_guest_that_lives(seconds: float, sabotaged: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "ANSWER_SECONDS", seconds)
    guest = start(sabotaged, "memory")
    assert isinstance(guest.machine, Machine)
    copied(sabotaged, guest.machine, nowhere).cont()
    found = census.count(guest, sabotaged.machines)
    assert [each.kind for each in found.standings] == [Kind.STOPPED, Kind.SILENT]
    with pytest.raises(
        QemuFailure, match=r"^no guest lives: .*destination is running.* does not answer: .*expected was destin"
    ):
        found.one("destination")
    with pytest.raises(QemuFailure, match=r"; destination runs and says nothing$"):
        found.lost()


def test_a_qemu_that_answers_no_more_and_lives_on_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(census, "COMMAND_SECONDS", 0.1)
    with starter() as fake:
        machine = fake()
        machine.execute("fake-close-qmp")
        found = census.count(Guest("fake", {}, machine), [machine])
        assert [each.kind for each in found.standings] == [Kind.SILENT]
        with pytest.raises(
            QemuFailure, match=r"^no guest lives: source is silent, its migration none; source runs and says nothing"
        ):
            found.lost()


def test_leftovers_are_named(tmp_path: Path) -> None:
    before = Leftovers.now()
    with subprocess.Popen(["sleep", "60"]) as process, Line(tmp_path / "near", tmp_path / "far"):
        with pytest.raises(HarnessBug, match=rf"^left over: process {process.pid} \(sleep 60\), thread harness-line$"):
            Leftovers.now().none_since(before)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(HarnessBug, match=rf"^left over: process {process.pid} \(sleep\)"):  # nobody has reaped it
            Leftovers.now().none_since(before)
    Leftovers.now().none_since(before)
