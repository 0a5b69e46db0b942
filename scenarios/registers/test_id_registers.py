"""What a kernel promises of the registers of its vCPUs: KVM_ARM_VCPU_INIT settles them, and the writable masks are true.

No guest runs here: vCPUs are asked (harness/kvm/audit.py), on each kernel and CPU, at each level, EL1 as the control.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress

import pytest

from harness.errors import KernelFailure
from harness.kvm import audit
from harness.kvm.sample import LEVELS, WRITABLE_IMPLEMENTATION, Samples, VcpusRefused
from harness.plugin.matrix import Matrix, Params

WITH_KVM = ("lab", "kvm", "ssh")
MATRIX = Matrix({"lifecycle": ("kvm-straight",), "level": tuple(LEVELS)}, platforms=WITH_KVM)
AT_EL2 = Matrix({"lifecycle": ("kvm-straight",), "level": ("vhe", "nvhe")}, platforms=WITH_KVM)

# HAS_EL2 alone means VHE and nothing else; with HAS_EL2_E2H0 there is no VHE (Documentation/virt/kvm/arm/vcpu-features.rst).
# ID_AA64PFR0_EL1.EL2, which KVM shows to guests without EL2 too; ID_AA64MMFR1_EL1.VH; ID_AA64MMFR4_EL1.E2H0, a signed field: -2
# where E2H cannot be 0, nor HCR_EL2.NV1 be 1.
WHAT_FEATURES_MEAN = {"vhe": (1, 1, 0xE), "nvhe": (1, 0, 0)}

Counts = Callable[..., None]


@pytest.mark.matrix(MATRIX)
def test_reset_values_are_settled_by_init(case: Params, samples: Samples, counts: Counts) -> None:
    counts(registers=audit.settled(samples.at(case.level)))


@pytest.mark.matrix(MATRIX)
def test_what_was_read_can_be_written(case: Params, samples: Samples, counts: Counts) -> None:
    counts(registers=audit.taken_back(samples.at(case.level)))


@pytest.mark.matrix(MATRIX)
def test_writable_masks_are_true(case: Params, samples: Samples, counts: Counts) -> None:
    counts(registers=audit.masks_are_true(samples.at(case.level, WRITABLE_IMPLEMENTATION)))


@pytest.mark.matrix(MATRIX)
def test_vh_and_e2h0_are_never_writable(case: Params, samples: Samples, counts: Counts) -> None:
    vcpu = samples.at(case.level)
    counts(registers=audit.never_writable(vcpu, "ID_AA64MMFR1_EL1", "VH"))
    counts(registers=audit.never_writable(vcpu, "ID_AA64MMFR4_EL1", "E2H0"))
    counts(registers=audit.writable_only(vcpu, "ID_AA64MMFR4_EL1", "NV_frac"))


@pytest.mark.matrix(AT_EL2)
def test_feature_flags_decide_on_vhe(case: Params, samples: Samples, counts: Counts) -> None:
    registers = samples.at(case.level).registers()
    fields = (("ID_AA64PFR0_EL1", "EL2"), ("ID_AA64MMFR1_EL1", "VH"), ("ID_AA64MMFR4_EL1", "E2H0"))
    for (register, field), meant in zip(fields, WHAT_FEATURES_MEAN[case.level], strict=True):
        has = audit.field(registers, register, field)
        assert has == meant, f"{register}.{field} is {has:#x}, expected {meant:#x}"
        counts(registers=1)


@pytest.mark.matrix(AT_EL2)
def test_vcpus_of_one_vm_are_of_one_kind(case: Params, samples: Samples, counts: Counts) -> None:
    kind = samples.kind(case.level)
    for other in LEVELS:
        if other != case.level:
            with pytest.raises(VcpusRefused) as refused:
                samples.of(kind, samples.kind(other))
            assert (refused.value.vcpu, refused.value.errno) == (1, errno.EINVAL)
            counts(registers=1)


@pytest.mark.matrix(AT_EL2)
def test_a_vcpu_stays_of_its_kind(case: Params, samples: Samples, counts: Counts) -> None:
    vcpu = samples.at(case.level)
    for other in LEVELS:
        if other != case.level:
            assert vcpu.init_again(*samples.kind(other)) == errno.EINVAL, f"KVM_ARM_VCPU_INIT made a {other} of it"
            counts(registers=1)


@pytest.mark.matrix(AT_EL2)
def test_state_of_the_other_kind_is_refused(case: Params, samples: Samples, counts: Counts) -> None:
    """What a guest with E2H0 has, one without cannot be given, and the other way round: VH or E2H0 says so."""
    (other,) = {"vhe", "nvhe"} - {case.level}
    foreign = samples.at(other).registers()
    refused = audit.refusals(samples.at(case.level), foreign)
    assert "ID_AA64MMFR1_EL1.VH" in refused, f"refused is {', '.join(refused) or 'nothing'}"
    counts(registers=len(foreign))


@pytest.mark.matrix(Matrix({"lifecycle": ("kvm-straight",), "features": ("e2h0",)}, platforms=WITH_KVM))
def test_e2h0_without_el2_is_refused(case: Params, samples: Samples, counts: Counts) -> None:
    samples.kind("nvhe")  # to be skipped where there is none
    counts(registers=1)
    with suppress(VcpusRefused):
        samples.of((*samples.kind("el1"), case.features))
        raise KernelFailure("KVM_ARM_VCPU_INIT takes HAS_EL2_E2H0 without HAS_EL2")
