"""The table of mismatches: pairs of machines that differ in one thing, and what becomes of a guest that goes across.

Expected is what QEMU 11.1.3 does by TCG (docs/mismatches.md says how to add a row). The vectors of `max` are 1024 bits long
here, because of the known issue qemu-sve-upper-half-lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.plugin.mismatch import Outcome, Pair, Witness
from harness.state.causes import Cause

Side = Mapping[str, Any]

NEW = (11, 0)

TIMERS = Witness("timers", {"timer": "cntv", "instant": "armed", "by": "cval"})
# For a counter that goes on a thousand times slower: what the guest waits for is near by its own clock.
BRIEF = Witness("timers", {"timer": "cntv", "instant": "armed-far", "by": "cval", "settle_us": 100})
GIC = Witness("gic")
MEMORY = Witness("memory")
DEVICES = Witness("devices")
SVE = Witness("registers", {"say": "none", "sets": "gpr,sve"})
SME = Witness("registers", {"say": "none", "sets": "gpr,sme"})
PAUTH = Witness("registers", {"say": "none", "sets": "gpr,pauth"})
EL2_GIC = Witness("gic", {"vcpus": 2})

MAX = "max,sve-max-vq=8"
PLAIN: Side = {"cpu": MAX}


def cpu(model: str) -> Side:
    """Return a side with a CPU, in QEMU's words."""
    return {"cpu": model}


def feature(setting: str) -> Side:
    """Return a side whose CPU `max` has one more property set."""
    return {"cpu": f"{MAX},{setting}"}


def machine(*options: str, **more: Any) -> Side:
    """Return a side whose machine has more options, as in `-machine`."""
    return {"cpu": MAX, "options": options, **more}


def having(*arguments: str) -> Side:
    """Return a side that has more arguments."""
    return {"cpu": MAX, "arguments": arguments}


def migrating(setting: str) -> Side:
    """Return a side with a property of QEMU's migration set, as a capability would be."""
    return having("-global", f"migration.{setting}")


def virt(version: str) -> Side:
    """Return a side with a version of the machine type."""
    return {"cpu": "cortex-a57", "machine": f"virt-{version}"}


def refused(name: str, source: Side, destination: Side, cause: Cause, culprit: str = "", **more: Any) -> Pair:
    """Return a pair of which the destination refuses the guest, so that the source has it back."""
    return Pair(name, source, destination, Outcome.REFUSED, cause, culprit, **more)


def accepted(name: str, source: Side, destination: Side, *, silent: bool = True, **more: Any) -> Pair:
    """Return a pair whose guest goes on unharmed."""
    return Pair(name, source, destination, Outcome.ACCEPTED, silent=silent, **more)


def harmed(name: str, source: Side, destination: Side, cause: Cause | None = None, culprit: str = "", **more: Any) -> Pair:
    """Return a pair whose guest is not what it was, or lost: each of them is a known issue. Where nothing failed, silently."""
    return Pair(name, source, destination, Outcome.HARMED, cause, culprit, silent=cause is None, **more)


def between(source: str, destination: str, outcome: Outcome, cause: Cause | None = None, culprit: str = "") -> Pair:
    """Return a pair that differs in QEMU alone, Debian's of a suite or the run's own, with the machine type of the older."""
    name = f"qemu-{source or 'this'}-to-{destination or 'this'}"
    side, silent = {"cpu": "cortex-a57"}, cause is None
    since = (0, 0) if source and destination else NEW
    return Pair(name, side, side, outcome, cause, culprit, silent, MEMORY, since, (source, destination))


MISSING, REGISTER, DEVICE, BLOCK = Cause.REGISTER_MISSING, Cause.REGISTER_REFUSED, Cause.DEVICE_SECTION, Cause.RAM_BLOCK
SIZE, TYPE, CAPABILITY, BROKEN = Cause.SIZE, Cause.MACHINE_TYPE, Cause.CAPABILITY, Cause.STREAM_BROKEN
RNG = "virtio-rng-pci,addr=5"
LEGACY = f"{RNG},disable-modern=on,disable-legacy=off"
ROOT_PORT = "pcie-root-port,chassis=1,slot=0"
RNG_NAME = "0000:00:05.0/virtio-rng"

_PAIRS = (
    # CPU models.
    refused("a57-to-a72", cpu("cortex-a57"), cpu("cortex-a72"), REGISTER, "ID_MMFR0_EL1"),
    refused("a72-to-a57", cpu("cortex-a72"), cpu("cortex-a57"), REGISTER, "ID_MMFR0_EL1"),
    refused("a53-to-a57", cpu("cortex-a53"), cpu("cortex-a57"), REGISTER, "ID_AA64MMFR0_EL1"),
    refused("a35-to-a53", cpu("cortex-a35"), cpu("cortex-a53"), REGISTER, "ID_AA64MMFR0_EL1"),
    refused("a55-to-a53", cpu("cortex-a55"), cpu("cortex-a53"), MISSING, "LORSA_EL1"),
    refused("n1-to-v1", cpu("neoverse-n1"), cpu("neoverse-v1"), REGISTER, "ID_MMFR4_EL1"),
    refused("v1-to-n1", cpu("neoverse-v1"), cpu("neoverse-n1"), MISSING, "ZCR_EL1"),
    refused("n2-to-v1", cpu("neoverse-n2"), cpu("neoverse-v1"), MISSING, "SCXTNUM_EL1"),
    refused("n1-to-a76", cpu("neoverse-n1"), cpu("cortex-a76"), MISSING, "CPUACTLR_EL1"),
    refused("a76-to-n1", cpu("cortex-a76"), cpu("neoverse-n1"), REGISTER, "ID_AA64MMFR0_EL1"),
    refused("max-to-v1", cpu(MAX), cpu("neoverse-v1"), MISSING, "SMCR_EL1"),
    refused("v1-to-max", cpu("neoverse-v1"), cpu(MAX), MISSING, "CPUACTLR2_EL1"),
    refused("a64fx-to-max", cpu("a64fx"), cpu(MAX), MISSING, "PMEVCNTR6_EL0"),
    # Features of one CPU.
    refused("sve-off", cpu("max"), cpu("max,sve=off"), MISSING, "ZCR_EL1", witness=TIMERS),
    refused("sve-on", cpu("max,sve=off"), cpu("max"), REGISTER, "ID_AA64ZFR0_EL1"),
    harmed("sve-shorter", cpu(MAX), cpu("max,sve-max-vq=4"), witness=SVE),
    harmed("sve-longer", cpu("max,sve-max-vq=4"), cpu(MAX), witness=SVE),
    refused("sve-only-128", cpu("max,sve-max-vq=4"), cpu("max,sve-max-vq=1"), REGISTER, "ID_AA64ZFR0_EL1", since=NEW),
    accepted("sve-without-384", feature("sve384=on"), feature("sve384=off"), witness=SVE),
    refused("sme-off", PLAIN, feature("sme=off"), MISSING, "SMCR_EL1"),
    refused("sme-on", feature("sme=off"), PLAIN, REGISTER, "ID_AA64PFR1_EL1"),
    harmed("sme-shorter", PLAIN, feature("sme256=off,sme512=off,sme1024=off,sme2048=off"), witness=SME),
    harmed("sme-longer", feature("sme256=off,sme512=off,sme1024=off,sme2048=off"), PLAIN, witness=SME),
    refused("sme-without-fa64", PLAIN, feature("sme_fa64=off"), REGISTER, "ID_AA64SMFR0_EL1"),
    refused("pauth-off", PLAIN, feature("pauth=off"), MISSING, "APIAKEYLO_EL1"),
    refused("pauth-on", feature("pauth=off"), PLAIN, REGISTER, "ID_AA64ISAR1_EL1"),
    refused("pauth-qarma5-to-impdef", feature("pauth-qarma5=on"), feature("pauth-impdef=on"), REGISTER, "ID_AA64ISAR1_EL1"),
    refused("pauth-impdef-to-qarma3", feature("pauth-impdef=on"), feature("pauth-qarma3=on"), REGISTER, "ID_AA64ISAR1_EL1"),
    refused("lpa2-off", PLAIN, feature("lpa2=off"), REGISTER, "ID_AA64MMFR0_EL1"),
    refused("lpa2-on", feature("lpa2=off"), PLAIN, REGISTER, "ID_AA64MMFR0_EL1"),
    refused("pmu-off", PLAIN, feature("pmu=off"), MISSING, "PMMIR_EL1"),
    refused("pmu-on", feature("pmu=off"), PLAIN, REGISTER, "ID_AA64DFR0_EL1"),
    # The counter's pace.
    harmed("cntfrq-slower", PLAIN, feature("cntfrq=1000000"), witness=BRIEF),
    harmed("cntfrq-faster", feature("cntfrq=62500000"), PLAIN, witness=TIMERS),
    harmed("cntfrq-no-backcompat", feature("backcompat-cntfrq=on"), PLAIN, witness=TIMERS),
    # Exception levels.
    refused("el2-off", machine(el2=True), PLAIN, MISSING, "VPIDR_EL2"),
    refused("el2-on", PLAIN, machine(el2=True), MISSING, "RVBAR_EL1"),
    refused("el3-on", PLAIN, machine("secure=on"), MISSING, "RVBAR_EL1"),
    refused("el3-on-beside-el2", machine(el2=True), machine("secure=on", el2=True), MISSING, "RVBAR_EL2"),
    # The interrupt controller.
    refused("gic-3-to-2", PLAIN, machine(gic_version=2), DEVICE, "arm_gicv3"),
    harmed("gic-3-to-4", machine(el2=True), machine(el2=True, gic_version=4), witness=EL2_GIC),
    harmed("gic-4-to-3", machine(el2=True, gic_version=4), machine(el2=True), witness=EL2_GIC),
    refused("its-off", PLAIN, machine("its=off"), DEVICE, "arm_gicv3_its", witness=GIC),
    accepted("its-on", machine("its=off"), PLAIN, witness=GIC),
    # Not the other way round, where the guest is harmed too: it often does not answer, and finding that out takes 20 s.
    harmed("gic-5-bit-priorities", having("-global", "arm-gicv3.force-8-bit-prio=on"), PLAIN, witness=GIC),
    # Memory.
    refused("mte-off", machine("mte=on"), PLAIN, BLOCK, "mach-virt.tag"),
    refused("mte-on", PLAIN, machine("mte=on"), MISSING, "TCO", since=NEW),
    refused("memory-more", machine(memory_mib=32), machine(memory_mib=64), SIZE, "mach-virt.ram", witness=MEMORY),
    refused("memory-less", machine(memory_mib=64), machine(memory_mib=32), SIZE, "mach-virt.ram", witness=MEMORY),
    refused(
        "memory-backend",
        {**machine("memory-backend=ram0"), "arguments": ("-object", "memory-backend-ram,id=ram0,size=32M")},
        PLAIN,
        BLOCK,
        "ram0",
    ),
    refused(
        "memory-no-backend",
        PLAIN,
        {**machine("memory-backend=ram0"), "arguments": ("-object", "memory-backend-ram,id=ram0,size=32M")},
        BLOCK,
        "mach-virt.ram",
    ),
    harmed("highmem-off", PLAIN, machine("highmem=off"), witness=DEVICES),
    harmed("highmem-on", machine("highmem=off"), PLAIN, witness=DEVICES),
    harmed("highmem-ecam-off", PLAIN, machine("highmem-ecam=off"), witness=DEVICES),
    harmed("highmem-ecam-on", machine("highmem-ecam=off"), PLAIN, witness=DEVICES),
    harmed("highmem-redists-off", PLAIN, machine("highmem-redists=off"), witness=DEVICES),
    harmed("highmem-redists-on", machine("highmem-redists=off"), PLAIN, witness=DEVICES),
    accepted("highmem-mmio-off", PLAIN, machine("highmem-mmio=off"), witness=DEVICES),
    accepted("highmem-not-compact", PLAIN, machine("compact-highmem=off"), witness=DEVICES),
    refused("acpi-off", PLAIN, machine("acpi=off"), BLOCK, "/rom@etc/acpi/tables"),
    accepted("acpi-on", machine("acpi=off"), PLAIN, witness=DEVICES),
    # The machine type's version.
    refused("virt-newer", virt("9.2"), virt("10.0"), TYPE, "virt-9.2 -> virt-10.0"),
    refused("virt-older", virt("10.0"), virt("9.2"), TYPE, "virt-10.0 -> virt-9.2"),
    refused("virt-unversioned", cpu("cortex-a57"), virt("9.2"), TYPE, "virt-9.2"),
    # Devices.
    refused("rng-gone", having("-device", RNG), PLAIN, DEVICE, RNG_NAME),
    accepted("rng-new", PLAIN, having("-device", RNG), witness=DEVICES),
    refused("rng-moved", having("-device", RNG), having("-device", "virtio-rng-pci,addr=6"), DEVICE, RNG_NAME),
    refused("rng-without-msix", having("-device", RNG), having("-device", f"{RNG},vectors=0"), DEVICE, RNG_NAME),
    refused("rng-legacy", having("-device", RNG), having("-device", LEGACY), DEVICE, RNG_NAME),
    refused("rng-on-pci", having("-device", "virtio-rng-device"), having("-device", RNG), DEVICE),
    refused("xhci-gone", having("-device", "qemu-xhci"), PLAIN, DEVICE, "0000:00:01.0/xhci"),
    refused("root-port-gone", having("-device", ROOT_PORT), PLAIN, DEVICE, "0000:00:01.0/pcie-root-port"),
    refused("smmu-gone", machine("iommu=smmuv3"), PLAIN, DEVICE, "smmuv3"),
    accepted("smmu-new", PLAIN, machine("iommu=smmuv3"), witness=DEVICES),
    refused("vcpus-fewer", PLAIN, machine(vcpus=1), DEVICE, "arm_gicv3", witness=Witness("gic", {"vcpus": 2})),
    refused("vcpus-more", PLAIN, machine(vcpus=2), DEVICE, "arm_gicv3"),
    harmed("nvme-gone", having("-device", "nvme,serial=1"), PLAIN, Cause.CRASH, "source (SIGSEGV)", since=NEW),
    # How time runs.
    refused("icount-off", having("-icount", "shift=4"), PLAIN, Cause.CRASH, "destination"),
    refused("icount-on", PLAIN, having("-icount", "shift=4"), REGISTER, "PMCEID0_EL0"),
    accepted("icount-faster", having("-icount", "shift=4"), having("-icount", "shift=6"), witness=TIMERS),
    accepted("tcg-single-threaded", PLAIN, having("-accel", "tcg,thread=single"), witness=TIMERS),
    # Old behaviour of devices.
    accepted("pl011-clock-not-migrated", having("-global", "pl011.migrate-clk=off"), PLAIN),
    accepted("pl011-clock-migrated", PLAIN, having("-global", "pl011.migrate-clk=off")),
    accepted("rtc-base", PLAIN, having("-rtc", "base=2020-01-01")),
    accepted("fw-cfg-without-dma", PLAIN, having("-global", "fw_cfg_mem.dma_enabled=off")),
    accepted("uuid", having("-uuid", "0" * 8 + "-0000-0000-0000-000000000001"), PLAIN),
    # Capabilities and properties of migration.
    refused("multifd-on-source", migrating("x-multifd=on"), PLAIN, CAPABILITY, "multifd"),
    refused("postcopy-on-source", migrating("x-postcopy-ram=on"), PLAIN, CAPABILITY, "postcopy-ram"),
    accepted("postcopy-on-destination", PLAIN, migrating("x-postcopy-ram=on")),
    accepted("xbzrle-on-source", migrating("x-xbzrle=on"), PLAIN, witness=MEMORY),
    accepted("xbzrle-on-destination", PLAIN, migrating("x-xbzrle=on"), witness=MEMORY),
    refused("ignore-shared-on-source", migrating("x-ignore-shared=on"), PLAIN, CAPABILITY, "x-ignore-shared", since=NEW),
    refused("ignore-shared-on-destination", PLAIN, migrating("x-ignore-shared=on"), CAPABILITY, "x-ignore-shared", since=NEW),
    refused("mapped-ram-on-source", migrating("mapped-ram=on"), PLAIN, CAPABILITY, "mapped-ram"),
    refused("mapped-ram-on-destination", PLAIN, migrating("mapped-ram=on"), CAPABILITY, "mapped-ram"),
    refused("no-section-footers", migrating("send-section-footer=off"), PLAIN, BROKEN, "ram"),
    refused("no-configuration", migrating("send-configuration=off"), PLAIN, BROKEN, "Configuration section missing"),
    accepted("no-global-state", migrating("store-global-state=off"), PLAIN),
    # QEMU itself.
    between("trixie", "", Outcome.REFUSED, MISSING, "ID_AA64ISAR0_EL1"),
    between("", "trixie", Outcome.REFUSED, Cause.CRASH, "destination (vmstate_load_state)"),
    between("bookworm", "", Outcome.REFUSED, MISSING, "ID_AA64ISAR0_EL1"),
    between("", "bookworm", Outcome.REFUSED, MISSING),
    between("bookworm", "trixie", Outcome.REFUSED, DEVICE, "cpu"),
    between("trixie", "bookworm", Outcome.REFUSED, MISSING),
)  # fmt: skip

PAIRS: Mapping[str, Pair] = {pair.name: pair for pair in _PAIRS}


def table() -> str:
    """Return the rows in Markdown, as docs/mismatches.md has them."""
    lines = ["| pair | source -> destination | outcome | silent | cause, culprit |", "|---|---|---|---|---|"]
    for pair in _PAIRS:
        why = ", ".join(filter(None, (str(pair.cause or ""), pair.culprit)))
        lines.append(f"| {pair.name} | `{pair.differs}` | {pair.outcome} | {'silent' * pair.silent} | {why} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
