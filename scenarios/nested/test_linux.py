"""A Linux that is a guest hypervisor at vEL2 and its guest, L2, both go on while its registers are polled, or it is paused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.state.rules import Kind, Rule
from scenarios.places import UNDER_KVM_BUT

PLACE = {"hypervisor": ("linux",), "level": ("el1",), "vcpus": (1,), "cpu": ("host",)}
LIFECYCLES = ("straight", "pause", "poll-registers")

# What a Linux changes by itself in a moment: where it is, whose memory it sees, its timers, its world and that of its guest.
LINUX_RUNS = (
    Rule(
        r"TTBR[01]_EL[12]|CONTEXTIDR_EL[12]|TPIDR\w*_EL\d|SP_EL[012]|(ESR|FAR|ELR|SPSR|AFSR[01])_EL[12]|PAR_EL1|SPSR_\w+|"
        r"CNT[PH]?[HPV]\w*_(CTL|CVAL|TVAL)_EL\d+|CNTKCTL_EL1|CNTHCTL_EL2|CNTVOFF_EL2|AP\w+KEY\w+_EL1|"
        r"(SCTLR|TCR|MAIR|CPACR)_EL1|VBAR_EL[12]|(HCR|VTTBR|VTCR|VMPIDR|VPIDR|HPFAR|MDCR|CPTR|HSTR|HFG\w+|HDFG\w+|HAFGRTR|HCRX)_EL2|"
        r"MDSCR_EL1|OSDLR_EL1|PM\w+_EL0|CSSELR_EL1|FPSR|FPCR|[VZ]\d+|P\d+|FFR",
        Kind.REWRITTEN,
        "Linux went on between the two looks: it scheduled, and switched between itself and its guest",
        "arch/arm64/kernel/process.c, arch/arm64/kvm/hyp of the kernel (VBAR_EL2: vhe/switch.c, by the name vbar_el1)",
    ),
)


@pytest.mark.matrix(Matrix({"lifecycle": LIFECYCLES, "timer": ("cntv", "cntp"), **PLACE}, platforms=("lab",)))
def test_an_l2_gets_its_interrupts_while_l1_is_looked_at(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    guest = boot("timers", timer=case.timer, instant="armed", by="cval", **timers.times("armed", trial.ahead_us))
    put_through(guest, rewrites=LINUX_RUNS)
    timers.hear_out(guest)
    counts(interrupts=timers.judge(guest, interrupted=trial.lifecycle.interrupts), registers=timers.compared(guest))
    guest.finish()


@pytest.mark.matrix(Matrix({"lifecycle": LIFECYCLES, **PLACE}, platforms=("lab",)))
def test_an_l2_keeps_its_registers_while_l1_is_looked_at(
    trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    guest = boot("registers", sets="gpr,fp,sys", but=UNDER_KVM_BUT)
    put_through(guest, rewrites=LINUX_RUNS)
    witness.hear_out(guest)
    witness.judge(guest, interrupted=trial.lifecycle.interrupts)
    counts(registers=witness.evidence(guest))
    guest.finish()
