"""What was under test in a case: QEMU and kernel of the source, and of the destination where that is another ground."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

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
    """Return what the run's provenance says of a case.

    It does not name the QEMU inside a lab, and tells of a host that is reached by SSH what that said of itself, if anything.
    """
    here, kernels = str(_of(provenance, "qemu").get("version", "")), _of(provenance, "kernels")
    match case.platform:
        case "tcg":
            return Versions(here)
        case "kvm":
            return Versions(here, str(kernels.get("host", "")))
        case "lab":
            source = str(kernels.get(case.params.get("lab_kernel") or "lab", ""))
            there = case.params.get("dst_lab_kernel")
            return Versions("", source, "", str(kernels.get(there, "")) if there else "")
    told = _of(_of(provenance, "hosts"), case.platform)
    return Versions(str(told.get("qemu", "")), str(told.get("kernel", "")))


def _of(said: Mapping[Any, object], name: str) -> Mapping[Any, object]:
    """Return a table by name, an empty one where there is none."""
    found = said.get(name)
    return found if isinstance(found, Mapping) else {}
