"""Reset the machine in mid-run: the guest begins again, on a machine that must be as new."""

from __future__ import annotations

from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine


def reset(passage: Passage, machine: Machine) -> Machine:
    """Reset the stopped machine and compare every register with that of a machine that has just been switched on."""
    machine.stop()
    machine.execute("system_reset")
    machine.wait_event("RESET", passage.deadline)
    new = passage.another()
    passage.compare(passage.look(new), passage.look(machine))
    new.dismiss()
    machine.console.leftover()  # the last words of the life that has ended, perhaps half a line
    machine.cont()
    return machine
