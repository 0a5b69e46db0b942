"""A lifecycle that loses one bit, among sound ones: a walk finds it and is shrunk to the steps that it needs."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import Failure, GuestFailure, QemuFailure, StateDiffers
from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.lifecycle.passage import Passage
from harness.plugin import exhibits, walk
from harness.plugin.trial import Trial
from harness.plugin.verdicts import conclude
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.report import bundle
from harness.report.model import Compared
from harness.state import ram
from harness.state.edit import flip_byte, set_register
from scenarios.stress.subject import Led
from tests.sabotage.parts import NewTrial

STEPS = 200
RAM_BASE, PAGE = 0x40000000, 4096
Edit = Callable[[bytes, Trial, Machine], bytes]


def lossy(trial: Trial, edit: Edit) -> Lifecycle:
    """Return the lifecycle `file` with the stream edited on its way."""

    def file_lossy(passage: Passage, machine: Machine) -> Machine:
        machine.stop()
        before = passage.look(machine)
        saved = passage.save(machine)
        saved.here().write_bytes(edit(saved.here().read_bytes(), trial, machine))
        restored = passage.twin()
        passage.load(restored, saved.path)
        passage.compare(before, passage.look(restored))
        machine.dismiss()
        restored.cont()
        return restored

    return Lifecycle("file-lossy", file_lossy)


def a_register(data: bytes, _: Trial, __: Machine) -> bytes:
    return set_register(data, "cpu0/V9", 1 << 77)


def a_register_of_one_that_has_moved(data: bytes, trial: Trial, machine: Machine) -> bytes:
    return data if machine is trial.machines[0] else a_register(data, trial, machine)


def a_page(data: bytes, trial: Trial, _: Machine) -> bytes:
    """Flip a bit where the payload `memory` has a node, which no register tells."""
    (guest,) = trial.guests
    if guest.name != "memory":
        return data
    address = guest.of_kind("arranged")[0].number("base") - RAM_BASE + PAGE
    head = (address | ram.PAGE | ram.CONTINUE).to_bytes(8, "big")
    return flip_byte(data, data.index(head) + len(head) + PAGE // 2, 4)


PLANTED: dict[Edit, tuple[type[Failure], str]] = {
    a_register_of_one_that_has_moved: (StateDiffers, r"V9 was .*; seed 1 walked: boot [\w-]+, [\w-]+, file-lossy$"),
    a_page: (GuestFailure, r"the guest found: .* node \d+ .*; seed 1 walked: boot memory, file-lossy, judge$"),
}


@pytest.mark.parametrize("edit", PLANTED, ids=lambda edit: f"walk: {edit.__name__.replace('_', ' ')}")
def test_a_lossy_lifecycle_is_found_and_the_walk_shrunk(edit: Edit, new_trial: NewTrial, tmp_path: Path) -> None:
    error, words = PLANTED[edit]
    trial = new_trial("file")
    ways = {name: LIFECYCLES[name] for name in ("pause", "file")} | {"file-lossy": lossy(trial, edit)}
    led = Led(trial, ways)
    led.guests = ("disabled", "memory")
    with pytest.raises(error) as raised:
        walk.run(led, steps=STEPS, number=1)
    assert re.search(words, raised.value.what)
    assert len(raised.value.what.partition("walked: ")[2].split(", ")) <= 5
    # What is left is the evidence of the shortest walk.
    case = conclude("walk", "stress", "tcg", trial.params, raised.value, seconds=0, compared=Compared())
    folder = tmp_path / bundle.write(tmp_path, exhibits.evidence(trial, case, (), {}))
    assert "walked: " in (folder / "README.txt").read_text()
    assert len([*(folder / "sides").iterdir()]) == len(trial.machines) <= 4


def test_what_is_lacking_here_is_left_out_and_what_is_refused_after_a_migration_is_a_failure(new_trial: NewTrial) -> None:
    def refused(_: Passage, machine: Machine) -> Machine:
        migration.enable(machine, "none-such")
        return machine

    trial = new_trial("file")
    newer = Lifecycle("newer", refused, since=(1000, 0), brought="none-such")
    led = Led(trial, {"refused": Lifecycle("refused", refused), "newer": newer, "file": LIFECYCLES["file"]})
    led.boot("disabled")
    for way in ("refused", "file", "newer"):
        led.lead(way)
    assert trial.found == {"left_out": "newer, refused"}
    with pytest.raises(QemuFailure, match="^destination: QEMU refuses none-such, having migrated before: "):
        led.lead("refused")
