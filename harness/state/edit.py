"""Change a migration stream on purpose: models of reported failures, and proof that decoder and comparison notice.

Every function takes a whole stream and returns new bytes; where the layout changes, the description at its end is changed
with it, so that the result can be decoded, compared and edited again. QEMU itself skips the description, and the stream has
no checksum: it loads an edited one without a word, or refuses it as it would refuse one that was made so.

Devices are named as in `Stream.devices` (`cpu`, `cpu#1`, `arm_gicv3`), registers as in a state (`cpu0/CNTHP_CTL_EL2`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from harness.errors import UsageError
from harness.state import description, sysregs
from harness.state.cursor import Cursor
from harness.state.model import STREAM_NAMES
from harness.state.stream import Device, Section, decode

_FOOTER_SIZE = 5  # bytes: the mark and the section's number
_LISTS = ("cpreg_vmstate_indexes", "cpreg_vmstate_values")
_LENGTH = "cpreg_vmstate_array_len"


# -- values


def set_field(data: bytes, device: str, path: str, value: int | bytes) -> bytes:
    """Set one field (`arm_gicv3`, `enabled[1]`), named as in `Stream.devices[...].fields`. Raises UsageError."""
    offset, size = _place(_device(data, device), path)
    if isinstance(value, int):
        raw = (value & (1 << 8 * size) - 1).to_bytes(size, "big")
    elif len(value) == size:
        raw = value
    else:
        raise UsageError(f"{device} {path} has {size} bytes, not {len(value)}")
    return _replace(data, offset, size, raw)


def set_register(data: bytes, name: str, value: int, field: str = "") -> bytes:
    """Set a vCPU's register (`cpu0/CNTHP_CTL_EL2`, `cpu0/V3`), or only one field of it. Raises UsageError."""
    key, register = _key(name)
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


# -- the list of system registers


def drop_register(data: bytes, name: str) -> bytes:
    """Take a system register out of a vCPU's list, as from a source that does not have it. Raises UsageError."""
    key, register = _key(name)
    device = _device(data, key)
    n = _number(device, register)
    for each in reversed(_LISTS):
        data = _replace(data, *_place(device, f"{each}[{n}]"), b"")
    return _resized(data, key, device, -1)


def add_register(data: bytes, name: str, value: int) -> bytes:
    """Put a system register into a vCPU's list, as from a source that has it; KVM's id as a number is a name too.

    The list stays in the order of the ids, which QEMU relies on (cpu_post_load in target/arm/machine.c). Raises UsageError.
    """
    key, register = _key(name)
    device = _device(data, key)
    regid = sysregs.id_of_name(register)
    if regid is None:
        raise UsageError(f"no system register is called {register!r}", remedy="give its name, S3_0_C1_C0_0, or KVM's id")
    ids = _ids(device)
    if regid in ids:
        raise UsageError(f"the stream has {name} already", remedy="set_register gives it another value")
    n = sum(each < regid for each in ids)
    for each, number in zip(reversed(_LISTS), (value, regid), strict=True):
        begin, size = _place(device, f"{each}[0]")
        data = _replace(data, begin + n * size, 0, (number & (1 << 64) - 1).to_bytes(size, "big"))
    return _resized(data, key, device, +1)


# -- sections


def set_version(data: bytes, device: str, version: int) -> bytes:
    """Have a device's section claim another version of its layout. Raises UsageError."""
    section = _section(data, device)
    at = section.offset + 1 + 4 + 1 + len(section.name) + 4  # type, number, name and its length, instance
    return _described(_replace(data, at, 4, version.to_bytes(4, "big")), device, lambda each: each.update(version=version))


def rename_section(data: bytes, device: str, name: str) -> bytes:
    """Have a device's section come from a device of another name. Raises UsageError."""
    section = _section(data, device)
    old, new = (bytes([len(each)]) + each.encode("ascii") for each in (section.name, name))
    return _described(_replace(data, section.offset + 5, len(old), new), device, lambda each: each.update(name=name))


def drop_section(data: bytes, device: str) -> bytes:
    """Take a device's section out, as from a source without the device. Raises UsageError."""
    section = _section(data, device)
    if section.kind != "full":
        raise UsageError(f"{device!r} has more sections than one, and cannot be taken out")
    return _described(_replace(data, section.offset, section.size + _FOOTER_SIZE, b""), device, None)


def set_machine(data: bytes, machine: str) -> bytes:
    """Have the stream come from another machine type (`virt-9.2`). Raises UsageError."""
    old = decode(data).machine.encode()
    begin = 8 + 1  # after the header and the mark of the configuration
    if data[begin : begin + 4 + len(old)] != len(old).to_bytes(4, "big") + old:
        raise UsageError("the stream does not begin with a machine type")
    new = machine.encode("ascii")
    return _replace(data, begin, 4 + len(old), len(new).to_bytes(4, "big") + new)


# -- damage


def flip_byte(data: bytes, offset: int, bits: int = 0xFF) -> bytes:
    """Invert `bits` of the byte at `offset`. Raises UsageError where there is no such byte."""
    if not 0 <= offset < len(data):
        raise UsageError(f"no byte {offset} in {len(data)} bytes")
    return _replace(data, offset, 1, bytes([data[offset] ^ bits]))


def cut(data: bytes, offset: int) -> bytes:
    """Return the stream cut off before the byte at `offset`. Raises UsageError where nothing would be cut."""
    if not 0 <= offset < len(data):
        raise UsageError(f"no byte {offset} in {len(data)} bytes")
    return data[:offset]


# -- where things are


def _replace(data: bytes, offset: int, size: int, by: bytes) -> bytes:
    return data[:offset] + by + data[offset + size :]


def _key(name: str) -> tuple[str, str]:
    """Return the device and the register that a name such as `cpu1/SP_EL1` means."""
    cpu, _, register = name.partition("/")
    return "cpu" if cpu == "cpu0" else f"cpu#{cpu.removeprefix('cpu')}", register


def _device(data: bytes, key: str) -> Device:
    devices = decode(data).devices
    if key not in devices:
        raise UsageError(f"no device {key!r} in the stream", remedy=f"it has: {', '.join(devices)}")
    return devices[key]


def _section(data: bytes, key: str) -> Section:
    """Return the section in which a device says who it is."""
    sections = {each.key: each for each in decode(data).sections if each.kind in ("start", "full")}
    if key not in sections:
        raise UsageError(f"no section {key!r} in the stream", remedy=f"it has: {', '.join(sections)}")
    return sections[key]


def _paths(device: Device, register: str) -> list[str]:
    """Return the fields that hold a register, least significant 64 bits first."""
    for path, name in STREAM_NAMES.items():
        if name == register and path in device.fields:
            return [path]
    if register[:1] == "V" and register[1:].isdigit():
        return [f"vfp/env.vfp.zregs[{register[1:]}].d[{n}]" for n in (0, 1)]
    return [f"{_LISTS[1]}[{_number(device, register)}]"]


def _ids(device: Device) -> list[int]:
    """Return the ids of a vCPU's list of system registers, in order."""
    return [value for run in device.runs if run.path == _LISTS[0] for value in run.values if isinstance(value, int)]


def _number(device: Device, register: str) -> int:
    """Return a system register's place in the list."""
    for n, regid in enumerate(_ids(device)):
        if sysregs.name_of_id(regid) == register:
            return n
    raise UsageError(f"no system register {register!r} in the stream", where=device.name)


def _place(device: Device, path: str) -> tuple[int, int]:
    """Return offset and size, in bytes, of a field."""
    for run in device.runs:
        for n, (name, _) in enumerate(run.items()):
            if name == path:
                return run.offset + n * run.size, run.size
    raise UsageError(f"no field {path!r}", where=device.name)


def _resized(data: bytes, key: str, device: Device, by: int) -> bytes:
    """Say in the stream and in its description that the list of registers, changed already, has so many more."""
    length = len(_ids(device)) + by
    offset, size = _place(device, _LENGTH)  # before the lists, so that it has not moved

    def change(layout: dict[str, Any]) -> None:
        for field in layout["fields"]:
            if field["name"] in _LISTS:
                field["array_len"] = length

    return _described(_replace(data, offset, size, length.to_bytes(size, "big")), key, change)


def _described(data: bytes, key: str, change: Callable[[dict[str, Any]], object] | None) -> bytes:
    """Change what the description says of a device, or take the device out of it; nothing where it does not have it."""
    begin = description.place(Cursor(data))
    if begin is None:
        raise UsageError("the stream has no description of its devices", remedy="nothing can be edited without one")
    tree = json.loads(data[begin:])
    name, _, instance = key.partition("#")
    for n, device in enumerate(tree["devices"]):
        if (device["name"], device["instance_id"]) == (name, int(instance or 0)):
            change(device) if change else tree["devices"].pop(n)
            break
    text = json.dumps(tree).encode("ascii")
    return data[: begin - 4] + len(text).to_bytes(4, "big") + text
