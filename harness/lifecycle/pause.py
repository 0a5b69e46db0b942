"""Stop all vCPUs, let them stand, and go on."""

from __future__ import annotations

from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine


def pause(passage: Passage, machine: Machine) -> Machine:
    """Stop the machine and continue it; while it is stopped nothing may move."""
    machine.stop()
    before = passage.look(machine)
    passage.compare(before, passage.look(machine))
    machine.cont()
    return machine
