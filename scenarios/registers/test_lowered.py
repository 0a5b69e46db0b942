"""A guest reads in its ID registers what user space wrote there before it ran, also where it goes on elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest import witness
from harness.guest.payload import Guest
from harness.kvm import audit
from harness.kvm.sample import LEVELS, Samples
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.state.rules import Kind, Rule

MATRIX = Matrix(
    {"lifecycle": ("kvm-straight", "kvm-rewrite", "kvm-restore", "kvm-migrate"), "level": tuple(LEVELS), "vcpus": (1, 2)},
    platforms=("lab", "kvm", "ssh"),
)

# What the guest reads and KVM does not show (inferred from both values on 7.3.4, neoverse-n2: 0x4b444c004 and 0xb444c004).
NOT_SHOWN = Rule(
    "CTR_EL0",
    Kind.DERIVED,
    "KVM shows user space what the kernel has sanitised, which leaves TminLine of FEAT_MTE2 out; a guest reads the CPU's",
    "ftr_ctr in arch/arm64/kernel/cpufeature.c",
    fields=("TminLine",),
)


@pytest.mark.matrix(MATRIX)
def test_a_guest_reads_the_lower_values_that_were_written(
    case: Params,
    trial: Trial,
    samples: Samples,
    boot: Callable[..., Guest],
    put_through: Callable[..., None],
    counts: Callable[..., None],
) -> None:
    vcpu = samples.at(case.level)
    lower = audit.lowered(vcpu)
    trial.written = vcpu.encoded(lower)
    guest = boot("idregs")
    put_through(guest)
    witness.hear_out(guest)
    witness.judge(guest, interrupted=trial.lifecycle.interrupts)
    counts(registers=witness.as_written(guest, lower))
    for look in trial.looks("kvm"):
        counts(registers=witness.cross_check(guest, look, (NOT_SHOWN, *trial.rules)))
    guest.finish()
