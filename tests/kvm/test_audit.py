"""A kernel that breaks a promise about its registers is found, and the field named; on a stand-in for /dev/kvm."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from harness.errors import Failure, KernelFailure, NoEvidence, StateDiffers, Unsupported
from harness.kvm import audit
from harness.kvm.machine import KvmMachine
from harness.kvm.sample import Sample, Samples, VcpusRefused
from harness.qemu.spec import Start
from scenarios.nested import test_offered

if TYPE_CHECKING:
    from harness.plugin.trial import Trial

Standing = Callable[..., Callable[[str, Start], KvmMachine]]


def mmfr(sample: Sample) -> int:
    """Both promises about what is never writable."""
    return (
        audit.never_writable(sample, "ID_AA64MMFR1_EL1", "VH")
        + audit.never_writable(sample, "ID_AA64MMFR4_EL1", "E2H0")
        + audit.writable_only(sample, "ID_AA64MMFR4_EL1", "NV_frac")
    )


def sample_of(standing_in: Standing, fault: str = "") -> Sample:
    return Samples(standing_in(fault)("source", Start.INCOMING)).at("el1")


@pytest.mark.parametrize(
    ("promise", "tried"), [(audit.settled, 80), (audit.taken_back, 80), (audit.masks_are_true, 3 * 64), (mmfr, 31)]
)
def test_a_kernel_that_keeps_its_promises_passes(standing_in: Standing, promise: Callable[[Sample], int], tried: int) -> None:
    assert promise(sample_of(standing_in)) >= tried


@pytest.mark.parametrize(
    ("fault", "promise", "says"),
    [
        ("init changes an ID register", audit.settled, r"ID_AA64PFR0_EL1.EL0 1 -> 0 on cpu0 by a second KVM_ARM_VCPU_INIT"),
        ("changes an ID register", audit.settled, r"ID_AA64MMFR1_EL1.XNX 1 -> 0 on cpu0 by the first entry"),
        ("does not take back", audit.taken_back, r"ID_AA64PFR0_EL1 does not take back 0x1111 before the first entry: EINVAL"),
        (
            "clears what it takes back",
            audit.taken_back,
            r"ID_AA64PFR0_EL1.EL0 1 -> 0, .* on cpu0 by taking back what was read before the first entry",
        ),
        ("announces XNX", audit.masks_are_true, r"ID_AA64MMFR1_EL1.XNX is announced as writable and takes nothing but 0x1"),
        ("hides HAFDBS", audit.masks_are_true, r"ID_AA64MMFR1_EL1.HAFDBS is announced as fixed and was taken with its bit 0"),
        ("keeps no write", audit.masks_are_true, r"ID_AA64MMFR1_EL1.HAFDBS took 0x0 and holds 0x1"),
        ("refuses by another number", audit.masks_are_true, r"ID_AA64PFR0_EL1.EL0 is refused with EPERM, not EINVAL"),
        ("spoils what it refuses", audit.masks_are_true, r"is refused, and yet the register is 0x"),
        ("announces what is not there", audit.masks_are_true, r"MPIDR_EL1 is announced as writable and does not exist"),
        (
            "writes VH",
            mmfr,
            r"ID_AA64MMFR1_EL1.VH is announced as writable; ID_AA64MMFR1_EL1.VH was written from 0x1 to 0x0: taken",
        ),
        ("announces EIESB", mmfr, r"ID_AA64MMFR4_EL1.EIESB is announced as writable"),
    ],
)
def test_a_broken_promise_is_told_by_its_field(
    standing_in: Standing, fault: str, promise: Callable[[Sample], int], says: str
) -> None:
    with pytest.raises(StateDiffers, match=says) as raised:
        promise(sample_of(standing_in, fault))
    assert raised.value.suspect == "kernel (L0)"


def test_writable_fields_are_lowered(standing_in: Standing) -> None:
    sample = sample_of(standing_in)
    assert audit.lowered(sample) == {"ID_AA64MMFR1_EL1": 0x10000100}
    assert sample.registers()["ID_AA64MMFR1_EL1"] == 0x10000100
    assert sample.encoded({"ID_AA64MMFR1_EL1": 0x10000100}) == {"0x603000000013c039": "0001001000000000"}


@pytest.mark.parametrize("fault", ["keeps no write", "announces nothing"])
def test_where_no_lower_value_is_held_nothing_is_proven(standing_in: Standing, fault: str) -> None:
    with pytest.raises(NoEvidence, match="no field of an ID register takes a lower value"):
        audit.lowered(sample_of(standing_in, fault))


def test_masks_of_nothing_prove_nothing(standing_in: Standing) -> None:
    with pytest.raises(NoEvidence, match="no writable bit at all"):
        audit.masks_are_true(sample_of(standing_in, "announces nothing"))


def test_a_field_that_does_not_exist_proves_nothing(standing_in: Standing) -> None:
    with pytest.raises(NoEvidence, match="has no field NONE"):
        audit.never_writable(sample_of(standing_in), "ID_AA64MMFR1_EL1", "NONE")


def test_what_another_vcpu_has_is_refused_by_field(standing_in: Standing) -> None:
    foreign = {"ID_AA64MMFR1_EL1": 0x10000001, "ID_AA64MMFR4_EL1": 0x100000, "X0": 5}
    assert audit.refusals(sample_of(standing_in), foreign) == ["ID_AA64MMFR1_EL1.VH", "ID_AA64MMFR4_EL1.E2H0"]


def test_a_register_that_the_kernel_does_not_list_is_told(standing_in: Standing) -> None:
    registers = sample_of(standing_in).registers()
    assert audit.field(registers, "ID_AA64MMFR1_EL1", "VH") == 1
    with pytest.raises(StateDiffers, match="KVM_GET_REG_LIST lacks ID_AA64DFR0_EL1"):
        audit.field(registers, "ID_AA64DFR0_EL1", "BRPs")


def test_vcpus_that_kvm_refuses_are_told_by_number(standing_in: Standing) -> None:
    with pytest.raises(VcpusRefused, match="refuses vCPU 1 with errno 22") as raised:
        Samples(standing_in("has one kind of vCPU")("source", Start.INCOMING)).of((), ("sve",))
    assert (raised.value.vcpu, raised.value.errno) == (1, 22)


def test_a_kernel_that_offers_no_el2_is_told(standing_in: Standing) -> None:
    with pytest.raises(KernelFailure, match="KVM_CAP_ARM_EL2 is 0"):
        audit.el2_is_offered(Samples(standing_in("")("source", Start.INCOMING)))


@pytest.mark.parametrize(
    ("kernel", "cpu_has_nv2", "ends", "words"),
    [
        ("6.15.9", True, Unsupported, "Linux 6.15.9 is older than 6.16"),
        ("6.16.0", False, Unsupported, "FEAT_NV2 missing"),
        ("6.16.0", True, KernelFailure, "KVM_CAP_ARM_EL2 is 0"),
    ],
)
def test_el2_is_asked_for_where_it_could_be(
    standing_in: Standing, kernel: str, cpu_has_nv2: bool, ends: type[Failure], words: str
) -> None:
    lab = SimpleNamespace(facts={"kernel": kernel}, cpu_has_nv2=cpu_has_nv2, nested_refused="FEAT_NV2 missing")
    samples = Samples(standing_in("")("source", Start.INCOMING))
    trial = cast("Trial", SimpleNamespace(settled=lambda: [lab], samples=lambda: samples))
    with pytest.raises(ends, match=words):
        test_offered.test_el2_is_offered(trial, lambda **_: None)
