"""The state of a machine at one moment from one view: names to values, the same names whichever the view.

Names are `cpu0/CNTV_CTL_EL0` for a register of the architecture, `cpu0/gt_timer[GTIMER_VIRT]` for what QEMU keeps of
a vCPU beside it, `gicv3/enabled[1]` and `pl011/flags` for devices, with QEMU's own field names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, cast, get_args

from harness.errors import UsageError
from harness.state import sysregs
from harness.state.stream import Device, Stream

View = Literal["gdb", "stream", "guest", "kvm"]
Value = int | bytes

_FORMAT, _VERSION = "arm64 machine state", 1

_E2H = 34  # the bit in HCR_EL2
_FPSR = 0xF800009F  # N Z C V QC and the cumulative exception bits; Arm ARM, FPSR
_FPCR = 0x07FF9F00  # the bits that the AArch32 FPSCR shares with FPCR

# QEMU's name in the stream -> ours. Banked SPSRs by QEMU's bank numbers: SVC 1, ABT 2, UND 3, IRQ 4, FIQ 5, HYP 6,
# MON 7.
STREAM_NAMES: Mapping[str, str] = MappingProxyType(
    {f"env.xregs[{n}]": f"X{n}" for n in range(31)}
    | {f"env.elr_el[{n}]": f"ELR_EL{n}" for n in (1, 2, 3)}
    | {f"env.sp_el[{n}]": f"SP_EL{n}" for n in range(4)}
    | {
        f"env.banked_spsr[{bank}]": f"SPSR_{name}"
        for bank, name in ((1, "EL1"), (2, "ABT"), (3, "UND"), (4, "IRQ"), (5, "FIQ"), (6, "EL2"), (7, "EL3"))
    }
    | {
        "env.xregs[31]": "SP",
        "env.pc": "PC",
        "cpsr": "PSTATE",
    }
)


@dataclass(frozen=True)
class Origin:
    """The kernel that showed a state: its release as `uname -r`, and of each ID register the bits that it says can be written.

    Both empty where they are not known.
    """

    kernel: str = ""
    writable: Mapping[str, int] = field(default_factory=dict)

    @property
    def release(self) -> str:
        """The version in the release: `7.3.4` of `7.3.4+deb13-cloud-arm64`."""
        found = re.match(r"\d+(\.\d+)+", self.kernel)
        return found[0] if found else self.kernel

    def fixed(self, name: str, bits: int) -> bool:
        """Say whether some of these bits of a register, by its full name, cannot be written by the kernel's own word."""
        register = name.partition("/")[2]
        return register in self.writable and bool(bits & ~self.writable[register])

    def to_data(self) -> dict[str, object]:
        """Return it as data for JSON, masks as `0x…`."""
        return {"kernel": self.kernel, "writable": {name: f"{mask:#x}" for name, mask in self.writable.items()}}

    @classmethod
    def from_data(cls, tree: Mapping[str, Any]) -> Origin:
        """Read what `to_data` returns. Raises ValueError, KeyError, TypeError or AttributeError for anything else."""
        kernel, writable = tree["kernel"], {name: int(mask, 16) for name, mask in tree["writable"].items()}
        if not (isinstance(kernel, str) and kernel.isascii() and kernel.isprintable()):
            raise ValueError(f"a kernel's release that is not text: {kernel!a}")
        return cls(kernel, writable)


@dataclass(frozen=True)
class State:
    """What one view showed. Values are integers of any width (bit 0 is the register's bit 0) or raw bytes."""

    view: View
    registers: Mapping[str, Value]
    origin: Origin = Origin()

    def fields_of(self, name: str) -> tuple[sysregs.Field, ...]:
        """Return the fields of a register by its full name, in the layout that HCR_EL2.E2H of its vCPU gives it."""
        cpu, _, register = name.partition("/")
        hcr = self.registers.get(f"{cpu}/HCR_EL2")
        return sysregs.fields_of(register, e2h=isinstance(hcr, int) and bool(hcr >> _E2H & 1))

    def to_data(self) -> dict[str, object]:
        """Return the state as data for JSON, numbers as `0x…`, bytes as `bytes:…`."""
        registers = {
            name: f"bytes:{value.hex()}" if isinstance(value, bytes) else f"{value:#x}"
            for name, value in self.registers.items()
        }
        tree: dict[str, object] = {"format": _FORMAT, "version": _VERSION, "view": self.view, "registers": registers}
        return tree | ({"origin": self.origin.to_data()} if self.origin.kernel else {})

    def save(self, path: Path) -> None:
        """Write the state as JSON. Raises OSError."""
        path.write_text(json.dumps(self.to_data(), indent=1) + "\n", encoding="ascii")

    @classmethod
    def load(cls, path: Path) -> State:
        """Read what `save` wrote. Raises UsageError for anything else, OSError where the file cannot be read."""
        try:
            tree = json.loads(path.read_text(encoding="ascii"), object_pairs_hook=_once)
            if tree["format"] != _FORMAT or tree["version"] != _VERSION or tree["view"] not in get_args(View):
                raise ValueError(f"format {tree['format']!r}, version {tree['version']!r}, view {tree['view']!r}")
            registers = {name: _parse(text) for name, text in tree["registers"].items()}
            if odd := next((name for name in registers if not (name.isascii() and name.isprintable())), None):
                raise ValueError(f"a name that is not text: {odd!a}")
            origin = Origin.from_data(tree["origin"]) if "origin" in tree else Origin()
            return cls(cast(View, tree["view"]), registers, origin)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise UsageError(
                f"not a saved state of version {_VERSION} ({error})",
                where=str(path),
                remedy="make it again with this harness",
            ) from None

    @classmethod
    def from_gdb(cls, cpus: Mapping[int, Mapping[str, int]]) -> State:
        """Return the state that gdb stubs show: vCPU number to the values by the target XML's names."""
        registers: dict[str, Value] = {}
        for cpu, values in sorted(cpus.items()):
            for name, value in values.items():
                ours = sysregs.name_of_gdb(name)
                registers[f"cpu{cpu}/{ours}"] = value
                if ours[0] == "Z" and ours[1:].isdigit():
                    registers[f"cpu{cpu}/V{ours[1:]}"] = value & (1 << 128) - 1
        return cls("gdb", registers)

    @classmethod
    def from_stream(cls, stream: Stream) -> State:
        """Return every field that the stream's devices wrote, registers under their names. No field is left out."""
        registers: dict[str, Value] = {}
        for key, device in stream.devices.items():
            prefix = {"cpu": f"cpu{device.instance}", "cpu_common": f"cpu{device.instance}", "arm_gicv3": "gicv3"}.get(
                device.name, key
            )
            named = _cpu(device) if device.name == "cpu" else device.fields.items()
            for name, value in named:
                alone = device.name == "arm_gicv3" and name.startswith("cpu.")  # no index where there is one vCPU
                full = f"{prefix}/cpu[0]{name[3:]}" if alone else f"{prefix}/{name}"
                while full in registers:
                    full += "'"
                registers[full] = value
        return cls("stream", registers)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object of JSON. Raises ValueError where a name is there twice, since one of the values would be lost."""
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("a name is there twice")
    return tree


def _parse(text: str) -> Value:
    return bytes.fromhex(text[6:]) if text.startswith("bytes:") else int(text, 16)


def _cpu(device: Device) -> Iterator[tuple[str, Value]]:
    """Yield a vCPU's fields, the joined and the renamed ones first."""
    fields = dict(device.fields)
    yield from (cpregs := list(_cpregs(fields)))
    yield from _vectors(fields)
    if not any(name == "FPCR" for name, _ in cpregs) and isinstance(fpscr := fields.get("vfp/fpscr"), int):
        yield "FPSR", fpscr & _FPSR
        yield "FPCR", fpscr & _FPCR
    if "pstate64/env.pstate" in fields:  # the whole PSTATE goes before the 32 bits of it in `cpsr`
        yield "PSTATE", fields.pop("pstate64/env.pstate")
    for name, value in fields.items():
        yield STREAM_NAMES.get(name, name), value


def _cpregs(fields: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """Take the system registers out of `fields`, and yield them by name."""
    n = 0
    while isinstance(regid := fields.pop(f"cpreg_vmstate_indexes[{n}]", None), int):
        value = fields.pop(f"cpreg_vmstate_values[{n}]", None)
        if value is not None:
            yield sysregs.name_of_id(regid), value
        n += 1


def _vectors(fields: dict[str, Value]) -> Iterator[tuple[str, Value]]:
    """Take V, Z, P and FFR out of `fields`; they are 64-bit words in the stream, least significant first."""
    for n in range(32):
        low = _words(fields, f"vfp/env.vfp.zregs[{n}].d")
        high = _words(fields, f"sve/env.vfp.zregs[{n}].d")
        if low is not None:
            yield f"V{n}", low
        if low is not None and high is not None:
            yield f"Z{n}", low | high << 128
    for n in range(17):
        value = _words(fields, f"sve/env.vfp.pregs[{n}].p")
        if value is not None:
            yield f"P{n}" if n < 16 else "FFR", value


def _words(fields: dict[str, Value], path: str) -> int | None:
    """Join the elements of `path` into one number, taking them out of `fields`; None where there are none."""
    total, n = 0, 0
    while isinstance(word := fields.pop(f"{path}[{n}]", None), int):
        total |= word << 64 * n
        n += 1
    return total if n else None
