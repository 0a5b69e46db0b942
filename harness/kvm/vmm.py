"""A small VMM that saves and restores its guest through /dev/kvm; it runs alone, on any arm64 host with Python 3.11.

The machine is QEMU's `virt` as far as the payloads of guests/ use it: RAM, GICv3 with ITS, PSCI, a PL011 and a virtio console.
It reads orders from standard input and answers on standard output, one JSON object a line:

    {"id": 1, "do": "create", "kernel": "/tmp/timers.bin", "append": "vcpus=1", "el2": true}   ->  {"id": 1, "ok": {...}}
    {"id": 2, "do": "save", "path": "/tmp/state"}                          ->  {"id": 2, "error": {"text": "...", ...}}

and says of its own accord {"event": "console", "text": "..."}. It ends with the guest, with its standard input, or at its
deadline, and leaves nothing.

Where numbers come from: ioctls and ids, include/uapi/linux/kvm.h and arch/arm64/include/uapi/asm/kvm.h of the kernel; the order
of a restore, Documentation/virt/kvm/devices/arm-vgic-v3.rst, arm-vgic-its.rst and arm/vcpu-features.rst; GIC registers, Arm IHI
0069; the PL011, Arm DDI 0183; the console, VIRTIO 1.3 (4.2.4 legacy MMIO, 2.7 split queues, 5.3); the tree, Devicetree
Specification 0.4; addresses, hw/arm/virt.c in QEMU's tree.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import signal
import struct
import sys
import threading
import time
import zlib
from collections import Counter, deque

TYPE_CHECKING = False  # as typing's, whose import alone takes a fifth of a second in a lab
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    # Name, properties, children.
    Node = tuple[str, Mapping[str, bytes], Sequence["Node"]]

FORMAT, VERSION = "arm64-kvm-state", 1

RAM_BASE, GICD_BASE, GITS_BASE, GICR_BASE = 0x40000000, 0x08000000, 0x08080000, 0x080A0000
UART_BASE, VIRTIO_BASE = 0x09000000, 0x0A000000
UART_SPI, VIRTIO_SPI = 1, 16
INTIDS = 288
MAINTENANCE_INTID, PMU_INTID = 25, 23
PAGE = 4096
GRANULE = 16  # bytes that have one allocation tag
STOP_SECONDS = 10.0

# Feature bits of struct kvm_vcpu_init, and the capability that offers each.
FEATURES: Mapping[str, tuple[tuple[int, ...], int]] = {
    "pmu": ((3,), 126),
    "sve": ((4,), 170),
    "pauth": ((5, 6), 171),
    "el2": ((7,), 240),
    "e2h0": ((8,), 241),
    "mte": ((), 205),  # of the whole VM: to be turned on before there are vCPUs (api.rst, KVM_CAP_ARM_MTE)
}
POWER_OFF, PSCI_0_2 = 0, 2
IPA_SIZE = 165  # KVM_CAP_ARM_VM_IPA_SIZE; a host without it has 40 bits
SVE_FINALIZE = 4

# Groups of the GIC's attributes.
ADDR, DIST_REGS, NR_IRQS, CTRL, REDIST_REGS, CPU_SYSREGS, LEVEL_INFO, ITS_REGS, MAINT_IRQ = 0, 1, 3, 4, 5, 6, 7, 8, 9
CTRL_INIT, ITS_SAVE_TABLES, ITS_RESTORE_TABLES, SAVE_PENDING_TABLES = 0, 1, 2, 3

REGISTER_KIND = 0xFFFF0000 >> 16
CORE, DEMUX, SYSREG, FIRMWARE, SVE, FIRMWARE_MAP = 0x10, 0x11, 0x13, 0x14, 0x15, 0x16
SVE_VLS = 0x606000000015FFFF
PC, PSTATE, X0 = 0x6030000000100040, 0x6030000000100042, 0x6030000000100000
# Virtual and physical counter; KVM_REG_ARM_TIMER_CNT has the number of CNTV_CVAL_EL0, and the other way round. The order
# matters where there is EL2: both then write the one offset of the VM, and the virtual one is read with CNTVOFF_EL2 taken off
# but is written without (arch_timer_set_user in arch/arm64/kvm/sys_regs.c), so the physical one has to have the last word.
COUNTERS = (0x603000000013DF1A, 0x603000000013DF01)
CNTVOFF_EL2 = 0x603000000013E703
_TIMER_CRN = 14


class Trouble(Exception):
    """An order cannot be carried out. `details` go to the harness beside the sentence."""

    def __init__(self, text: str, **details: object) -> None:
        super().__init__(text)
        self.details = details


# -- the kernel


class Kvm:
    """The ioctls of one VM: numbers in, numbers out. All raise OSError. Tests put another in its place."""

    def __init__(self) -> None:
        self._kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self._vm = -1
        self._vcpus: list[int] = []
        self._runs: list[mmap.mmap] = []
        self._devices: list[int] = []
        self._statistics: list[tuple[int, int, dict[str, int]]] = []
        self._value = ctypes.create_string_buffer(256)
        self._at = ctypes.addressof(self._value)
        self._ram: Any = None
        self._clock: Callable[[], int] | None = None

    def extension(self, capability: int) -> int:
        """Return what KVM_CHECK_EXTENSION says."""
        return fcntl.ioctl(self._kvm, 0xAE03, capability)

    def create_vm(self) -> None:
        """Create the VM, with 40 bits of guest physical addresses."""
        self._vm = fcntl.ioctl(self._kvm, 0xAE01, 0)

    def enable(self, capability: int) -> None:
        """Turn a capability of the VM on."""
        fcntl.ioctl(self._vm, 0x4068AEA3, struct.pack("<I100x", capability))

    def map_ram(self, ram: mmap.mmap) -> None:
        """Let the mapping be the guest's memory at RAM_BASE."""
        self._ram = ctypes.c_char.from_buffer(ram)
        fcntl.ioctl(self._vm, 0x4020AE46, struct.pack("<IIQQQ", 0, 0, RAM_BASE, len(ram), ctypes.addressof(self._ram)))

    def create_vcpu(self, number: int) -> None:
        """Create a vCPU; its number decides its MPIDR."""
        vcpu = fcntl.ioctl(self._vm, 0xAE41, number)
        self._vcpus.append(vcpu)
        self._runs.append(mmap.mmap(vcpu, fcntl.ioctl(self._kvm, 0xAE04, 0)))
        self._statistics.append(_statistics_of(vcpu))

    def init(self, vcpu: int, features: int) -> None:
        """Initialise a vCPU of the host's kind with these features."""
        init = bytearray(32)
        fcntl.ioctl(self._vm, 0x8020AEAF, init)
        struct.pack_into("<I", init, 4, features)
        fcntl.ioctl(self._vcpus[vcpu], 0x4020AEAE, bytes(init))

    def masks(self) -> list[int]:
        """Return the writable bits of each feature ID register: op1 of 0, 1 and 3, CRm and op2 of 0 to 7, in this order.

        KVM_ARM_GET_REG_WRITABLE_MASKS, Documentation/virt/kvm/api.rst.
        """
        room = (ctypes.c_uint64 * (3 * 8 * 8))()
        fcntl.ioctl(self._vm, 0x8040AEB6, bytearray(struct.pack("<QI52x", ctypes.addressof(room), 0)))
        return list(room)

    def finalize(self, vcpu: int, feature: int) -> None:
        """Settle a feature that needs it."""
        fcntl.ioctl(self._vcpus[vcpu], 0x4004AEC2, struct.pack("<i", feature))

    def registers(self, vcpu: int) -> list[int]:
        """Return all register ids, in the kernel's order."""
        for room in (1024, 8192):
            ids = bytearray(8 + 8 * room)
            struct.pack_into("<Q", ids, 0, room)
            try:
                fcntl.ioctl(self._vcpus[vcpu], 0xC008AEB0, ids)
            except OSError as error:
                if error.errno != errno.E2BIG or room == 8192:
                    raise
            else:
                (count,) = struct.unpack_from("<Q", ids)
                return list(struct.unpack_from(f"<{count}Q", ids, 8))
        raise AssertionError

    def get(self, vcpu: int, register: int) -> bytes:
        """Return a register, little-endian, as long as its id says."""
        fcntl.ioctl(self._vcpus[vcpu], 0x4010AEAB, struct.pack("<QQ", register, self._at))
        return self._value.raw[: size_of(register)]

    def set(self, vcpu: int, register: int, value: bytes) -> None:
        """Write a register."""
        ctypes.memmove(self._at, value, len(value))
        fcntl.ioctl(self._vcpus[vcpu], 0x4010AEAC, struct.pack("<QQ", register, self._at))

    def events(self, vcpu: int) -> bytes:
        """Return struct kvm_vcpu_events."""
        events = bytearray(64)
        fcntl.ioctl(self._vcpus[vcpu], 0x8040AE9F, events)
        return bytes(events)

    def set_events(self, vcpu: int, events: bytes) -> None:
        """Write struct kvm_vcpu_events."""
        fcntl.ioctl(self._vcpus[vcpu], 0x4040AEA0, events)

    def mp_state(self, vcpu: int) -> int:
        """Return whether the vCPU is powered on: KVM_MP_STATE_*."""
        state = bytearray(4)
        fcntl.ioctl(self._vcpus[vcpu], 0x8004AE98, state)
        return int(struct.unpack("<I", state)[0])

    def set_mp_state(self, vcpu: int, state: int) -> None:
        """Write KVM_MP_STATE_*."""
        fcntl.ioctl(self._vcpus[vcpu], 0x4004AE99, struct.pack("<I", state))

    def set_vcpu_attribute(self, vcpu: int, group: int, attribute: int, value: int | None = None) -> None:
        """Write an attribute of a vCPU: 32 bits, or none."""
        self._set_attribute(self._vcpus[vcpu], group, attribute, value, 4)

    def create_device(self, kind: int) -> int:
        """Create a device of the VM; return its handle."""
        made = bytearray(struct.pack("<III", kind, 0, 0))
        fcntl.ioctl(self._vm, 0xC00CAEE0, made)
        self._devices.append(int(struct.unpack("<III", made)[1]))
        return len(self._devices) - 1

    def attribute(self, device: int, group: int, attribute: int, size: int) -> int:
        """Return an attribute of a device, of `size` bytes."""
        ctypes.memset(self._at, 0, 8)
        fcntl.ioctl(self._devices[device], 0x4018AEE2, struct.pack("<IIQQ", 0, group, attribute, self._at))
        return int.from_bytes(self._value.raw[:size], "little")

    def set_attribute(self, device: int, group: int, attribute: int, value: int | None = None, size: int = 8) -> None:
        """Write an attribute of a device, or do what it says where it has no value."""
        self._set_attribute(self._devices[device], group, attribute, value, size)

    def _set_attribute(self, fd: int, group: int, attribute: int, value: int | None, size: int) -> None:
        if value is not None:
            ctypes.memmove(self._at, value.to_bytes(size, "little"), size)
        at = 0 if value is None else self._at
        fcntl.ioctl(fd, 0x4018AEE1, struct.pack("<IIQQ", 0, group, attribute, at))

    def host_counter(self) -> int:
        """Return CNTVCT_EL0 of the host, in ticks; Linux lets user space read it, and where it is a host it has no offset."""
        self._clock = self._clock or instruction(0xD53BE040)  # mrs x0, cntvct_el0
        return self._clock()

    def set_counter_offset(self, offset: int) -> None:
        """Fix both counters of the VM at the host's, less an offset in ticks; writes to them do nothing from then on."""
        fcntl.ioctl(self._vm, 0x4010AEB5, struct.pack("<QQ", offset, 0))

    def spi(self, number: int, *, high: bool) -> None:
        """Drive the line of a shared peripheral interrupt."""
        fcntl.ioctl(self._vm, 0x4008AE61, struct.pack("<II", 1 << 24 | number + 32, high))

    def hurry(self, vcpu: int, *, on: bool) -> None:
        """Have KVM_RUN return at once, with whatever was to be completed done."""
        self._runs[vcpu][1] = int(on)

    def run(self, vcpu: int) -> tuple[str, int, int, bytes | None]:
        """Enter the guest until it needs us: `mmio`, address, size, data or None to read; or what else, and a number.

        Raises InterruptedError for a signal or `hurry`.
        """
        fcntl.ioctl(self._vcpus[vcpu], 0xAE80, 0)
        run = self._runs[vcpu]
        (reason,) = struct.unpack_from("<I", run, 8)
        if reason == 6:
            address, data, size, writes = struct.unpack_from("<Q8sIB", run, 32)
            return "mmio", address, size, data[:size] if writes else None
        if reason == 24:
            return "system", struct.unpack_from("<I", run, 32)[0], 0, None
        return "exit", reason, struct.unpack_from("<Q", run, 32)[0], None

    def answer(self, vcpu: int, data: bytes) -> None:
        """Give what a read by the guest finds; it is taken at the next entry."""
        self._runs[vcpu][40 : 40 + len(data)] = data

    def statistics(self, vcpu: int) -> dict[str, int]:
        """Return the kernel's own counters of a vCPU that are single numbers, also while it runs."""
        fd, at, offsets = self._statistics[vcpu]
        data = os.pread(fd, max(offsets.values(), default=0) + 8, at)
        return {name: int.from_bytes(data[offset : offset + 8], "little") for name, offset in offsets.items()}

    def tags(self, at: int, size: int) -> bytes:
        """Return the allocation tags of the guest's memory from an address on, whole pages of it, a byte for each granule."""
        found = bytearray(size // GRANULE)
        self._copy_tags(at, size, found, 1)
        return bytes(found)

    def set_tags(self, at: int, tags: bytes) -> None:
        """Write the allocation tags of whole pages of the guest's memory, as `tags` returns them."""
        self._copy_tags(at, len(tags) * GRANULE, bytearray(tags), 0)

    def _copy_tags(self, at: int, size: int, tags: bytearray, flags: int) -> None:
        """KVM_ARM_MTE_COPY_TAGS (api.rst): it may do a part of it, and says how many bytes of memory that were."""
        room = (ctypes.c_char * len(tags)).from_buffer(tags)
        done = 0
        while done < size:
            address = ctypes.addressof(room) + done // GRANULE
            copy = struct.pack("<QQQQ16x", at + done, size - done, address, flags)
            done += fcntl.ioctl(self._vm, 0x8030AEB4, bytearray(copy))

    def close(self) -> None:
        """Let go of the VM; the guest's memory stays its owner's."""
        for run in self._runs:
            run.close()
        for fd in (*(fd for fd, _, _ in self._statistics), *self._devices, *self._vcpus, self._vm, self._kvm):
            if fd >= 0:
                os.close(fd)
        self._ram = None


def _statistics_of(vcpu: int) -> tuple[int, int, dict[str, int]]:
    """Open a vCPU's counters; return them, where their data begins, and where in it each single number is.

    (api.rst, KVM_GET_STATS_FD.) Asking for them waits for a vCPU that runs, reading them does not.
    """
    fd = fcntl.ioctl(vcpu, 0xAECE, 0)
    _, name_size, count, _, descriptors, data = struct.unpack("<IIIIII", os.pread(fd, 24, 0))
    size = 16 + name_size
    entries = os.pread(fd, count * size, descriptors)
    offsets = {}
    for at in range(0, count * size, size):
        words, offset = struct.unpack_from("<HI", entries, at + 6)
        if words == 1:
            offsets[entries[at + 16 : at + size].split(b"\0")[0].decode("ascii")] = int(offset)
    return fd, data, offsets


def size_of(register: int) -> int:
    """Return a register's size in bytes from its id."""
    return 1 << (register >> 52 & 0xF)


# -- what the guest finds


def device_tree(vcpus: int, ram: int, append: str, *, el2: bool) -> bytes:
    """Return the flattened tree of the machine (Devicetree Specification 0.4, chapter 5)."""
    strings, body = bytearray(), bytearray()

    def put(node: Node) -> None:
        name, properties, children = node
        body.extend(_cells(1) + _padded(_text(name)))
        for key, value in properties.items():
            body.extend(_cells(3, len(value), len(strings)) + _padded(value))
            strings.extend(_text(key))
        for child in children:
            put(child)
        body.extend(_cells(2))

    put(_tree(vcpus, ram, append, el2=el2))
    body.extend(_cells(9))
    structure, size = 40 + 16, 40 + 16 + len(body)
    header = _cells(0xD00DFEED, size + len(strings), structure, size, 40, 17, 16, 0, len(strings), len(body))
    return header + bytes(16) + bytes(body) + bytes(strings)


def _tree(vcpus: int, ram: int, append: str, *, el2: bool) -> Node:
    """Return the machine as nodes: name, properties, children. Interrupts are of the bindings arm,gic-v3 and arm,arch_timer."""
    two = {"#address-cells": _cells(2), "#size-cells": _cells(2)}
    cpus = [
        (f"cpu@{n}", {"device_type": _text("cpu"), "compatible": _text("arm,armv8"), "reg": _cells(n),
                      "enable-method": _text("psci")}, ())
        for n in range(vcpus)
    ]  # fmt: skip
    # Secure, physical, virtual, hypervisor's physical and virtual.
    ppis = [cell for ppi in (13, 14, 11, 10, 12) for cell in (1, ppi, 4)]
    its = {
        "compatible": _text("arm,gic-v3-its"),
        "reg": _at(GITS_BASE, 0x20000),
        "msi-controller": b"",
        "#msi-cells": _cells(1),
    }
    gic = {
        "compatible": _text("arm,gic-v3"),
        "reg": _at(GICD_BASE, 0x10000) + _at(GICR_BASE, vcpus * 0x20000),
        "phandle": _cells(1),
        "#interrupt-cells": _cells(3),
        "interrupt-controller": b"",
        "ranges": b"",
        **two,
        **({"interrupts": _cells(1, MAINTENANCE_INTID - 16, 4)} if el2 else {}),
    }
    uart = {
        "compatible": _text("arm,pl011", "arm,primecell"),
        "reg": _at(UART_BASE, 0x1000),
        "interrupts": _cells(0, UART_SPI, 4),
    }
    virtio = {"compatible": _text("virtio,mmio"), "reg": _at(VIRTIO_BASE, 0x200), "interrupts": _cells(0, VIRTIO_SPI, 4)}
    psci = {"compatible": _text("arm,psci-1.0", "arm,psci-0.2"), "method": _text("smc" if el2 else "hvc")}
    return (
        "",
        {"compatible": _text("linux,dummy-virt"), "interrupt-parent": _cells(1), **two},
        [
            ("chosen", {"bootargs": _text(append), "stdout-path": _text(f"/pl011@{UART_BASE:x}")}, ()),
            ("psci", psci, ()),
            (f"memory@{RAM_BASE:x}", {"device_type": _text("memory"), "reg": _at(RAM_BASE, ram)}, ()),
            ("cpus", {"#address-cells": _cells(1), "#size-cells": _cells(0)}, cpus),
            ("timer", {"compatible": _text("arm,armv8-timer"), "interrupts": _cells(*ppis), "always-on": b""}, ()),
            (f"intc@{GICD_BASE:x}", gic, [(f"its@{GITS_BASE:x}", its, ())]),
            (f"pl011@{UART_BASE:x}", uart, ()),
            (f"virtio_mmio@{VIRTIO_BASE:x}", virtio, ()),
        ],
    )


def _cells(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def _text(*words: str) -> bytes:
    return b"".join(word.encode("latin-1") + b"\0" for word in words)


def _at(address: int, size: int) -> bytes:
    return struct.pack(">QQ", address, size)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def load(program: bytes, ram: mmap.mmap) -> int:
    """Put an ELF file or an arm64 Image (or what is neither, like one) where QEMU's -kernel does; return its entry."""
    if program[:4] == b"\x7fELF":
        entry, headers = struct.unpack_from("<QQ", program, 24)
        size, count = struct.unpack_from("<HH", program, 54)
        for at in range(headers, headers + count * size, size):
            kind, _, offset, _, address, filled = struct.unpack_from("<IIQQQQ", program, at)
            if kind == 1:
                _put(ram, address, program[offset : offset + filled])
        return int(entry)
    offset = 0x80000
    if program[56:60] == b"ARM\x64":
        text_offset, image_size = struct.unpack_from("<QQ", program, 8)
        offset = text_offset if image_size else offset
    # Where QEMU's own first instructions are is nothing loaded.
    address = RAM_BASE + int(offset) + (0x200000 if offset < PAGE else 0)
    _put(ram, address, program)
    return address


def _put(ram: mmap.mmap, address: int, data: bytes) -> None:
    at = address - RAM_BASE
    if at < 0 or at + len(data) > len(ram):
        raise Trouble(f"{len(data)} bytes at {address:#x} do not fit the memory of {len(ram) >> 20} MiB")
    ram[at : at + len(data)] = data


class Pl011:
    """The serial port: bytes in and out, and the receive interrupt."""

    def __init__(self, out: Callable[[bytes], None], line: Callable[[bool], None]) -> None:
        self._out, self._line = out, line
        self._received: deque[int] = deque()
        self._registers: dict[int, int] = {}

    def read(self, offset: int) -> int:
        """Return a register."""
        if offset == 0x00:
            byte = self._received.popleft() if self._received else 0
            self._update()
            return byte
        if offset == 0x18:  # FR: transmit FIFO empty, and whether nothing has been received
            return 0x80 | (0 if self._received else 0x10)
        if offset in (0x3C, 0x40):  # RIS, MIS
            pending = 0x10 if self._received else 0
            return pending & (self._registers.get(0x38, 0) if offset == 0x40 else 0x10)
        if offset >= 0xFE0:  # the identification registers
            return b"\x11\x10\x14\x00\x0d\xf0\x05\xb1"[(offset - 0xFE0) // 4 & 7]
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write a register."""
        if offset == 0:
            self._out(bytes((value & 0xFF,)))
        else:
            self._registers[offset] = value
            self._update()

    def receive(self, data: bytes) -> None:
        """Take what is sent to the guest."""
        self._received.extend(data)
        self._update()

    def _update(self) -> None:
        self._line(bool(self._received and self._registers.get(0x38, 0) & 0x10))

    def state(self) -> dict[str, Any]:
        """Return what it has to be given again."""
        return {"received": list(self._received), "registers": {f"{at:#x}": value for at, value in self._registers.items()}}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Be as it was; the line is the GIC's to remember."""
        self._received = deque(state["received"])
        self._registers = {int(at, 16): value for at, value in state["registers"].items()}


class VirtioConsole:
    """A virtio console by legacy MMIO: queue 0 receives, queue 1 transmits."""

    def __init__(self, ram: mmap.mmap, out: Callable[[bytes], None], line: Callable[[bool], None]) -> None:
        self._ram, self._out, self._line = ram, out, line
        self._waiting = b""
        self._select = 0
        self._registers: dict[int, int] = {}
        # Of each queue: page number, entries, alignment, how far the available ring has been read.
        self._queues = [[0, 0, PAGE, 0], [0, 0, PAGE, 0]]

    def read(self, offset: int) -> int:
        """Return a register: magic, version, device, vendor; a limit for queues; what the driver wrote."""
        fixed = {0x00: 0x74726976, 0x04: 1, 0x08: 3, 0x0C: 0x4D564B, 0x10: 0}
        if offset in fixed:
            return fixed[offset]
        if offset == 0x34:
            return 64 if self._select < 2 else 0
        if offset == 0x40:
            return self._queues[self._select][0] if self._select < 2 else 0
        return self._registers.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        """Write a register, and do what it means."""
        if offset == 0x30:
            self._select = value
        elif offset in (0x40, 0x38, 0x3C):
            if self._select < 2:
                self._queues[self._select][{0x40: 0, 0x38: 1, 0x3C: 2}[offset]] = value
        elif offset == 0x50:
            self._transmit() if value == 1 else self._deliver()
        elif offset == 0x64:
            self._interrupt(self._registers.get(0x60, 0) & ~value)
        else:
            self._registers[offset] = value
            if offset == 0x70 and not value:  # a reset
                self._queues = [[0, 0, PAGE, 0], [0, 0, PAGE, 0]]
                self._interrupt(0)

    def receive(self, data: bytes) -> None:
        """Take what is sent to the guest."""
        self._waiting += data
        self._deliver()

    def _interrupt(self, status: int) -> None:
        self._registers[0x60] = status
        self._line(bool(status))

    def _ready(self, number: int) -> bool:
        page, entries, _, _ = self._queues[number]
        return bool(page and entries and self._registers.get(0x70, 0) & 4)

    def _transmit(self) -> None:
        while (head := self._next(1)) is not None:
            data = b"".join(bytes(self._ram[at : at + size]) for at, size in self._chain(1, head))
            self._out(data)
            self._use(1, head, 0)

    def _deliver(self) -> None:
        while self._waiting and (head := self._next(0)) is not None:
            filled = 0
            for at, size in self._chain(0, head):
                piece, self._waiting = self._waiting[:size], self._waiting[size:]
                self._ram[at : at + len(piece)] = piece
                filled += len(piece)
            self._use(0, head, filled)

    def _next(self, number: int) -> int | None:
        """Return the head of the next chain that the driver has made available."""
        if not self._ready(number):
            return None
        page, entries, _, seen = self._queues[number]
        ring = page * PAGE - RAM_BASE + 16 * entries
        (index,) = struct.unpack_from("<H", self._ram, ring + 2)
        if index == seen:
            return None
        self._queues[number][3] = (seen + 1) & 0xFFFF
        return int(struct.unpack_from("<H", self._ram, ring + 4 + 2 * (seen % entries))[0])

    def _chain(self, number: int, head: int) -> Iterator[tuple[int, int]]:
        """Yield offset in RAM and size of each buffer of a chain."""
        page, entries, _, _ = self._queues[number]
        for _ in range(entries):
            address, size, flags, head_of_rest = struct.unpack_from("<QIHH", self._ram, page * PAGE - RAM_BASE + 16 * head)
            yield address - RAM_BASE, size
            if not flags & 1:
                return
            head = head_of_rest

    def _use(self, number: int, head: int, filled: int) -> None:
        page, entries, align, _ = self._queues[number]
        available = page * PAGE - RAM_BASE + 16 * entries
        used = available + 6 + 2 * entries
        used += -used % align
        (index,) = struct.unpack_from("<H", self._ram, used + 2)
        struct.pack_into("<II", self._ram, used + 4 + 8 * (index % entries), head, filled)
        struct.pack_into("<H", self._ram, used + 2, (index + 1) & 0xFFFF)
        (flags,) = struct.unpack_from("<H", self._ram, available)
        if not flags & 1:
            self._interrupt(self._registers.get(0x60, 0) | 1)

    def state(self) -> dict[str, Any]:
        """Return what it has to be given again."""
        registers = {f"{at:#x}": value for at, value in self._registers.items()}
        return {"waiting": list(self._waiting), "select": self._select, "registers": registers, "queues": self._queues}

    def resume(self, state: Mapping[str, Any]) -> None:
        """Be as it was; the line is the GIC's to remember."""
        self._waiting, self._select = bytes(state["waiting"]), state["select"]
        self._registers = {int(at, 16): value for at, value in state["registers"].items()}
        self._queues = [list(queue) for queue in state["queues"]]


# -- the interrupt controller


def _row(first: int, intids: int, bits: int, *, start: int = 0) -> list[int]:
    """Return the offsets of a group of 32-bit registers with `bits` for each interrupt from `start` on."""
    return [first + 4 * n for n in range(start * bits // 32, intids * bits // 32)]


class Gic:
    """What of the GIC and ITS can be read and written from outside, by register; in the order of a restore."""

    # GICR_PROPBASER and GICR_PENDBASER cannot be changed once GICR_CTLR.EnableLPIs is set, so that comes after them; what is
    # pending and active comes after what it means (ICFGR).
    REDISTRIBUTOR = (0x70, 0x74, 0x78, 0x7C, 0x00, 0x10, 0x14, 0x10080, 0x10C00, 0x10C04, *_row(0x10400, 32, 8), 0x10100,
                     0x10200, 0x10300)  # fmt: skip
    DISTRIBUTOR = (
        0x08,  # GICD_IIDR: "userspace should set it before any other"
        0x00,
        0x10,
        *_row(0x80, INTIDS, 1, start=32),
        *_row(0xC00, INTIDS, 2, start=32),
        *_row(0x400, INTIDS, 8, start=32),
        # The lower halves: the upper ones hold Aff3, which KVM keeps at 0.
        *(0x6000 + 8 * intid for intid in range(32, INTIDS)),
        *_row(0x100, INTIDS, 1, start=32),
        *_row(0x200, INTIDS, 1, start=32),
        *_row(0x300, INTIDS, 1, start=32),
    )
    # GITS_CBASER first; its write resets CREADR. IIDR says how the tables are laid out. GITS_CTLR comes after the tables.
    ITS = (0x80, 0x04, 0x88, 0x90, *(0x100 + 8 * n for n in range(8)))
    ITS_CTLR = 0x00
    ICENABLER0 = 0x10180

    def __init__(self, kvm: Kvm, vcpus: int, *, el2: bool) -> None:
        self._kvm, self._vcpus = kvm, vcpus
        self._device = kvm.create_device(7)
        kvm.set_attribute(self._device, ADDR, 2, GICD_BASE)
        kvm.set_attribute(self._device, ADDR, 3, GICR_BASE)
        kvm.set_attribute(self._device, NR_IRQS, 0, INTIDS, 4)
        if el2:
            kvm.set_attribute(self._device, MAINT_IRQ, 0, MAINTENANCE_INTID, 4)
        kvm.set_attribute(self._device, CTRL, CTRL_INIT)
        # Redistributors know LPIs once there is an ITS, and it gets its place after they have their state.
        self._its = kvm.create_device(8)
        self._cpu_registers = {**_icc(), **(_ich() if el2 else {})}

    def place_its(self) -> None:
        """Give the ITS its address and set it up."""
        self._kvm.set_attribute(self._its, ADDR, 4, GITS_BASE)
        self._kvm.set_attribute(self._its, CTRL, CTRL_INIT)

    def flush(self) -> None:
        """Have the ITS write its tables, and the redistributors their pending LPIs, into the guest's memory."""
        self._kvm.set_attribute(self._its, CTRL, ITS_SAVE_TABLES)
        self._kvm.set_attribute(self._device, CTRL, SAVE_PENDING_TABLES)

    def state(self) -> dict[str, Any]:
        """Return every register by its offset or encoding."""
        get, device = self._kvm.attribute, self._device
        redistributors, cpus, levels = [], [], []
        for number in range(self._vcpus):
            cpu = number << 32
            redistributors.append({f"{at:#x}": get(device, REDIST_REGS, cpu | at, 4) for at in self.REDISTRIBUTOR})
            cpus.append({f"{register:#x}": value for register, value in self._cpu_interface(cpu)})
            levels.append(get(device, LEVEL_INFO, cpu, 4))
        return {
            "distributor": {f"{at:#x}": get(device, DIST_REGS, at, 4) for at in self.DISTRIBUTOR},
            "redistributors": redistributors,
            "cpus": cpus,
            "levels": {"ppis": levels, "spis": [get(device, LEVEL_INFO, intid, 4) for intid in range(32, INTIDS, 32)]},
            "its": {f"{at:#x}": get(self._its, ITS_REGS, at, 8) for at in (*self.ITS, self.ITS_CTLR)},
        }

    def write(self, part: str, at: int, value: int) -> tuple[int, int]:
        """Write a 32-bit register of the `distributor` or first `redistributor`; return errno, and what it holds then."""
        group, number = {"distributor": DIST_REGS, "redistributor": REDIST_REGS}[part], 0
        try:
            self._kvm.set_attribute(self._device, group, at, value, 4)
        except OSError as error:
            number = error.errno or -1
        return number, self._kvm.attribute(self._device, group, at, 4)

    def _cpu_interface(self, cpu: int) -> Iterator[tuple[int, int]]:
        for register, always in self._cpu_registers.items():
            try:
                yield register, self._kvm.attribute(self._device, CPU_SYSREGS, cpu | register, 8)
            except OSError as error:
                if always or error.errno not in (errno.ENXIO, errno.EINVAL):
                    raise

    def resume(self, state: Mapping[str, Any], refused: Callable[[str, str, int, int], None]) -> None:
        """Write everything back; each write that fails is told: which part, which register, value, errno."""

        def put(part: str, device: int, group: int, attribute: int, value: int | None, size: int = 4) -> None:
            try:
                self._kvm.set_attribute(device, group, attribute, value, size)
            except OSError as error:
                refused(part, f"{attribute & 0xFFFFFFFF:#x}" if value is not None else "tables", value or 0, error.errno or 0)

        for at, value in state["distributor"].items():
            if value:  # a fresh one is all zero where it can be written
                put("distributor", self._device, DIST_REGS, int(at, 16), value)
        for number in range(self._vcpus):
            self._resume_cpu(number, state, put)
        for row, value in enumerate(state["levels"]["spis"]):
            put("levels", self._device, LEVEL_INFO, 32 + 32 * row, value)
        self.place_its()
        self._resume_its(state["its"], put)

    def _resume_cpu(self, number: int, state: Mapping[str, Any], put: Callable[..., None]) -> None:
        cpu = number << 32
        # SGIs of a fresh redistributor are enabled, and a write to ISENABLER only adds.
        put(f"redistributor {number}", self._device, REDIST_REGS, cpu | self.ICENABLER0, 0xFFFFFFFF)
        for at, value in state["redistributors"][number].items():
            put(f"redistributor {number}", self._device, REDIST_REGS, cpu | int(at, 16), value)
        for register, value in state["cpus"][number].items():
            put(f"cpu {number}", self._device, CPU_SYSREGS, cpu | int(register, 16), value, 8)
        put(f"levels of cpu {number}", self._device, LEVEL_INFO, cpu, state["levels"]["ppis"][number])

    def _resume_its(self, its: Mapping[str, int], put: Callable[..., None]) -> None:
        for at in self.ITS:
            if value := its[f"{at:#x}"]:  # a base register takes a zero as a wish for the usual attributes
                put("its", self._its, ITS_REGS, at, value, 8)
        put("its", self._its, CTRL, ITS_RESTORE_TABLES, None)
        put("its", self._its, ITS_REGS, self.ITS_CTLR, its[f"{self.ITS_CTLR:#x}"], 8)


def _encoded(op1: int, crn: int, crm: int, op2: int) -> int:
    return 3 << 14 | op1 << 11 | crn << 7 | crm << 3 | op2


def _icc() -> dict[int, bool]:
    """Return ICC_SRE, CTLR, PMR, BPR0 and 1, IGRPEN0 and 1, AP0R0 to 3, AP1R0 to 3 of EL1, and whether each is always there."""
    fixed = [(12, 12, 5), (12, 12, 4), (4, 6, 0), (12, 8, 3), (12, 12, 3), (12, 12, 6), (12, 12, 7)]
    found = {_encoded(0, *register): True for register in fixed}
    # With more than 5 bits of priority, there are more of these.
    return found | {_encoded(0, 12, *register): not n for n in range(4) for register in ((8, 4 + n), (9, n))}


def _ich() -> dict[int, bool]:
    """Return ICC_SRE_EL2, ICH_VTR, VMCR, HCR, AP0R0 to 3, AP1R0 to 3, LR0 to 15, and whether each is always there."""
    found = {_encoded(4, 12, *register): True for register in ((9, 5), (11, 1), (11, 7), (11, 0))}
    found |= {_encoded(4, 12, crm, n): not n for n in range(4) for crm in (8, 9)}
    return found | {_encoded(4, 12, 12 + n // 8, n % 8): not n for n in range(16)}


# -- the machine


class Vcpu(threading.Thread):
    """One vCPU in its thread. It parks only where KVM_RUN has returned for our sake, so nothing is half done then."""

    def __init__(self, number: int, vm: Vm) -> None:
        super().__init__(name=f"vcpu-{number}", daemon=True)
        self.number = number
        self.exits: Counter[str] = Counter()
        self.parked = True
        self._vm = vm

    def run(self) -> None:
        """Run the guest whenever it is to run."""
        try:
            while self._vm.may_run(self):
                self._enter()
        except Exception as error:  # noqa: BLE001  # whatever it is, a guest that stands still would be a riddle
            self._vm.broken(f"vCPU {self.number}: {error}")

    def kick(self) -> None:
        """Have it come out of the guest."""
        self._vm.kvm.hurry(self.number, on=True)
        if self.ident is not None:
            signal.pthread_kill(self.ident, signal.SIGUSR1)

    def _enter(self) -> None:
        kvm = self._vm.kvm
        try:
            what, first, size, data = kvm.run(self.number)
        except InterruptedError:
            self.exits["interrupted"] += 1
            self._vm.park(self)
            return
        self.exits[what] += 1
        if what == "mmio":
            if data is None:
                kvm.answer(self.number, self._vm.read(first).to_bytes(8, "little")[:size])
            else:
                self._vm.write(first, int.from_bytes(data, "little"))
        elif what == "system":
            self._vm.ended(first)
        else:
            raise Trouble(f"KVM_RUN returned with exit reason {first} ({size:#x})")


def bits_of(features: Sequence[str], *, off: bool) -> int:
    """Return what KVM_ARM_VCPU_INIT is told: PSCI, the features, and whether the vCPU waits to be powered on."""
    bits = 1 << PSCI_0_2 | off << POWER_OFF
    for feature in features:
        bits |= sum(1 << bit for bit in FEATURES[feature][0])
    return bits


def settle(kvm: Kvm, vcpu: int, features: Sequence[str]) -> None:
    """Do what has to be done between a vCPU's creation and the first look."""
    if "sve" in features:
        kvm.finalize(vcpu, SVE_FINALIZE)
    if "pmu" in features:
        kvm.set_vcpu_attribute(vcpu, 0, 0, PMU_INTID)
        kvm.set_vcpu_attribute(vcpu, 0, 1)


def enter(kvm: Kvm, vcpu: int) -> None:
    """Have a vCPU enter the guest and come back before its first instruction. Raises OSError, Trouble."""
    kvm.hurry(vcpu, on=True)
    try:
        kvm.run(vcpu)
    except InterruptedError:
        return
    raise Trouble(f"vCPU {vcpu} did not come back from its entry at once")


def host_of(kvm: Kvm) -> dict[str, Any]:
    """Return the release of the kernel, and the writable bits of ID registers that it announces, if it announces any."""
    try:
        masks = kvm.masks()
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EINVAL):
            raise
        masks = []
    return {"kernel": os.uname().release, "masks": masks}


def value_of(kvm: Kvm, vcpu: int, register: int) -> str | None:
    """Return the value that a register has, little-endian, or None where there is no such register."""
    try:
        return kvm.get(vcpu, register).hex()
    except OSError:
        return None


class Vm:
    """The machine: memory, vCPUs, GIC, devices."""

    def __init__(self, kvm: Kvm, config: Mapping[str, Any], tell: Callable[[dict[str, Any]], None]) -> None:
        self.kvm = kvm
        self.config = dict(config)
        self._tell = tell
        self._lock = threading.RLock()
        self._changed = threading.Condition()
        self._running = False
        self._closing = False
        # The counters of each vCPU when the machine was stopped: it gets them again when it runs, so its clock stands still.
        # They differ by CNTVOFF_EL2; to set the first one's is to set the VM's.
        self._counters: list[dict[int, bytes]] = []
        self._ran, self._since = 0.0, 0.0
        self._line = bytearray()
        size = int(config["memory_mib"]) << 20
        self._memory = os.memfd_create("guest")
        os.truncate(self._memory, size)
        self.ram = mmap.mmap(self._memory, size)
        self.vcpus = [Vcpu(number, self) for number in range(int(config["vcpus"]))]
        self.uart = Pl011(self._say, lambda high: self.kvm.spi(UART_SPI, high=high))
        self.console = VirtioConsole(self.ram, self._say, lambda high: self.kvm.spi(VIRTIO_SPI, high=high))
        self._create()

    def _create(self) -> None:
        kvm, el2 = self.kvm, "el2" in self.config["features"]
        kvm.create_vm()
        if "mte" in self.config["features"]:
            kvm.enable(FEATURES["mte"][1])
        if self.config.get("by_offset"):
            kvm.set_counter_offset(kvm.host_counter())  # both begin at 0; else CNTVCT does, and CNTPCT is the host's
        kvm.map_ram(self.ram)
        for vcpu in self.vcpus:
            kvm.create_vcpu(vcpu.number)
        for vcpu in self.vcpus:
            kvm.init(vcpu.number, bits_of(self.config["features"], off=vcpu.number > 0))
        self.gic = Gic(kvm, len(self.vcpus), el2=el2)

    def settle(self) -> None:
        """Do what has to be done between the creation and the first look."""
        for vcpu in self.vcpus:
            settle(self.kvm, vcpu.number, self.config["features"])

    def boot(self, program: bytes, written: Mapping[str, str]) -> None:
        """Put a program and the device tree into memory, and vCPU 0 at its entry; `written`: registers of each vCPU."""
        self.settle()
        refused: list[dict[str, Any]] = []
        for vcpu in self.vcpus:
            self._put_registers(vcpu.number, written, refused)
        self._judge(refused, "written")
        self.gic.place_its()
        entry = load(program, self.ram)
        tree = RAM_BASE + len(self.ram) // 2
        _put(self.ram, tree, device_tree(len(self.vcpus), len(self.ram), self.config["append"],
                                         el2="el2" in self.config["features"]))  # fmt: skip
        self.kvm.set(0, PC, entry.to_bytes(8, "little"))
        self.kvm.set(0, X0, tree.to_bytes(8, "little"))

    # -- running

    def go(self) -> dict[str, Any]:
        """Let all vCPUs run. Return what became of the counters, as `_put_counters`; nothing where they have never stood."""
        counters = self._put_counters() if self._counters else {}
        self._since = time.monotonic()
        with self._changed:
            for vcpu in self.vcpus:
                self.kvm.hurry(vcpu.number, on=False)
                vcpu.parked = False
            self._running = True
            self._changed.notify_all()
        for vcpu in self.vcpus:
            if vcpu.ident is None:
                vcpu.start()
        return counters

    def _put_counters(self) -> dict[str, Any]:
        """Give the VM the counters that it stood at: each by its register, or both by an offset to the host's.

        Return by what, what the host's counter was before they were set and after all were looked at, and of each vCPU, by
        register, what was asked for and what it has. Each write is to the VM, whose other vCPUs follow (timer_set_offset in
        arch/arm64/kvm/arch_timer.c).
        """
        kvm, wrap = self.kvm, 1 << 64
        virtual, physical = (int.from_bytes(self._counters[0][counter], "little") for counter in COUNTERS)
        before = kvm.host_counter()
        if self.config.get("by_offset"):
            by, virtual = "KVM_ARM_SET_COUNTER_OFFSET", physical
            kvm.set_counter_offset((before - physical) % wrap)
        else:
            by = "KVM_SET_ONE_REG"
            for counter in COUNTERS:
                kvm.set(0, counter, self._counters[0][counter])

        def number(vcpu: int, register: int) -> int:
            return int.from_bytes(kvm.get(vcpu, register), "little")

        found = []
        for vcpu in range(len(self.vcpus)):
            if "el2" in self.config["features"]:
                virtual = (physical - number(vcpu, CNTVOFF_EL2)) % wrap
            asked = zip(COUNTERS, (virtual, physical), strict=True)
            found.append({f"{counter:#x}": (ticks, number(vcpu, counter)) for counter, ticks in asked})
        return {"by": by, "before": before, "after": kvm.host_counter(), "vcpus": found}

    def stop(self) -> None:
        """Have all vCPUs out of the guest, and nothing half done. Raises Trouble naming those that do not come."""
        with self._changed:
            self._running = False
        for vcpu in self.vcpus:
            vcpu.kick()
        with self._changed:
            if not self._changed.wait_for(lambda: all(vcpu.parked for vcpu in self.vcpus), STOP_SECONDS):
                missing = ", ".join(str(vcpu.number) for vcpu in self.vcpus if not vcpu.parked)
                raise Trouble(f"vCPU {missing} did not leave the guest within {STOP_SECONDS:.0f} s of a kick")
        self._counters = [{counter: self.kvm.get(vcpu.number, counter) for counter in COUNTERS} for vcpu in self.vcpus]
        self._ran += time.monotonic() - self._since
        self._flush_line()

    def may_run(self, vcpu: Vcpu) -> bool:
        """Wait until a vCPU may enter the guest; say whether it ever may again."""
        with self._changed:
            self._changed.wait_for(lambda: self._closing or not vcpu.parked)
            return not self._closing

    def park(self, vcpu: Vcpu) -> None:
        """Note that a vCPU has come out of the guest, where it was to."""
        with self._changed:
            if not self._running:
                vcpu.parked = True
                self._changed.notify_all()

    def read(self, address: int) -> int:
        """Return what the guest reads in a device."""
        with self._lock:
            device, offset = self._device(address)
            return device.read(offset)

    def write(self, address: int, value: int) -> None:
        """Do what the guest writes to a device."""
        with self._lock:
            device, offset = self._device(address)
            device.write(offset, value)

    def _device(self, address: int) -> tuple[Pl011 | VirtioConsole, int]:
        for base, size, device in ((VIRTIO_BASE, 0x200, self.console), (UART_BASE, 0x1000, self.uart)):
            if base <= address < base + size:
                return device, address - base
        raise Trouble(f"the guest touched {address:#x}, where nothing is")

    def receive(self, data: bytes) -> None:
        """Send bytes to the guest's console, which is the one that it has set up."""
        with self._lock:
            (self.console if "console=virtio" in self.config["append"].split() else self.uart).receive(data)

    def _say(self, data: bytes) -> None:
        self._line += data
        if data.endswith(b"\n"):
            self._flush_line()

    def _flush_line(self) -> None:
        with self._lock:
            line, self._line = bytes(self._line), bytearray()
        if line:
            self._tell({"event": "console", "text": line.decode("latin-1")})

    def ended(self, event: int) -> None:
        """Power off, or whatever else the guest asked for (KVM_SYSTEM_EVENT_*)."""
        self._flush_line()
        self._tell({"event": "ended", "type": event, "account": self.account()})
        os._exit(0 if event == 1 else 4)

    def broken(self, text: str) -> None:
        """Say that the machine cannot go on."""
        self._flush_line()
        if not self._closing:
            self._tell({"event": "broken", "text": text})
            os._exit(5)

    # -- looking

    def registers(self, vcpu: int) -> dict[str, str]:
        """Return every register of a vCPU by its id, little-endian."""
        return {f"{register:#x}": self.kvm.get(vcpu, register).hex() for register in self.kvm.registers(vcpu)}

    def look(self) -> dict[str, Any]:
        """Return everything that can be seen of the stopped machine, memory as a digest."""
        self._must_stand()
        self.gic.flush()
        return {
            "vcpus": [
                {
                    "registers": self.registers(vcpu.number),
                    "events": self.kvm.events(vcpu.number).hex(),
                    "mp_state": self.kvm.mp_state(vcpu.number),
                }
                for vcpu in self.vcpus
            ],
            "gic": self.gic.state(),
            "devices": {"uart": self.uart.state(), "console": self.console.state()},
            "host": host_of(self.kvm),
        }

    def tags(self) -> bytes:
        """Return the allocation tags of all memory in which anything has ever been; none without MTE."""
        if "mte" not in self.config["features"]:
            return b""
        return b"".join(self.kvm.tags(RAM_BASE + start, end - start) for start, end in self.extents())

    def digests(self) -> dict[str, int]:
        """Return the CRC-32 of all pages that hold anything but zeros, each with its place; and with MTE of their tags."""
        crc, empty = 0, bytes(PAGE)
        tagged, untagged, tags, first = 0, bytes(PAGE // GRANULE), self.tags(), 0
        for start, end in self.extents():
            for at in range(start, end, PAGE):
                page, place = self.ram[at : at + PAGE], at.to_bytes(8, "little")
                if page != empty:
                    crc = zlib.crc32(page, zlib.crc32(place, crc))
                own = tags[first : first + len(untagged)]
                first += len(untagged)
                if own and own != untagged:
                    tagged = zlib.crc32(own, zlib.crc32(place, tagged))
        return {"memory": crc, **({"tags": tagged} if tags else {})}

    def extents(self) -> list[tuple[int, int]]:
        """Return where in memory anything has ever been: first byte, and the one after the last."""
        found: list[tuple[int, int]] = []
        at = 0
        while True:
            try:
                start = os.lseek(self._memory, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return found
                raise
            at = os.lseek(self._memory, start, os.SEEK_HOLE)
            found.append((start, at))

    def rewrite(self) -> dict[str, Any]:
        """Read every register of every vCPU and write it back. Raises Trouble listing those that are refused."""
        self._must_stand()
        refused: list[dict[str, Any]] = []
        for vcpu in self.vcpus:
            held = self.registers(vcpu.number)
            self._put_registers(vcpu.number, held, refused)
            self._put_register(vcpu.number, PSTATE, bytes.fromhex(held[f"{PSTATE:#x}"]), refused)
            self.kvm.set_events(vcpu.number, self.kvm.events(vcpu.number))
            self.kvm.set_mp_state(vcpu.number, self.kvm.mp_state(vcpu.number))
        self._judge(refused, "written back in place")
        return {"registers": sum(len(self.kvm.registers(vcpu.number)) for vcpu in self.vcpus)}

    def account(self) -> dict[str, Any]:
        """Return for how long the machine ran, in s; and of each vCPU how often it came to us, and the kernel's counters."""
        ran = self._ran + (time.monotonic() - self._since if self._running else 0.0)
        counted = [{"exits": dict(vcpu.exits), "kernel": self.kvm.statistics(vcpu.number)} for vcpu in self.vcpus]
        return {"seconds": ran, "vcpus": counted}

    def _must_stand(self) -> None:
        if self._running:
            raise Trouble("the machine runs; stop it first")

    # -- saving and restoring

    def save(self, path: str) -> dict[str, Any]:
        """Write everything to a file, whole or not at all."""
        began = time.monotonic()
        held = self.look()
        for vcpu, stood in zip(held["vcpus"], self._counters, strict=True):
            vcpu["registers"].update({f"{counter:#x}": value.hex() for counter, value in stood.items()})
        seen = time.monotonic()
        extents, tags = self.extents(), self.tags()
        tree = {"config": self.config, **held, "extents": extents, "tags": len(tags)}
        header = json.dumps(tree, separators=(",", ":")).encode("ascii")
        crc, size = zlib.crc32(header), len(header)
        with memoryview(self.ram) as ram:
            for start, end in extents:
                crc, size = zlib.crc32(ram[start:end], crc), size + end - start
            crc, size = zlib.crc32(tags, crc), size + len(tags)
            part = f"{path}.part"
            with open(part, "wb") as file:
                file.write(b"%s %d %d %d %08x\n" % (FORMAT.encode(), VERSION, len(header), size, crc))
                file.write(header)
                for start, end in extents:
                    file.write(ram[start:end])
                file.write(tags)
            os.rename(part, path)
        figures = {"ms": _ms(began), "registers_ms": 1000 * (seen - began), "bytes": size}
        return {"figures": figures, "account": self.account(), "look": {**held, **self.digests()}}

    def restore(self, saved: Mapping[str, Any], memory: memoryview, *, first_entry: bool = True) -> dict[str, Any]:
        """Be the machine that was saved; fresh from its creation. Return what became of the counters, as `_put_counters`.

        `first_entry`: see `_first_entry`. Raises Trouble listing every register that is refused.
        """
        at = 0
        for start, end in saved["extents"]:
            self.ram[start:end] = memory[at : at + end - start]
            at += end - start
        for start, end in saved["extents"] if saved.get("tags") else ():
            self.kvm.set_tags(RAM_BASE + start, bytes(memory[at : at + (end - start) // GRANULE]))
            at += (end - start) // GRANULE
        refused: list[dict[str, Any]] = []
        for vcpu in self.vcpus:
            if lengths := saved["vcpus"][vcpu.number]["registers"].get(f"{SVE_VLS:#x}"):
                self._put_register(vcpu.number, SVE_VLS, bytes.fromhex(lengths), refused)
        self._judge(refused, "restored")  # without its vector lengths there is no such vCPU
        self.settle()
        self._counters = [
            {counter: bytes.fromhex(vcpu["registers"][f"{counter:#x}"]) for counter in COUNTERS} for vcpu in saved["vcpus"]
        ]
        if self.config.get("by_offset"):
            self._put_counters()  # before timers have their values; writes to the counters' registers do nothing then
        for vcpu in self.vcpus:
            held = saved["vcpus"][vcpu.number]
            self._put_registers(vcpu.number, held["registers"], refused)
            self.kvm.set_events(vcpu.number, bytes.fromhex(held["events"]))
            self.kvm.set_mp_state(vcpu.number, held["mp_state"])
        self._resume_gic(saved["gic"], refused)
        for vcpu in self.vcpus:
            if first_entry and "el2" in self.config["features"]:
                self._first_entry(vcpu.number)
            pstate = saved["vcpus"][vcpu.number]["registers"][f"{PSTATE:#x}"]
            self._put_register(vcpu.number, PSTATE, bytes.fromhex(pstate), refused)
        self.uart.resume(saved["devices"]["uart"])
        self.console.resume(saved["devices"]["console"])
        self._judge(refused, "restored")
        return self._put_counters() if self.config.get("by_offset") else {}

    def _resume_gic(self, gic: Mapping[str, Any], refused: list[dict[str, Any]]) -> None:
        def gic_refused(part: str, register: str, value: int, number: int) -> None:
            refused.append({"gic": part, "register": register, "wanted": f"{value:#x}", "errno": number})

        self.gic.resume(gic, gic_refused)

    def _judge(self, refused: Sequence[Mapping[str, Any]], what: str) -> None:
        if refused:
            raise Trouble(f"{len(refused)} registers could not be {what}", refused=list(refused), host=host_of(self.kvm))

    def _first_entry(self, vcpu: int) -> None:
        """Enter a fresh vCPU that is at EL2 yet, and come back at once.

        A vCPU begins with the stage 2 of its VM, and keeps it at its first entry whatever its registers say then
        (kvm_arch_vcpu_create in arch/arm64/kvm/arm.c, kvm_vcpu_load_hw_mmu in nested.c, 7.3): one that was saved in a guest of
        its own would find the memory of the VM there. So its first entry is made before PSTATE says that it is in one; and
        after the GIC has its state, since from the first entry on a timer's interrupt is the hardware's, and a write that makes
        it active is ignored (vgic_hw_irq_change_active in vgic/vgic-mmio.c).
        """
        enter(self.kvm, vcpu)

    def _put_registers(self, vcpu: int, registers: Mapping[str, str], refused: list[dict[str, Any]]) -> None:
        """Write the registers but PSTATE in an order that the kernel takes; those that it refuses go to `refused`."""
        ids = sorted((int(register, 16) for register in registers), key=_rank)
        for register in ids:
            wanted = bytes.fromhex(registers[f"{register:#x}"])
            if register not in (SVE_VLS, PSTATE):  # settled with the creation; to be written after all others
                self._put_register(vcpu, register, wanted, refused)

    def _put_register(self, vcpu: int, register: int, wanted: bytes, refused: list[dict[str, Any]]) -> None:
        try:
            self.kvm.set(vcpu, register, wanted)
        except OSError as error:
            had = value_of(self.kvm, vcpu, register)
            what = {"vcpu": vcpu, "register": f"{register:#x}", "had": had, "wanted": wanted.hex(), "errno": error.errno}
            refused.append(what)

    def close(self) -> None:
        """Let go of everything."""
        self._closing = True
        if self._running:
            self.stop()
        with self._changed:
            self._changed.notify_all()
        for vcpu in self.vcpus:
            if vcpu.ident is not None:
                vcpu.join(STOP_SECONDS)
        self.kvm.close()
        os.close(self._memory)


class Refusal(Exception):
    """KVM_ARM_VCPU_INIT refuses a vCPU: which, and errno."""


class Sample:
    """A VM that runs nothing: its vCPUs are there to be looked at and written to. Each may be of another kind."""

    def __init__(self, kvm: Kvm, kinds: Sequence[Sequence[str]], capabilities: Sequence[int] = ()) -> None:
        self.kvm, self.kinds = kvm, kinds
        kvm.create_vm()
        mte = [FEATURES["mte"][1]] if any("mte" in features for features in kinds) else []
        for capability in (*capabilities, *mte):
            if kvm.extension(capability) > 0:
                kvm.enable(capability)
        for number in range(len(kinds)):
            kvm.create_vcpu(number)
        for number, features in enumerate(kinds):
            try:
                kvm.init(number, bits_of(features, off=number > 0))
            except OSError as error:
                kvm.close()
                raise Refusal(number, error.errno or -1) from error
        self.gic = Gic(kvm, len(kinds), el2="el2" in kinds[0])
        for number, features in enumerate(kinds):
            settle(kvm, number, features)
        self.gic.place_its()  # its registers cannot be read before

    def close(self) -> None:
        """Let go of everything."""
        self.kvm.close()


def counter_hz() -> int:
    """Return CNTFRQ_EL0 in Hz."""
    return instruction(0xD53BE000)()  # mrs x0, cntfrq_el0


def instruction(word: int) -> Callable[[], int]:
    """Return a function that executes an instruction with its result in x0.

    It comes from a file: the kernel sees to the caches of what is mapped to be run. Raises Trouble.
    """
    file = os.memfd_create("instruction")
    os.write(file, struct.pack("<II", word, 0xD65F03C0))  # and ret
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    at = libc.mmap(None, ctypes.c_size_t(PAGE), mmap.PROT_READ | mmap.PROT_EXEC, mmap.MAP_PRIVATE, file, ctypes.c_long(0))
    os.close(file)
    if at in (None, ctypes.c_void_p(-1).value):
        raise Trouble(f"no page of code: {os.strerror(ctypes.get_errno())}")
    return ctypes.CFUNCTYPE(ctypes.c_uint64)(at)


def _ms(began: float) -> float:
    return 1000 * (time.monotonic() - began)


def _rank(register: int) -> tuple[int, int]:
    """Return the place of a register in a restore: ID registers, firmware, the rest, counters, and timers.

    ID registers decide what others may hold, and are open until the first run (vcpu-features.rst).
    """
    kind = register >> 16 & 0xFFFF
    crn = register >> 7 & 0xF
    if kind == SYSREG and register >> 14 & 3 == 3 and crn == 0:
        return 0, register
    if kind in (FIRMWARE, FIRMWARE_MAP):
        return 1, register
    if register in COUNTERS:
        return 3, COUNTERS.index(register)
    return (4 if kind == SYSREG and crn == _TIMER_CRN else 2), register


def read_file(path: str) -> bytes:
    """Return a file's contents. Raises Trouble."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Trouble(f"{path}: cannot be read: {error.strerror}") from None


def read_saved(path: str) -> tuple[dict[str, Any], memoryview]:
    """Return header and memory of a saved file. Raises Trouble where it is not one, or not whole."""
    data = read_file(path)
    first, newline, rest = data[:100].partition(b"\n")
    words = first.split()
    if not newline or len(words) != 5 or words[0] != FORMAT.encode():
        raise Trouble(f"{path}: not a saved machine", damaged=True)
    if words[1] != str(VERSION).encode():
        raise Trouble(
            f"{path}: a saved machine of version {words[1].decode('latin-1').encode('unicode_escape').decode()}, not {VERSION}",
            damaged=True,
        )
    begin = len(data[:100]) - len(rest)
    try:
        length, size, crc = int(words[2]), int(words[3]), int(words[4], 16)
    except ValueError:
        raise Trouble(f"{path}: its first line is damaged", damaged=True) from None
    body = memoryview(data)[begin:]
    if len(body) != size:
        raise Trouble(f"{path}: {len(body)} of {size} bytes are there; it is truncated or was added to", damaged=True)
    if zlib.crc32(body) != crc:
        raise Trouble(f"{path}: its contents do not have its checksum; it is damaged", damaged=True)
    return json.loads(bytes(body[:length])), body[length:]


# -- the harness


class Server:
    """Takes orders and answers them."""

    def __init__(self, kvm: Callable[[], Kvm] = Kvm) -> None:
        self._kvm = kvm
        self._vm: Vm | None = None
        self._sample: Sample | None = None
        self._speaking = threading.Lock()

    def tell(self, message: Mapping[str, Any]) -> None:
        """Write one line; where nobody reads any more, end."""
        data = json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"
        with self._speaking:
            try:
                while data:
                    data = data[os.write(1, data) :]
            except OSError:
                os._exit(3)

    def serve(self, lines: Iterator[bytes]) -> None:
        """Carry out each order, to the end of the input."""
        for line in lines:
            order = json.loads(line)
            try:
                answer = {"ok": getattr(self, f"do_{order['do']}")(**order.get("with", {}))}
            except Trouble as trouble:
                answer = {"error": {"text": str(trouble), **trouble.details}}
            except OSError as error:
                sys.excepthook(*sys.exc_info())  # where it was, for the log
                answer = {"error": {"text": error.strerror or str(error), "errno": error.errno}}
            if "id" in order:
                self.tell({"id": order["id"], **answer})

    def do_offer(self) -> dict[str, bool]:
        """Return which vCPU features this host has."""
        kvm = self._kvm()
        try:
            return {feature: kvm.extension(capability) > 0 for feature, (_, capability) in FEATURES.items()}
        finally:
            kvm.close()

    def do_create(self, kernel: str, append: str, vcpus: int, memory_mib: int, **options: Any) -> dict[str, Any]:
        """Make a machine with all vCPU features that the host offers but those left out; it does not run yet.

        Options: `el2`, `e2h0`: whether the guest has them; `without`: features that it has not; `by_offset`: its counters are
        set by KVM_ARM_SET_COUNTER_OFFSET, here and wherever it is restored, not by their registers; `written`: registers that
        each vCPU has from the start, by id.
        """
        kvm = self._kvm()
        asked = {feature: bool(options.get(feature)) for feature in ("el2", "e2h0")}
        features = []
        for feature, (_, capability) in FEATURES.items():
            offered = kvm.extension(capability) > 0
            if asked.get(feature) and not offered:
                raise Trouble(f"KVM here does not offer {feature} for vCPUs (capability {capability})", unsupported=True)
            if asked.get(feature, offered and feature not in options.get("without", ())):
                features.append(feature)
        config: dict[str, Any] = {"features": features, "append": append, "vcpus": vcpus, "memory_mib": memory_mib}
        config["by_offset"] = bool(options.get("by_offset"))
        self._replace(Vm(kvm, config, self.tell)).boot(read_file(kernel), options.get("written", {}))
        return {"features": features}

    def do_restore(self, path: str, *, first_entry: bool = True, **kinds: bool) -> dict[str, Any]:
        """Make the machine that a file describes, in the state that it describes; it does not run yet.

        `first_entry`: as `Vm.restore`; `kinds` says of features whether the new machine has them, whatever the old one had.
        """
        began = time.monotonic()
        saved, memory = read_saved(path)
        read = time.monotonic()
        config = saved["config"]
        wanted = {**dict.fromkeys(config["features"], True), **kinds}
        config["features"] = [feature for feature in FEATURES if wanted.get(feature)]
        kvm = self._kvm()
        if lacking := [feature for feature in config["features"] if kvm.extension(FEATURES[feature][1]) <= 0]:
            kvm.close()
            raise Trouble(f"KVM here does not offer {', '.join(lacking)} for vCPUs", lacking=lacking)
        vm = self._replace(Vm(kvm, config, self.tell))
        made = time.monotonic()
        counters = vm.restore(saved, memory, first_entry=first_entry)
        figures = {"ms": _ms(began), "create_ms": 1000 * (made - read), "registers_ms": _ms(made)}
        return {"figures": figures, "counters": counters}

    def do_host(self) -> dict[str, Any]:
        """Return what a guest may notice of this host: features, CNTFRQ in Hz, page size in bytes, bits of its addresses."""
        kvm = self._kvm()
        try:
            ipa_bits = kvm.extension(IPA_SIZE) or 40
            found = {"counter_hz": counter_hz(), "page_size": os.sysconf("SC_PAGE_SIZE"), "ipa_bits": ipa_bits}
        finally:
            kvm.close()
        return {"kernel": os.uname().release, "features": self.do_offer(), **found}

    def do_sample(self, kinds: list[list[str]], capabilities: Sequence[int] = ()) -> dict[str, int] | None:
        """Make a VM of vCPUs with these features each, which are looked at and written to but run nothing.

        `capabilities` are turned on where the host has them. Return which vCPU is refused, and errno, where one is; there is no
        sample then.
        """
        self._let_go()
        try:
            self._sample = Sample(self._kvm(), kinds, capabilities)
        except Refusal as refusal:
            vcpu, number = refusal.args
            return {"vcpu": vcpu, "errno": number}
        return None

    def do_read(self, vcpu: int = 0) -> dict[str, str]:
        """Return every register of a vCPU of the sample by its id, little-endian."""
        kvm = self._asked().kvm
        return {f"{register:#x}": kvm.get(vcpu, register).hex() for register in kvm.registers(vcpu)}

    def do_write(self, writes: list[tuple[str, str]], vcpu: int = 0) -> list[tuple[int, str | None]]:
        """Write registers of the sample one after the other; return the errno of each, and what it holds after."""
        kvm, answers = self._asked().kvm, []
        for register, value in writes:
            number = 0
            try:
                kvm.set(vcpu, int(register, 16), bytes.fromhex(value))
            except OSError as error:
                number = error.errno or -1
            answers.append((number, value_of(kvm, vcpu, int(register, 16))))
        return answers

    def do_takes(self, registers: Mapping[str, list[list[int]]]) -> dict[str, dict[int, dict[int, Any]]]:
        """Try, for each register of the sample, every other value of its parts (lowest bit, width), and return those taken.

        Register -> lowest bit -> value -> value that the part has then, and the registers that are gone then. Each has its own
        value again afterwards.
        """
        kvm, taken = self._asked().kvm, {}
        there = set(kvm.registers(0))
        for name, parts in registers.items():
            register, found = int(name, 16), {}
            own = kvm.get(0, register)
            for low, width in parts:
                mask = (1 << width) - 1
                rest = int.from_bytes(own, "little") & ~(mask << low)
                held = {}
                for value in range(1 << width):
                    wanted = (rest | value << low).to_bytes(len(own), "little")
                    if wanted == own:
                        continue
                    try:
                        kvm.set(0, register, wanted)
                    except OSError:
                        continue
                    gone = [f"{each:#x}" for each in sorted(there.difference(kvm.registers(0)))]
                    held[value] = (int.from_bytes(kvm.get(0, register), "little") >> low & mask, gone)
                    kvm.set(0, register, own)
                if held:
                    found[low] = held
            if found:
                taken[name] = found
        return taken

    def do_masks(self) -> list[int]:
        """Return the writable bits of the feature ID registers, as `Kvm.masks` has them."""
        return self._asked().kvm.masks()

    def do_gic(self) -> dict[str, Any]:
        """Return the state of the sample's GIC."""
        return self._asked().gic.state()

    def do_gic_write(self, writes: list[tuple[str, int, int]]) -> list[tuple[int, int]]:
        """Write registers of the sample's GIC one after the other: part, offset, value; return as `Gic.write` of each."""
        return [self._asked().gic.write(*each) for each in writes]

    def do_init(self, features: list[str], vcpu: int = 0) -> int:
        """Initialise a vCPU of the sample once more, with these features; return the errno."""
        try:
            self._asked().kvm.init(vcpu, bits_of(features, off=vcpu > 0))
        except OSError as error:
            return error.errno or -1
        return 0

    def do_enter(self, vcpu: int = 0) -> None:
        """Have a vCPU of the sample enter the guest and come back before its first instruction."""
        enter(self._asked().kvm, vcpu)

    def do_run(self) -> dict[str, Any]:
        """Let it run; return what became of its counters."""
        return self._machine().go()

    def do_stop(self) -> None:
        """Stop all vCPUs."""
        self._machine().stop()

    def do_look(self) -> dict[str, Any]:
        """Return all state of the stopped machine."""
        vm = self._machine()
        return {**vm.look(), **vm.digests()}

    def do_save(self, path: str) -> dict[str, Any]:
        """Save the stopped machine to a file."""
        return self._machine().save(path)

    def do_rewrite(self) -> dict[str, Any]:
        """Read and write back every register."""
        return self._machine().rewrite()

    def do_account(self) -> dict[str, Any]:
        """Return how long the machine ran and how often its vCPUs left the guest."""
        return self._machine().account()

    def do_input(self, text: str) -> None:
        """Send to the guest's console."""
        self._machine().receive(text.encode("latin-1"))

    def do_quit(self) -> None:
        """End."""
        os._exit(0)

    def _machine(self) -> Vm:
        if self._vm is None:
            raise Trouble("there is no machine yet")
        return self._vm

    def _asked(self) -> Sample:
        if self._sample is None:
            raise Trouble("there is no sample yet")
        return self._sample

    def _replace(self, vm: Vm) -> Vm:
        self._let_go()
        self._vm = vm
        return vm

    def _let_go(self) -> None:
        for held in (self._vm, self._sample):
            if held is not None:
                held.close()
        self._vm = self._sample = None


def _too_late(_: int, __: object) -> None:
    os.write(2, b"vmm: its deadline has passed\n")
    os._exit(6)


def main(argv: Sequence[str], kvm: Callable[[], Kvm] = Kvm) -> None:
    """Serve standard input, for at most as many seconds as the one argument says."""
    signal.signal(signal.SIGUSR1, lambda *_: None)  # to interrupt KVM_RUN, not to end us
    signal.signal(signal.SIGALRM, _too_late)
    signal.alarm(int(argv[1]))
    Server(kvm).serve(iter(sys.stdin.buffer.readline, b""))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv)
