"""Makes the EL2 timers of a restored lab tick again.

QEMU under TCG saves CNTHV_EL2 and CNTHP_EL2 with the other registers but recomputes neither when it loads them, so they never
fire again (seen with 10.0.2 and 11.1.3). Linux at EL2 has its tick from CNTHV, and the restored kernel sleeps for ever. A
write to a timer's CVAL makes QEMU recompute it; the gdb stub cannot write system registers, so each vCPU has to: instructions
are put where it is about to go on after its WFI, executed one by one, and taken away again.

A vCPU in WFI executes nothing until an interrupt comes. One is woken from outside; the others by an SGI from that one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.deadline import Deadline
from harness.errors import HarnessBug
from harness.qemu.gdb import GdbControl
from harness.qemu.machine import Machine

# Arm ARM, C6.2: WFI; MRS and MSR of S3_4_C14_C3_2 (CNTHV_CVAL_EL2) and S3_4_C14_C2_2 (CNTHP_CVAL_EL2) with x0.
_WFI = 0xD503207F
_REARM = (0xD53CE340, 0xD51CE340, 0xD53CE240, 0xD51CE240)
# MSR of S3_0_C12_C11_5 (ICC_SGI1R_EL1) with x0, which holds a list of targets by Aff0. INTID 0 is Linux's IPI_RESCHEDULE
# (arch/arm64/kernel/smp.c): whoever gets it looks whether there is something to do.
_SEND_SGI = 0xD518CBA0
# What one such list can name.
_VCPUS = 16


def rearm(machine: Machine, wake: Callable[[], None], deadline: Deadline) -> None:
    """Write the EL2 timers' CVALs back on every vCPU and let the machine run.

    The machine has to be stopped, its vCPUs in WFI with interrupts masked, as Linux's idle loop leaves them. `wake` causes an
    interrupt on one of them, once it runs. Raises QemuFailure, DeadlineExpired.
    """
    with GdbControl(machine.connect("gdb"), deadline, machine.side) as stub:
        waiting = {thread: _place(stub, thread) for thread in stub.threads()}
        for thread, pc in waiting.items():
            if pc is None:
                raise HarnessBug(f"vCPU {thread} of the template does not wait in WFI", where=machine.side)
            # Whatever wakes it, this is the first instruction that it comes to.
            stub.set_breakpoint(pc)
        wake()
        first = stub.go()
        stub.choose(first)
        _execute(stub, _REARM)
        others = [thread for thread in waiting if thread != first]
        if others:
            # Aff0 is the number of the vCPU (hw/arm/virt.c, up to 16 of them); the stub counts from 1.
            _execute(stub, (_SEND_SGI,), x0=sum(1 << (int(thread, 16) - 1) for thread in others))
        for thread in others:
            stub.choose(thread)
            stub.go_alone()
            _execute(stub, _REARM)
        stub.detach()


def idle(machine: Machine, deadline: Deadline) -> bool:
    """True when all vCPUs of a stopped machine wait in WFI."""
    with GdbControl(machine.connect("gdb"), deadline, machine.side) as stub:
        return None not in [_place(stub, thread) for thread in stub.threads()]


def _place(stub: GdbControl, thread: str) -> int | None:
    """Return where a vCPU goes on, or None where it does not wait in WFI."""
    stub.choose(thread)
    pc = stub.register(stub.PC)
    return pc if stub.read_memory(pc - 4, 4) == _WFI.to_bytes(4, "little") else None


def _step(stub: GdbControl, here: int) -> None:
    """Have the chosen vCPU execute the instruction at `here`, whose successor is the next.

    A vCPU that came to its breakpoint at the same time as the chosen one is reported at the next chance: that ends a step
    before it is made.
    """
    for _ in range(_VCPUS):
        stub.step()
        if (now := stub.register(stub.PC)) != here:
            break
    if now != here + 4:
        raise HarnessBug(f"the vCPU went to {now:#x} instead of {here + 4:#x}")


def _execute(stub: GdbControl, words: Sequence[int], *, x0: int = 0) -> None:
    """Have the chosen vCPU execute `words`, x0 being theirs, before it goes on."""
    pc, saved = stub.register(stub.PC), stub.register(stub.X0)
    code = b"".join(word.to_bytes(4, "little") for word in words)
    was = stub.read_memory(pc, len(code))
    stub.clear_breakpoint(pc)
    stub.write_memory(pc, code)
    stub.set_register(stub.X0, x0)
    for here in range(pc, pc + 4 * len(words), 4):
        _step(stub, here)
    stub.write_memory(pc, was)
    stub.set_register(stub.X0, saved)
    stub.set_register(stub.PC, pc)
    stub.set_breakpoint(pc)
