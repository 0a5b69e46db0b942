"""Names of what `vmm.py` saves: KVM's register ids (`harness.state.kvm_ids`), and the GIC's registers by offset. Pure.

What has no name is shown by its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from harness.state import sysregs
from harness.state.kvm_ids import name_of
from harness.state.model import Origin, State, Value

# Arm IHI 0069, 12.8 to 12.20: offset of the first, name; the rows for interrupts have as many as there are.
_DISTRIBUTOR: Mapping[int, str] = {0x00: "GICD_CTLR", 0x08: "GICD_IIDR", 0x10: "GICD_STATUSR"}
_REDISTRIBUTOR: Mapping[int, str] = {0x00: "GICR_CTLR", 0x10: "GICR_STATUSR", 0x14: "GICR_WAKER",
                                       0x70: "GICR_PROPBASER", 0x74: "GICR_PROPBASER[63:32]", 0x78: "GICR_PENDBASER",
                                       0x7C: "GICR_PENDBASER[63:32]"}  # fmt: skip
_ITS: Mapping[int, str] = {0x00: "GITS_CTLR", 0x04: "GITS_IIDR", 0x80: "GITS_CBASER", 0x88: "GITS_CWRITER", 0x90: "GITS_CREADR"}
_ROWS = (("IGROUPR", 0x80), ("ISENABLER", 0x100), ("ISPENDR", 0x200), ("ISACTIVER", 0x300), ("IPRIORITYR", 0x400),
         ("ICFGR", 0xC00))  # fmt: skip


def name_of_gic(part: str, register: str) -> str:
    """Return the name of a register of the GIC; `part` is `distributor`, `redistributor N`, `cpu N`, `its`."""
    kind = part.partition(" ")[0]
    try:
        at = int(register, 16)
    except ValueError:
        return register
    match kind:
        case "distributor":
            return _row("GICD", _DISTRIBUTOR, at)
        case "redistributor":
            # From 0x10000 on it is the frame of SGIs and PPIs, as the distributor is for SPIs.
            return _row("GICR", {}, at - 0x10000) if at >= 0x10080 else _REDISTRIBUTOR.get(at) or f"GICR+{at:#x}"
        case "cpu":
            return sysregs.name_of(at >> 14, at >> 11 & 7, at >> 7 & 15, at >> 3 & 15, at & 7)
        case "its":
            return _ITS.get(at) or (f"GITS_BASER{(at - 0x100) // 8}" if at in range(0x100, 0x140, 8) else f"GITS+{at:#x}")
    return f"{part} {register}"


def _row(prefix: str, names: Mapping[int, str], at: int) -> str:
    if at in names:
        return names[at]
    if at % 4:
        return f"{prefix}+{at:#x}"
    if at >= 0x6000:
        return f"{prefix}_IROUTER{(at - 0x6000) // 8}" + ("[63:32]" if at & 4 else "")
    name, first = max((row for row in _ROWS if row[1] <= at), key=lambda row: row[1], default=("", at))
    return f"{prefix}_{name}{(at - first) // 4}" if name else f"{prefix}+{at:#x}"


def state_of(look: Mapping[str, Any]) -> State:
    """Return the state that `vmm.py` shows of a stopped machine: vCPUs, GIC, its devices, and its memory's digest."""
    return State("kvm", dict(_all(look)), origin_of(look.get("host", {})))


def origin_of(host: Mapping[str, Any]) -> Origin:
    """Return what `vmm.host_of` says of a kernel; nothing of one of which nothing is said."""
    masks = masks_of(host.get("masks", ()))
    return Origin(host.get("kernel", ""), {name: mask for name, mask in masks.items() if is_feature(name)})


def masks_of(words: Sequence[int]) -> dict[str, int]:
    """Return by name the writable bits that KVM_ARM_GET_REG_WRITABLE_MASKS announces (api.rst), as `vmm.Kvm.masks` has them."""
    return {sysregs.name_of(3, (0, 1, 3)[n >> 6], 0, n >> 3 & 7, n & 7): mask for n, mask in enumerate(words)}


def is_feature(name: str) -> bool:
    """Say whether a register of the masks' range is one of features; MPIDR_EL1 is not, but lies there (is_feature_id_reg)."""
    return re.match(r"ID_|MVFR|CTR_EL0|S3_0_C0_", name) is not None or name in ("MIDR_EL1", "REVIDR_EL1", "AIDR_EL1")


def _all(look: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for number, vcpu in enumerate(look["vcpus"]):
        for register, value in vcpu["registers"].items():
            name = name_of(int(register, 16))
            number_of = int.from_bytes(bytes.fromhex(value), "little")
            yield f"cpu{number}/{name}", number_of
            if name[0] == "Z" and name[1:].isdigit():
                yield f"cpu{number}/V{name[1:]}", number_of & (1 << 128) - 1
        yield f"cpu{number}/KVM_VCPU_EVENTS", bytes.fromhex(vcpu["events"])
        yield f"cpu{number}/KVM_MP_STATE", vcpu["mp_state"]
    yield from _gic(look["gic"])
    for device, fields in look["devices"].items():
        for field, value in fields.items():
            yield f"{device}/{field}", repr(value).encode("ascii")
    if "memory" in look:
        yield "memory/crc32", look["memory"]
    if "tags" in look:
        yield "memory/tags/crc32", look["tags"]


def _gic(gic: Mapping[str, Any]) -> Iterator[tuple[str, Value]]:
    for at, value in gic["distributor"].items():
        yield f"gicv3/{name_of_gic('distributor', at)}", value
    for number, registers in enumerate(gic["redistributors"]):
        for at, value in registers.items():
            yield f"cpu{number}/{name_of_gic('redistributor', at)}", value
        for at, value in gic["cpus"][number].items():
            yield f"cpu{number}/{name_of_gic('cpu', at)}", value
        yield f"cpu{number}/GICR_LINES", gic["levels"]["ppis"][number]
    for row, value in enumerate(gic["levels"]["spis"], 1):
        yield f"gicv3/GICD_LINES{row}", value
    for at, value in gic["its"].items():
        yield f"its/{name_of_gic('its', at)}", value
