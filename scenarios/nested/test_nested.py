"""A hypervisor at EL2 and its guest at EL1 both go on: every interrupt on each level, registers and list registers intact."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.errors import StateDiffers, Suspect
from harness.guest import witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.carry import refused_of_another_kind
from harness.plugin.matrix import Matrix, Params, Row
from harness.plugin.trial import Trial
from harness.state.rules import Kind, Rule
from scenarios.places import CPUS, WITHOUT_VHE, place_exists


def exists(row: Row) -> bool:
    """Say whether the CPU has the level and the hypervisor's timer."""
    return place_exists(row) and not (row.get("cpu") in WITHOUT_VHE and row.get("timer") == "cnthv")


RESET_WITH_AN_INTERRUPT_FORWARDED = {
    "lifecycle": "reset",
    "instant": "pending-lr",
    "timer": "none",
    "lr": "hw",
    "level": "vhe",
    "vcpus": 1,
    "cpu": "max",
}


def tells_under_kvm(row: Row) -> bool:
    """Say whether a case tells anything: after a reset with an interrupt forwarded the guest hangs there: once is enough."""
    factors = {"lifecycle": ("reset",), "lr": ("hw",), "instant": ("pending-lr", "active-lr")}
    hangs = all(row.get(name) in values for name, values in factors.items())
    known = {**RESET_WITH_AN_INTERRUPT_FORWARDED, "cpu": row.get("cpu")}
    return not hangs or all(known[name] == value for name, value in row.items())


MATRIX = Matrix(
    {
        "lifecycle": tuple(LIFECYCLES),
        "instant": ("armed", "pending-lr", "active-lr", "l2-running", "l2-wfi"),
        "timer": ("none", "cnthp", "cnthv"),
        "lr": ("hw", "sw"),
        "level": ("nvhe", "vhe"),
        "vcpus": (1, 2),
        "cpu": CPUS,
    },
    valid=exists,
    valid_under_kvm=tells_under_kvm,
    also=(RESET_WITH_AN_INTERRUPT_FORWARDED,),
)


# A hypervisor gives its guest EL1's registers, and changes HCR_EL2, the timers' controls and more with it.
WORLD_SWITCH = (
    Rule(
        r"\w+_EL1|(HCR|CNTHCTL|CNTVOFF|VTTBR|VTCR|VMPIDR|VPIDR|HPFAR|MDCR|CPTR|HSTR)_EL2|CNT[PV]_(CTL|CVAL)_EL0|TPIDR(RO)?_EL0",
        Kind.REWRITTEN,
        "the hypervisor switched between itself and its guest while it was polled",
        "guests/nested/world.c; Arm ARM D1.3",
    ),
)


@pytest.mark.matrix(MATRIX)
def test_both_levels_go_on(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    guest = boot("nested", instant=case.instant, timer=case.timer, lr=case.lr, ahead_us=trial.ahead_us)
    put_through(guest, compare_streams=True, rewrites=WORLD_SWITCH)
    witness.hear_out(guest)
    counts(interrupts=witness.judge(guest, interrupted=LIFECYCLES[case.lifecycle].interrupts))
    guest.finish()
    trial.stayed_calm()


@pytest.mark.matrix(
    Matrix(
        {
            "lifecycle": ("kvm-twice",),
            "instant": ("armed", "l2-running"),
            "level": ("nvhe", "vhe"),
            "vcpus": (2,),
            "cpu": CPUS,
            "first_entry": ("in-l2",),
        },
        platforms=("lab", "kvm", "ssh"),
    )
)
def test_a_vcpu_saved_in_a_guest_of_its_own_begins_there(
    case: Params, trial: Trial, boot: Callable[..., Guest], put_through: Callable[..., None], counts: Callable[..., None]
) -> None:
    """Its first entry is into L2; through the lifecycles `kvm-*` it is otherwise made at EL2 first (docs/kvm.md).

    After one restore, one of 18 guests went on all the same: inferred, not proven, a vCPU that is preempted just before it
    enters the guest is loaded once more, and then rightly. Each of four first entries has to go well here.
    """
    guest = boot("nested", instant=case.instant, timer="none", lr="hw", ahead_us=trial.ahead_us)
    put_through(guest, first_entry=False)
    witness.hear_out(guest)
    counts(interrupts=witness.judge(guest, interrupted=True))
    guest.finish()


@pytest.mark.matrix(
    Matrix(
        {"lifecycle": ("kvm-restore",), "instant": ("armed",), "level": ("nvhe", "vhe"), "onto": ("the-other-kind",)},
        platforms=("lab", "kvm", "ssh"),
    )
)
def test_a_guest_hypervisor_with_e2h0_on_one_side_only_is_refused(
    case: Params, trial: Trial, boot: Callable[..., Guest], counts: Callable[..., None]
) -> None:
    guest = boot("nested", instant=case.instant, timer="none", lr="hw", ahead_us=trial.ahead_us)
    refused = refused_of_another_kind(trial, guest, e2h0=case.level == "vhe")
    counts(registers=len(refused))
    if "ID_AA64MMFR1_EL1.VH" not in refused:
        raise StateDiffers(f"refused is {', '.join(refused) or 'nothing'}", suspect=Suspect.KERNEL_L0)
    witness.hear_out(guest)
    counts(interrupts=witness.judge(guest, interrupted=True))
    guest.finish()
