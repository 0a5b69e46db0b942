"""A kernel as the scenarios on vCPUs that run nothing see it, in place of a lab; `fault` is what it does wrong."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from typing import Any

from harness.kvm.sample import Answer

_PMUVER = 0xF << 8
_IIDR = 0x4B00343B
_RESET = {
    "ID_AA64PFR0_EL1": 0x1101001121110112,
    "ID_AA64DFR0_EL1": 0xF010305609,
    "CLIDR_EL1": 0x1000004,
    "CCSIDR[0]": 0x2,
    "KVM_PSCI_VERSION": 0x10003,
    "KVM_SVE_VLS": 0x1,
    "CNTV_CTL_EL0": 0,
    "CNTV_CVAL_EL0": 0,
    "CNTVCT_EL0": 10,
    "CNTPCT_EL0": 10**12,
    **{f"Z{n}": 0 for n in range(32)},
}
_OF_EL2 = ("HCR_EL2", "VTTBR_EL2", "VTCR_EL2", "CNTVOFF_EL2", "CNTHCTL_EL2", "CNTHV_CVAL_EL2", "CNTHP_CVAL_EL2", "VNCR_EL2")


class Vcpu:
    """The vCPUs of one VM."""

    def __init__(self, fault: str, level: str) -> None:
        self.fault = fault
        self.kinds = [(level,)]
        self.values = dict(_RESET)
        self.entered = False
        self.gic_values: dict[tuple[str, int], int] = {}
        if level != "el1":
            self.values |= dict.fromkeys(_OF_EL2, 0)
        if fault == "hides VNCR_EL2":
            self.values.pop("VNCR_EL2", None)
        if fault == "lists V registers":
            self.values |= {f"V{n}": 0 for n in range(32)}

    def registers(self, vcpu: int = 0) -> dict[str, int]:
        changed = {"ID_AA64DFR0_EL1": 0} if self.fault == "adjusts each vCPU" and vcpu and not self.entered else {}
        return self.values | changed

    def write(self, values: Mapping[str, int] | Iterable[tuple[str, int]]) -> list[Answer]:
        pairs = values.items() if isinstance(values, Mapping) else values
        return [self._write(name, value) for name, value in pairs]

    def _write(self, name: str, value: int) -> Answer:
        had = self.values[name]
        if self.fault == f"refuses {name}":
            return Answer(errno.EINVAL, had)
        if name == "KVM_SVE_VLS" and self.fault != "takes lengths too late":
            return Answer(errno.EPERM, had)
        if name == "ID_AA64DFR0_EL1" and value & _PMUVER == _PMUVER and self.fault != "keeps PMUVer":
            value &= ~_PMUVER
        if name == "CNTPCT_EL0" and self.fault == "leaks the physical counter":
            value = had
        if self.fault == "swaps the ids":
            name = {"CNTV_CVAL_EL0": "CNTVCT_EL0", "CNTVCT_EL0": "CNTV_CVAL_EL0"}.get(name, name)
        if self.fault == "drops wide registers" and name[0] == "Z":
            value &= (1 << 64) - 1
        self.values[name] = value
        return Answer(0, self.values[name])

    def init_again(self, *_: str) -> int:
        if self.fault == "wipes by reset":
            self.values = dict(_RESET)
        return 0

    def enter(self, _: int = 0) -> None:
        self.entered = True
        if self.fault != "believes user space":
            self.values["ID_AA64PFR0_EL1"] |= 1 << 24

    def write_gic(self, *writes: tuple[str, int, int]) -> list[Answer]:
        return [self._write_gic(*each) for each in writes]

    def _write_gic(self, part: str, at: int, value: int) -> Answer:
        lpis = self.gic_values.get(("redistributor", 0), 0) & 1
        stuck = part == "distributor" and self.fault == "keeps the revision"
        if not stuck and (not lpis or self.fault == "moves tables under LPIs"):
            self.gic_values[part, at] = value
        return Answer(0, self.gic_values.get((part, at), _IIDR))

    def gic(self) -> Any:
        expired = self.values["CNTV_CTL_EL0"] & 1 and self.values["CNTV_CVAL_EL0"] <= self.values["CNTVCT_EL0"]
        line = expired and (self.entered or self.fault == "moves the line")
        level = 0 if self.fault == "hides the line" else (1 << 27) * bool(line)
        return {"distributor": {"0x8": _IIDR}, "levels": {"ppis": [level]}, "redistributors": [{"0x10200": 0}]}


class Kernel:
    """What makes vCPUs, as `Samples` does."""

    def __init__(self, fault: str = "") -> None:
        self.fault = fault

    def at(self, level: str, *_: int) -> Vcpu:
        return Vcpu(self.fault, level)

    def kind(self, level: str) -> tuple[str, ...]:
        return (level,)

    def of(self, *kinds: tuple[str, ...]) -> Vcpu:
        return Vcpu(self.fault, kinds[0][0])
