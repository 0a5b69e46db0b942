"""Versions of the machine, of devices' sections and of their properties, between two QEMUs or two command lines."""

from __future__ import annotations

import re

from harness.assets import qemu as assets_qemu
from harness.assets.qemu import QemuBinary
from harness.errors import MissingError, Unsupported
from harness.guest.payload import Guest
from harness.guest.timers import times
from harness.lifecycle.passage import Passage, Saved
from harness.lifecycle.snapshot import attach, create, job_of
from harness.plugin.matrix import Params
from harness.plugin.reported import Kind, Report, reported
from harness.plugin.trial import Trial
from harness.qemu.machine import Machine
from harness.qemu.spec import MachineSpec, Start
from harness.state.edit import set_version
from scenarios.reported.parts import another, edited, judge, last_say, machine_of, pair, refusal, see_refused, soon

RAM0 = {"options": ("memory-backend=ram0",), "arguments": ("-object", "memory-backend-ram,id=ram0,size=32M")}

PAIRS = {
    row.report.name: row
    for row in (
        pair(
            "machine-version",
            "V1",
            "machine type, virt-9.2 -> virt-10.0",
            {"machine": "virt-9.2"},
            {"machine": "virt-10.0"},
        ),
        pair("ram-block-name", "V2", "RAM block, ram0", RAM0, {}),
        pair("acpi-tables", "V8", "RAM block, /rom@etc/acpi/tables", {}, {"options": ("acpi=off",)}),
    )
}


@reported(*(row.report for row in PAIRS.values()))
def test_another_machine_is_named(case: Params, trial: Trial) -> None:
    see_refused(trial, PAIRS[case.report])


@reported(
    Report("section-version", ("V4", "G15"), Kind.MODEL, "names the device whose section has another version"),
)
def test_a_newer_section_is_refused_by_name(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    with refusal("version, arm_gicv3_its"):
        edited(trial, guest, lambda data: set_version(data, "arm_gicv3_its", 9))
    machine_of(guest).cont()
    last_say(trial, guest)


def with_global(property_: str) -> dict[str, tuple[str, ...]]:
    """Return what a machine differs in that has a property of its devices set for all of them."""
    return {"arguments": ("-global", property_)}


@reported(Report("pl011-clock", "V3", Kind.GUARD, "takes a PL011 with or without its clock, and the console works on"))
def test_a_pl011_without_its_clock_is_taken(trial: Trial) -> None:
    trial.vary(with_global("pl011.migrate-clk=off"), {})
    guest = trial.boot("registers", sets="gpr")
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("gic-priority-bits", "V5", Kind.BUG, "refuses a GIC with other bits of priority, or keeps what the guest had"))
def test_priorities_survive_another_number_of_bits(trial: Trial) -> None:
    trial.vary(with_global("arm-gicv3.force-8-bit-prio=on"), {})
    guest = trial.boot("gic")
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("highmem", "V6", Kind.BUG, "refuses a guest whose devices would lie elsewhere"))
def test_devices_lie_where_the_guest_found_them(trial: Trial) -> None:
    trial.vary({}, {"options": ("highmem=off",)})
    guest = trial.boot("registers", sets="gpr")
    before = places(machine_of(guest))
    restored = edited(trial, guest)
    moved = sorted(before ^ places(restored))
    restored.cont()
    last_say(trial, guest)
    assert not moved, f"these lie elsewhere: {', '.join(moved)}"


def places(machine: Machine) -> set[str]:
    """Return where the devices are in the guest's memory, as the monitor shows it."""
    return set(re.findall(r"^ *([0-9a-f]{16}-\S+ .*pci\S*)", machine.monitor("info mtree -f"), re.MULTILINE))


@reported(Report("counter-frequency-default", "V9", Kind.BUG, "refuses a guest whose counter had another frequency"))
def test_the_counter_of_an_older_machine_goes_on(trial: Trial) -> None:
    trial.vary({}, with_global("arm-cpu.backcompat-cntfrq=true"))
    guest = trial.boot("timers", timer="cntv", instant="armed", by="cval", **times("armed", trial.ahead_us))
    trial.put_through(guest)
    judge(trial, guest)


@reported(Report("flash-size", "V10", Kind.GUARD, "says how large a flash image has to be"))
def test_a_flash_image_of_another_size_is_refused(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    image = machine_of(guest).directory / "flash"
    image.write_bytes(bytes(4096))
    with refusal("requires 67108864 bytes, pflash0 block backend provides 4096 bytes"):
        another(trial, Start.PAUSED, arguments=("-drive", f"if=pflash,format=raw,file={image}"))
    last_say(trial, guest)


# The name of a subsection of the stream's configuration, its version, and the value: 4 KiB, as every QEMU of today writes it.
PAGE_BITS = b"configuration/target-page-bits" + bytes([0, 0, 0, 1]) + bytes([0, 0, 0, 12])


@reported(Report("smaller-pages", "V7", Kind.MODEL, "refuses a stream whose smallest page is another one, and names both"))
def test_a_stream_with_pages_of_1_kib_is_refused(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")

    def with_pages_of_1_kib(data: bytes) -> bytes:
        assert data.count(PAGE_BITS) == 1
        return data.replace(PAGE_BITS, PAGE_BITS[:-1] + bytes([10]))

    with refusal("size, TARGET_PAGE_BITS: .*Received TARGET_PAGE_BITS is 10 but local is 12"):
        edited(trial, guest, with_pages_of_1_kib)
    machine_of(guest).cont()
    last_say(trial, guest)


# The suite of the QEMU that suspends, `harness setup --qemu trixie` gets it; and the machine that this and newer ones have.
OLDER, MACHINE = "trixie", "virt-10.0"


@reported(
    Report(
        "qemu-replaced",
        "V11",
        Kind.BUG,
        "resumes what the QEMU before it has suspended",
        lifecycle="snapshot",
        cpu="cortex-a57",
    )
)
def test_a_guest_is_resumed_by_a_newer_qemu(case: Params, trial: Trial) -> None:
    ground = trial.settled()[0]
    try:
        older = assets_qemu.resolve(OLDER)
    except MissingError as error:
        raise Unsupported(f"it needs two QEMUs: {error}") from error
    asked = {"sets": "gpr", "vcpus": case.vcpus}
    append = " ".join(f"{name}={value}" for name, value in asked.items())
    spec = MachineSpec(trial.bench.payloads.path("registers"), append, cpu=case.cpu, machine=MACHINE)

    def machine(qemu: QemuBinary, side: str, start: Start) -> Machine:
        return Machine(spec, qemu, ground.workshop, trial.timeline, side=side, start=start)

    with machine(older, "suspended", Start.RUNNING) as suspended, machine(ground.qemu, "resumed", Start.PAUSED) as resumed:
        trial.machines += [suspended, resumed]
        guest = Guest("registers", asked, suspended)
        guest.reach_now()
        suspended.stop()
        passage, disk = Passage(trial.start), Saved(suspended, "disk.qcow2")
        create(passage, suspended, disk.path)
        job_of(passage, suspended, "snapshot-save")
        suspended.quit(soon())
        attach(resumed, disk.path)
        job_of(passage, resumed, "snapshot-load")
        resumed.cont()
        guest.follow([suspended, resumed])
        last_say(trial, guest)
