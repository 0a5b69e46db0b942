"""Reset the machine in mid-run: the guest begins again, on a machine that must be as new."""

from __future__ import annotations

from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine


def reset(passage: Passage, machine: Machine) -> Machine:
    """Reset the stopped machine and compare every register with that of a machine that has just been switched on."""
    machine.stop()
    _reset(passage, machine)
    new = passage.another()
    if new.spec.accel == "kvm" and new.spec.el2:
        # KVM fixes the RES0 and RES1 bits of a guest hypervisor's registers when it runs for the first time; until then user
        # space sees them as they came (arch/arm64/kvm/nested.c, kvm_init_nv_sysregs; reset_unknown in sys_regs.c).
        new.cont()
        new.stop()
        _reset(passage, new)
    passage.compare(passage.look(new), passage.look(machine))
    new.dismiss()
    machine.console.leftover()  # the last words of the life that has ended, perhaps half a line
    machine.cont()
    return machine


def _reset(passage: Passage, machine: Machine) -> None:
    machine.execute("system_reset")
    machine.wait_event("RESET", passage.deadline)
