"""Damage a migration stream on purpose: what the sabotage tests do to prove that the decoder and the comparison notice.

Every function returns new bytes of the same layout; the stream has no checksum, so QEMU loads an edited one without a
word.
"""

from __future__ import annotations

from harness.errors import UsageError
from harness.state import sysregs
from harness.state.model import STREAM_NAMES
from harness.state.stream import Device, decode


def set_field(data: bytes, device: str, path: str, value: int | bytes) -> bytes:
    """Set one field (`arm_gicv3`, `enabled[1]`), named as in `Stream.devices[...].fields`. Raises UsageError."""
    offset, size = _place(_device(data, device), path)
    if isinstance(value, int):
        raw = (value & (1 << 8 * size) - 1).to_bytes(size, "big")
    elif len(value) == size:
        raw = value
    else:
        raise UsageError(f"{device} {path} has {size} bytes, not {len(value)}")
    return data[:offset] + raw + data[offset + size :]


def set_register(data: bytes, name: str, value: int, field: str = "") -> bytes:
    """Set a vCPU's register (`cpu0/CNTHP_CTL_EL2`, `cpu0/V3`), or only one field of it. Raises UsageError."""
    cpu, _, register = name.partition("/")
    key = "cpu" if cpu == "cpu0" else f"cpu#{cpu.removeprefix('cpu')}"
    device = _device(data, key)
    paths = _paths(device, register)
    if field:
        known = {each.name: each for each in sysregs.fields_of(register)}
        if field not in known:
            raise UsageError(f"{register} has no field {field!r}", remedy=f"it has: {', '.join(known)}")
        old = device.fields[paths[0]]
        assert isinstance(old, int)
        value = known[field].put(value, old)
    for n, path in enumerate(paths):
        data = set_field(data, key, path, value >> 64 * n)
    return data


def flip_byte(data: bytes, offset: int, bits: int = 0xFF) -> bytes:
    """Invert `bits` of the byte at `offset`. Raises UsageError where there is no such byte."""
    if not 0 <= offset < len(data):
        raise UsageError(f"no byte {offset} in {len(data)} bytes")
    return data[:offset] + bytes([data[offset] ^ bits]) + data[offset + 1 :]


def cut(data: bytes, offset: int) -> bytes:
    """Return the stream cut off before the byte at `offset`. Raises UsageError where nothing would be cut."""
    if not 0 <= offset < len(data):
        raise UsageError(f"no byte {offset} in {len(data)} bytes")
    return data[:offset]


def _device(data: bytes, key: str) -> Device:
    devices = decode(data).devices
    if key not in devices:
        raise UsageError(f"no device {key!r} in the stream", remedy=f"it has: {', '.join(devices)}")
    return devices[key]


def _paths(device: Device, register: str) -> list[str]:
    """Return the fields that hold a register, least significant 64 bits first."""
    for path, name in STREAM_NAMES.items():
        if name == register and path in device.fields:
            return [path]
    if register[:1] == "V" and register[1:].isdigit():
        return [f"vfp/env.vfp.zregs[{register[1:]}].d[{n}]" for n in (0, 1)]
    for path, regid in device.fields.items():
        if path.startswith("cpreg_vmstate_indexes[") and isinstance(regid, int) and sysregs.name_of_id(regid) == register:
            return [path.replace("indexes", "values")]
    raise UsageError(f"no register {register!r} in the stream", where=device.name)


def _place(device: Device, path: str) -> tuple[int, int]:
    """Return offset and size, in bytes, of a field."""
    for run in device.runs:
        for n, (name, _) in enumerate(run.items()):
            if name == path:
                return run.offset + n * run.size, run.size
    raise UsageError(f"no field {path!r}", where=device.name)
