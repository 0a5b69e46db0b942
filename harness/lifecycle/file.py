"""Save to a file, let the process go, restore in a new one."""

from __future__ import annotations

from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine


def file(passage: Passage, machine: Machine) -> Machine:
    """Save and restore through `file:`."""
    return _through_file(passage, machine)


def file_mapped_ram(passage: Passage, machine: Machine) -> Machine:
    """Save and restore with RAM at fixed offsets of the file (capability mapped-ram)."""
    return _through_file(passage, machine, "mapped-ram")


def twice(passage: Passage, machine: Machine) -> Machine:
    """Save and restore the guest, let it run, and save and restore the restored one."""
    first = _through_file(passage, machine, name="first")
    return _through_file(passage, first, name="second")


def _through_file(passage: Passage, machine: Machine, *capabilities: str, name: str = "stream") -> Machine:
    machine.stop()
    before = passage.look(machine)
    saved = passage.save(machine, name, *capabilities)
    machine.dismiss()
    restored = passage.twin()
    passage.load(restored, saved.at(restored), *capabilities)
    passage.compare(before, passage.look(restored))
    if not capabilities:
        passage.compare_stream(saved, restored)
    restored.cont()
    return restored
