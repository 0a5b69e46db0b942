"""Reset the machine in mid-run: the guest begins again, on a machine that must be as new."""

from __future__ import annotations

from harness.guest.payload import Guest
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine


def reset(passage: Passage, machine: Machine) -> Machine:
    """Reset the stopped machine and compare every register with that of a machine that has just been switched on."""
    machine.stop()
    _reset(passage, machine)
    new = passage.another()
    if new.spec.accel == "kvm" and new.spec.el2:
        # KVM fixes the RES0 and RES1 bits of a guest hypervisor's registers when it runs for the first time; until then user
        # space sees them as they came (arch/arm64/kvm/nested.c, kvm_init_nv_sysregs; reset_unknown in sys_regs.c). Each vCPU
        # has run for certain when its guest has arranged everything: one that is stopped at once may not have entered KVM yet.
        new.cont()
        Guest("new", {}, new).reach_now()
        new.stop()
        _reset(passage, new)
    passage.compare(passage.look(new), passage.look(machine))
    new.dismiss()
    # A look leaves it to each vCPU's own thread to write the registers back, that the vCPU is off among them: on KVM, one whose
    # thread is late is off again after another has switched it on (known issue qemu-late-vcpu-off). A reset writes them itself.
    _reset(passage, machine)
    machine.console.leftover()  # the last words of the life that has ended, perhaps half a line
    machine.cont()
    return machine


def _reset(passage: Passage, machine: Machine) -> None:
    since = len(machine.qmp.events)
    machine.execute("system_reset")
    machine.wait_event("RESET", passage.deadline, since=since)
