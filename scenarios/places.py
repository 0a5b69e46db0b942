"""Where guests are put: CPUs and levels, and which CPU has which."""

from __future__ import annotations

from harness.plugin.matrix import Row
from harness.plugin.verdicts import LEVELS

__all__ = ["CPUS", "LEVELS", "WITHOUT_VHE", "place_exists"]

CPUS = ("max", "neoverse-n1", "cortex-a57")
# FEAT_VHE came with Armv8.1: without it there is no E2H and no CNTHV (Arm ARM A2.2.1).
WITHOUT_VHE = ("cortex-a57",)


def place_exists(row: Row) -> bool:
    """Say whether the CPU has the level, as far as both are chosen."""
    return not (row.get("cpu") in WITHOUT_VHE and row.get("level") == "vhe")
