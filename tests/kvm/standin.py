"""A stand-in for the ioctls of /dev/kvm, with a guest that speaks as the `timers` payload does; it runs inside `vmm.py`.

The guest's whole state is in its registers, so that it goes on after a restore: X19 says where in its script it is, X20 how much of
a line has left. Its counter is the computer's clock, in ns. `fault` is what this kernel does wrong.
"""

from __future__ import annotations

import errno
import threading
import time
from typing import Any

import vmm  # type: ignore[import-not-found]  # in the folder of the program, which says so

X = [0x6030000000100000 + 2 * n for n in range(31)]
MMFR1 = 0x603000000013C039
CTL, CVAL, CNT, PCNT = 0x603000000013DF19, 0x603000000013DF02, 0x603000000013DF1A, 0x603000000013DF01
FAR_NS = 20_000_000_000_000  # CNTVOFF_EL2 where there is EL2
PFR0, MMFR4 = 0x603000000013C020, 0x603000000013C03C
XNX, VH, HAFDBS, NV_FRAC, EIESB = 1 << 28, 1 << 8, 0xF, 0xF << 20, 0xF << 4
AHEAD_NS = 400_000_000
HELLO, ARRANGED, NOW, WAIT, TIMER, DUE, IRQ, RESULT, END, OFF = range(10)


class StandIn:
    def __init__(self, fault: str = "") -> None:
        self.fault = fault
        self.values: dict[int, int] = dict.fromkeys([*X, vmm.PC, vmm.PSTATE, MMFR1, CTL, CVAL], 0)
        # What can be written, and what is safe is what it was at first or less.
        self.masks_of = {PFR0: 0, MMFR1: HAFDBS | (VH if fault == "writes VH" else 0), MMFR4: NV_FRAC}
        self.reset = {PFR0: 0x1111, MMFR1: XNX | VH | 1, MMFR4: 0xF << 24 | 1 << 20}
        self.values |= self.reset
        self.inits = 0
        # Of the VM: CNTVCT begins at 0, and CNTPCT is the host's.
        self.offsets, self.offset_is_fixed, self.el2 = {CNT: time.monotonic_ns(), PCNT: 0}, False, False
        self.attributes: dict[tuple[int, int, int], int] = {}
        self.devices = self.exits = 0
        self.tagged: dict[int, bytes] = {}
        self.hurried = self.uart = self.ran = False
        self.armed = False
        self.changed = threading.Condition()

    # -- what a host is

    def extension(self, capability: int) -> int:
        words = {vmm.FEATURES["mte"][1]: "tags", vmm.FEATURES["el2"][1]: "EL2"}
        return int(capability in words and words[capability] in self.fault)

    def enable(self, capability: int) -> None: ...

    def create_vm(self) -> None: ...
    def map_ram(self, ram: object) -> None: ...
    def create_vcpu(self, number: int) -> None: ...
    def tags(self, at: int, size: int) -> bytes:
        first = bytes(size // vmm.GRANULE) if self.fault != "has tags" else b"\x03" * (size // vmm.GRANULE)
        return self.tagged.get(at, first)

    def set_tags(self, at: int, tags: bytes) -> None:
        if self.fault == "takes tags":
            self.tagged[at] = tags

    def set_counter_offset(self, offset: int) -> None:
        self.offsets = dict.fromkeys((CNT, PCNT), offset - 1_000_000_000_000 if self.fault == "sets another offset" else offset)
        self.offset_is_fixed = True

    def host_counter(self) -> int:
        return time.monotonic_ns()

    def close(self) -> None: ...

    def init(self, vcpu: int, features: int) -> None:
        self.inits += 1
        if features & 1 << 7:
            self.el2, self.values[vmm.CNTVOFF_EL2], self.offsets[CNT] = True, FAR_NS, self.offsets[PCNT]
        if vcpu and self.fault == "has one kind of vCPU" and features & 1 << 4:
            raise OSError(errno.EINVAL, "Invalid argument")
        if self.inits > 1 and self.fault == "init changes an ID register":
            self.values[PFR0] &= ~0xF

    # -- registers

    def masks(self) -> list[int]:
        announced = dict(self.masks_of)
        if self.fault == "announces XNX":
            announced[MMFR1] |= XNX
        if self.fault == "hides HAFDBS":
            announced[MMFR1] &= ~HAFDBS
        if self.fault == "announces EIESB":
            announced[MMFR4] |= EIESB
        words = [0] * 192
        for register, mask in announced.items():
            words[(register & 0x78) | (register & 7)] = mask
        if self.fault == "announces nothing":
            words = [0] * 192
        if self.fault == "announces what is not there":
            words[5] = 1
        return words

    def registers(self, _: int) -> list[int]:
        return [*self.values, CNT, PCNT]

    def get(self, _: int, register: int) -> bytes:
        value = self.counter(register) if register in (CNT, PCNT) else self.values[register]
        return value.to_bytes(vmm.size_of(register), "little")

    def set(self, _: int, register: int, value: bytes) -> None:
        number = int.from_bytes(value, "little")
        if register in (CNT, PCNT):
            if not self.offset_is_fixed:
                self._set_counter(register, number)
            return
        if register not in self.values:
            raise OSError(errno.ENOENT, "No such register")
        if register in self.masks_of:
            self._check(register, number)
            if self.fault == "keeps no write" and number & HAFDBS == 0:
                return
        if register == CTL and self.fault != "not re-armed":
            self.armed = True
        if register == PFR0 and self.fault == "clears what it takes back":
            number = 0
        if register == X[5] and self.fault == "loses x5":
            number ^= 1
        self.values[register] = number

    def _set_counter(self, register: int, number: int) -> None:
        """Move a counter; where there is EL2, both, and the virtual one is written as if CNTVOFF_EL2 were 0."""
        if self.fault == {CNT: "ignores CNTVCT", PCNT: "ignores CNTPCT"}[register]:
            return
        if self.fault == {CNT: "CNTVCT goes on", PCNT: "CNTPCT goes on at EL2"}[register]:
            number += 1_000_000_000
        moved = (CNT, PCNT) if self.el2 else (register,)
        self.offsets |= dict.fromkeys(moved, time.monotonic_ns() - number)

    def _check(self, register: int, number: int) -> None:
        """Refuse what cannot be written."""
        changed, mask = number ^ self.values[register], self.masks_of[register]
        if self.fault == "does not take back" and register == PFR0:
            raise OSError(errno.EINVAL, "Invalid argument")
        if self.fault == "refuses by another number" and changed & ~mask:
            raise OSError(errno.EPERM, "Operation not permitted")
        if self.fault == "spoils what it refuses" and changed & ~mask:
            self.values[register] ^= XNX
        if changed & ~mask or number & mask > self.reset[register] & mask:
            raise OSError(errno.EINVAL, "Invalid argument")

    def events(self, _: int) -> bytes:
        return bytes(64)

    def set_events(self, vcpu: int, events: bytes) -> None: ...

    def mp_state(self, _: int) -> int:
        return 0

    def set_mp_state(self, vcpu: int, state: int) -> None: ...

    # -- devices

    def create_device(self, _: int) -> int:
        self.devices += 1
        return self.devices - 1

    def attribute(self, device: int, group: int, attribute: int, size: int) -> int:  # noqa: ARG002
        return self.attributes.get((device, group, attribute), 0)

    def set_attribute(self, device: int, group: int, attribute: int, value: int | None = None, size: int = 8) -> None:  # noqa: ARG002
        if self.fault == "refuses the gic" and group == vmm.CPU_SYSREGS and self.ran is False:
            raise OSError(errno.EINVAL, "Invalid argument")
        if value is not None and attribute & 0xFFFFFFFF != vmm.Gic.ICENABLER0:
            self.attributes[device, group, attribute] = value

    def spi(self, number: int, *, high: bool) -> None:
        with self.changed:
            if number == vmm.UART_SPI:
                self.uart = high
            self.changed.notify_all()

    # -- running

    def hurry(self, _: int, *, on: bool) -> None:
        with self.changed:
            self.hurried = on
            self.changed.notify_all()

    def counter(self, register: int) -> int:
        less = self.values[vmm.CNTVOFF_EL2] if self.el2 and register == CNT else 0
        return (time.monotonic_ns() - self.offsets[register] - less) % (1 << 64)

    def now(self) -> int:
        return self.counter(CNT)

    def run(self, _: int) -> tuple[str, int, int, bytes | None]:
        if self.fault == "changes an ID register" and not self.ran:
            self.values[MMFR1] &= ~XNX
        self.ran = True
        self.exits += 100_000 if self.fault == "storms" else 1
        while True:
            with self.changed:
                if self.hurried:
                    raise InterruptedError
            if exit_ := self._step():
                return exit_

    def answer(self, _: int, data: bytes) -> None:
        byte = data[0]
        if byte in b"ge?":
            self.values[X[19]] = {ord("g"): TIMER, ord("?"): TIMER, ord("e"): RESULT}[byte]

    def statistics(self, _: int) -> dict[str, int]:
        return {} if self.fault == "counts no exits" else {"exits": self.exits}

    def _step(self) -> tuple[str, int, int, bytes | None] | None:
        values, step = self.values, self.values[X[19]]
        if step == HELLO and not values[X[21]]:
            values[X[21]] = 1
            return "mmio", vmm.UART_BASE + 0x38, 4, b"\x10\0\0\0"
        if step == ARRANGED and not values[X[20]]:
            values[X[22]] = self.now()
            values[CVAL], values[CTL] = values[X[22]] + AHEAD_NS, 1
            self.armed = True
        if step == NOW and self.fault == "touches nothing":
            return "mmio", 0x1000, 4, None
        if step in (WAIT, DUE):
            return self._wait(step)
        if step == OFF:
            return "system", 1, 0, None
        if step in (TIMER, IRQ) and not values[X[20]]:
            values[X[22]] = self.now()
        line = self._line(step)
        byte = line[values[X[20]]]
        values[X[20]] += 1
        if values[X[20]] == len(line):
            values[X[20]], values[X[19]] = 0, step + 1
            if step == IRQ:
                values[CTL] = 0
        return "mmio", vmm.UART_BASE, 4, bytes((byte, 0, 0, 0))

    def _wait(self, step: int) -> tuple[str, int, int, bytes | None] | None:
        left = self.values[CVAL] - self.now()
        if self.armed and left <= 0 and step == DUE:
            self.values[X[19]] = IRQ
            return None
        with self.changed:
            if self.uart:
                return "mmio", vmm.UART_BASE, 4, None
            self.changed.wait(max(left, 1_000_000) / 1e9 if self.armed and step == DUE else 1)
        return None

    def _line(self, step: int) -> bytes:
        values = self.values
        ctl = values[CTL] | (4 if values[CTL] & 1 and values[X[22]] >= values[CVAL] else 0)
        read = f"cval={values[CVAL]:#x} cnt={values[X[22]]:#x} ctl={ctl:#x}"
        return {
            HELLO: "@1 hello guest=timers el=1 e2h=0 vcpus=1 freq=1000000000 its=1 pauth=0 sve=0 sme=0\n",
            ARRANGED: f"@1 arranged cpu=0 timer=cntv intid=27 instant=armed by=cval {read}\n",
            NOW: "@1 now\n",
            TIMER: f"@1 timer cpu=0 timer=cntv {read} n=0\n",
            IRQ: f"@1 irq cpu=0 intid=27 timer=cntv {read} n=1\n",
            RESULT: "@1 result checks=1 failed=0\n",
            END: "@1 end\n",
        }[step].encode("ascii")


def main(argv: list[str], fault: str) -> None:
    def kvm() -> Any:
        return StandIn(fault)

    # It is read by two instructions of arm64.
    vmm.counter_hz = lambda: 62_500_000
    vmm.main(argv, kvm)
