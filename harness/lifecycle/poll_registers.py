"""Poll the monitor's `info registers` while the guest runs.

The lifecycle that found the first nested-virtualisation bug of 2025: with KVM each poll reads every register out of the
kernel and writes them back, and so cleared ISTATUS of an emulated timer (thread of 20241209053201.339939-1-gankulkarni@os.
amperecomputing.com).
"""

from __future__ import annotations

from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine

POLLS = 10


def poll_registers(passage: Passage, machine: Machine) -> Machine:
    """Ask for all vCPUs' registers POLLS times; look before and after."""
    machine.stop()
    before = passage.look(machine)
    machine.cont()
    for _ in range(POLLS):
        machine.monitor("info registers -a")
    machine.stop()
    passage.compare(before, passage.look(machine), ran=True)
    machine.cont()
    return machine
