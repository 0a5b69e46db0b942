"""Where guests are put: CPUs and levels, and which CPU has which."""

from __future__ import annotations

from harness.plugin.matrix import Row
from harness.plugin.verdicts import LEVELS

__all__ = ["AT_E2H0_BUT", "BREAKING", "CPUS", "LEVELS", "UNDER_KVM_BUT", "WITHOUT_VHE", "place_exists"]

CPUS = ("max", "neoverse-n1", "cortex-a57")
# FEAT_VHE came with Armv8.1: without it there is no E2H and no CNTHV (Arm ARM A2.2.1).
WITHOUT_VHE = ("cortex-a57",)

# Registers whose use makes a kernel go wrong, each by itself: see test_kernel_takes_every_register.
BREAKING = ("hacr_el2", "sctlr2_el2")
# RES0 bits that are kept until user space reads the register, and those whose writes only sometimes reach the CPU's own
# (KVM switches its debug registers lazily, and the claim bits never).
UNCERTAIN = ("csselr_el1", "sctlr2_el12", "hcrx_el2", "hfgrtr_el2", "hfgwtr_el2", "hfgitr_el2", "hdfgrtr_el2", "hdfgwtr_el2")
# At vEL2 without VHE it is the host's, which comes and goes with the vCPU.
AT_E2H0_BUT = ",cntkctl_el1"
UNDER_KVM_BUT = ",".join((*BREAKING, *UNCERTAIN, "dbgclaimclr_el1"))


def place_exists(row: Row) -> bool:
    """Say whether the CPU has the level, as far as both are chosen."""
    return not (row.get("cpu") in WITHOUT_VHE and row.get("level") == "vhe")
