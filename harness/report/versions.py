"""What was under test in a case: QEMU and kernel of the source, and of the destination where that is another ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from harness.report.model import Case, Provenance


@dataclass(frozen=True)
class Versions:
    """As each says of itself; empty where it is not known, or not under test."""

    qemu: str = ""
    kernel: str = ""
    dst_qemu: str = ""
    dst_kernel: str = ""

    def __str__(self) -> str:
        """Return them in words."""
        here = [f"QEMU {self.qemu}" if self.qemu else "", f"kernel {self.kernel}" if self.kernel else ""]
        there = [f"QEMU {self.dst_qemu}" if self.dst_qemu else "", f"kernel {self.dst_kernel}" if self.dst_kernel else ""]
        words = [" and ".join(filter(None, side)) for side in (here, there)]
        return " to ".join(filter(None, words)) or "versions not known"

    def changes(self, later: Versions) -> str:
        """Say in words what is another one in `later`; nothing where all are the same, as far as they are known."""
        said = []
        for field in fields(self):
            before, after = getattr(self, field.name), getattr(later, field.name)
            if before and after and before != after:
                name = field.name.replace("dst_", "destination's ").replace("qemu", "QEMU")
                said.append(f"{name} {before} -> {after}")
        return ", ".join(said)


def of_case(case: Case, provenance: Provenance) -> Versions:
    """Return what the run's provenance says of a case: exact but for the QEMU inside a lab, which it does not name."""
    qemu, kernels = provenance.get("qemu"), provenance.get("kernels")
    version = str(qemu.get("version", "")) if isinstance(qemu, Mapping) else ""
    tested = kernels if isinstance(kernels, Mapping) and case.platform != "tcg" else {}
    if case.platform != "lab":
        return Versions(version, str(tested.get("host", "")))
    source = str(tested.get(case.params.get("lab_kernel") or "lab", ""))
    there = case.params.get("dst_lab_kernel")
    return Versions("", source, "", str(tested.get(there, "")) if there else "")
