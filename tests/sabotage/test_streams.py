"""A guest whose saved state is changed before it is loaded: QEMU loads it without a word, and the oracles have to notice."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from harness.errors import GuestFailure, StateDiffers, TimerFailure
from harness.guest.payload import Guest
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine
from harness.state.edit import flip_byte, set_field, set_register
from harness.state.model import State
from harness.state.stream import decode
from tests.sabotage.parts import NewTrial, SabotagedTrial, caught, hear_and_judge, start

Edit = Callable[[bytes, Guest], bytes]

_SPI = 98  # of the `gic` payload with one vCPU: enabled, pending, masked by priority at `now`
_RAM_BASE = 0x40000000  # of the virt machine (hw/arm/virt.c)
_PAGE = 4096
# A page of the block that was named last begins with its offset or'ed with these flags (docs/devel/migration, "RAM"):
# a whole page, of the same block as the one before.
_PAGE_FLAGS = 0x08 | 0x20


def honest(data: bytes, _: Guest) -> bytes:
    return data


def led(new_trial: NewTrial, edit: Edit, payload: str, **asked: object) -> tuple[SabotagedTrial, Guest]:
    """Lead a payload through the lifecycle `file`, with the stream edited before it is loaded."""

    def edited_file(passage: Passage, machine: Machine) -> Machine:
        machine.stop()
        before = passage.look(machine)
        saved = passage.save(machine)
        machine.dismiss()
        edited = machine.directory / "edited"
        edited.write_bytes(edit(saved.here().read_bytes(), trial.guests[0]))
        restored = passage.twin()
        passage.load(restored, edited)
        passage.compare(before, passage.look(restored))
        passage.compare_stream(saved, restored)
        restored.cont()
        return restored

    trial = new_trial(edited_file)
    trial.arrangements = 2  # nobody arranges it anew here, so it is further ahead from the first
    guest = start(trial, payload, **asked)
    trial.put_through(guest, compare_streams=True)
    return trial, guest


@pytest.mark.parametrize("payload", ["timers", "registers", "gic", "memory"], ids=lambda name: f"stream: {name} unchanged")
def test_passes_with_an_honest_stream(payload: str, new_trial: NewTrial) -> None:
    trial, guest = led(new_trial, honest, payload)
    hear_and_judge(trial, guest)
    trial.conclude()
    assert trial.tally.registers > 1000, "gdb stub and stream were compared"


@pytest.mark.parametrize(
    "register", ["X7", "SP", "V9", "FPCR", "TPIDR_EL1", "CONTEXTIDR_EL1"], ids=lambda name: f"register in the stream: {name}"
)
def test_a_changed_register_is_caught_by_comparison_and_guest(register: str, new_trial: NewTrial) -> None:
    value = 0x5AB07A6E0 if register != "FPCR" else 1 << 22
    trial, guest = led(new_trial, lambda data, _: set_register(data, f"cpu0/{register}", value), "registers")
    with caught(trial, StateDiffers, rf"cpu0/{register}\b.* was 0x[0-9a-f]+ and is 0x[0-9a-f]+"):
        trial.conclude()
    with caught(trial, GuestFailure, rf"vCPU 0: {register}(_EL0|, from bit 0 on,)? had 0x[0-9a-f]+ has 0x[0-9a-f]+"):
        hear_and_judge(trial, guest)


def masked(data: bytes, _: Guest) -> bytes:
    return set_register(data, "cpu0/CNTV_CTL_EL0", 1, "IMASK")


def disabled(data: bytes, _: Guest) -> bytes:
    return set_register(data, "cpu0/CNTV_CTL_EL0", 0, "ENABLE")


def sooner(data: bytes, _: Guest) -> bytes:
    cval = State.from_stream(decode(data)).registers["cpu0/CNTV_CVAL_EL0"]
    assert isinstance(cval, int)
    return set_register(data, "cpu0/CNTV_CVAL_EL0", cval - 1000)


@pytest.mark.parametrize(
    ("edit", "differs", "judged"),
    [
        pytest.param(masked, r"CNTV_CTL_EL0.IMASK was 0x0 and is 0x1", r"lost .*PPI 27", id="timer in the stream: IMASK"),
        pytest.param(disabled, r"CNTV_CTL_EL0.ENABLE was 0x1 and is 0x0", r"lost .*PPI 27", id="timer in the stream: ENABLE"),
        pytest.param(sooner, r"CNTV_CVAL_EL0 was", r"CVAL on vCPU 0 was 0x[0-9a-f]+ and is 0x", id="timer in the stream: CVAL"),
    ],
)
def test_a_changed_timer_is_caught_by_comparison_and_guest(edit: Edit, differs: str, judged: str, new_trial: NewTrial) -> None:
    trial, guest = led(new_trial, edit, "timers")
    with caught(trial, StateDiffers, differs):
        trial.conclude()
    with caught(trial, TimerFailure, judged):
        hear_and_judge(trial, guest)


def flip(field: str, bits: int) -> Edit:
    """Return an edit that inverts bits of a field of the GIC."""

    def edit(data: bytes, _: Guest) -> bytes:
        old = decode(data).devices["arm_gicv3"].fields[field]
        assert isinstance(old, int)
        return set_field(data, "arm_gicv3", field, old ^ bits)

    return edit


SPI_WORD, SPI_BIT = divmod(_SPI, 32)
GIC = {
    f"pending[{SPI_WORD}]": (1 << SPI_BIT, TimerFailure, f"spi {_SPI}, .*: pending had 0x1, has 0x0"),
    f"enabled[{SPI_WORD}]": (1 << SPI_BIT, TimerFailure, f"spi {_SPI}, .*: enable had 0x1, has 0x0"),
    f"group[{SPI_WORD}]": (1 << SPI_BIT, GuestFailure, f"spi {_SPI}, .*: group had 0x1, has 0x0"),
    f"gicd_ipriority[{_SPI}]": (0x10, GuestFailure, f"spi {_SPI}, .*: priority had 0x[0-9a-f]+, has 0x"),
    "cpu.gicr_ipendr0": (1 << 2, TimerFailure, r"sgi 2, .*: pending had 0x1, has 0x0"),
    "cpu.icc_pmr_el1": (0x08, GuestFailure, r"ICC_PMR_EL1 had 0x60, has 0x68"),
}
"""Field of the stream: the bits to invert, and how the guest's own say ends."""


@pytest.mark.parametrize("field", GIC, ids=lambda field: f"GIC in the stream: {field}")
def test_a_changed_gic_is_caught_by_comparison_and_guest(field: str, new_trial: NewTrial) -> None:
    bits, error, words = GIC[field]
    trial, guest = led(new_trial, flip(field, bits), "gic")
    name = re.escape(field.replace("cpu.", "cpu[0]."))
    with caught(trial, StateDiffers, rf"gicv3/{name} was 0x[0-9a-f]+ and is 0x[0-9a-f]+"):
        trial.conclude()
    with caught(trial, error, words):
        hear_and_judge(trial, guest)


def node_page(guest: Guest) -> int:
    """Return where in RAM the second page of the ring of nodes is."""
    return guest.of_kind("arranged")[0].number("base") - _RAM_BASE + _PAGE


@pytest.mark.parametrize("bits", [0x04], ids=["memory in the stream: one bit"])
def test_flipped_memory_is_caught_by_the_guest(bits: int, new_trial: NewTrial) -> None:
    """Nothing but the guest can tell: no register differs."""

    def flipped(data: bytes, guest: Guest) -> bytes:
        header = (node_page(guest) | _PAGE_FLAGS).to_bytes(8, "big")
        assert data.count(header) == 1
        return flip_byte(data, data.index(header) + len(header) + _PAGE // 2, bits)

    trial, guest = led(new_trial, flipped, "memory")
    trial.conclude()
    with caught(trial, GuestFailure, r"vCPU 0: node \d+ at 0x[0-9a-f]+"):
        hear_and_judge(trial, guest)


def test_a_view_that_shows_another_register_than_the_stream_is_caught(new_trial: NewTrial) -> None:
    def lying(passage: Passage, machine: Machine) -> Machine:
        def look(at: Machine) -> State:
            seen = passage.look(at)
            return State(seen.view, {**seen.registers, "cpu0/TPIDR_EL1": 0x5AB07A6E})

        machine.stop()
        before = look(machine)
        saved = passage.save(machine)
        machine.dismiss()
        restored = passage.twin()
        passage.load(restored, saved.at(restored))
        passage.compare(before, look(restored))
        passage.compare_stream(saved, restored)
        restored.cont()
        return restored

    trial = new_trial(lying)
    guest = start(trial, "registers")
    trial.put_through(guest, compare_streams=True)
    with caught(trial, StateDiffers, r"the gdb view and the stream view disagree: TPIDR_EL1 0x5ab07a6e -> 0x[0-9a-f]+ on cpu0"):
        trial.conclude()
