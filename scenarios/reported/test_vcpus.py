"""What KVM makes of the registers that user space reads and writes: what it must take, must refuse, and must keep.

No guest runs here: vCPUs are asked, as in scenarios/registers/test_id_registers.py.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass

from harness.kvm.sample import Samples
from harness.plugin.matrix import Params
from harness.plugin.reported import WITH_KVM, Kind, Report, reported
from harness.state import sysregs

Counts = Callable[..., None]
PPI_OF_CNTV = 27


def guard(name: str, entries: str | tuple[str, ...], fixed: str, level: str = "el1") -> Report:
    """Return a report that is shown on vCPUs which run nothing."""
    return Report(name, entries, Kind.GUARD, fixed, lifecycle="kvm-straight", level=level, cpu="host", platforms=WITH_KVM)


@dataclass(frozen=True)
class Write:
    """A write that has to be taken, of a field or, where none is named, of a whole register; and what is held then."""

    report: Report
    register: str
    field: str
    value: int
    held: int

    def part_of(self, value: int) -> int:
        """Return the field's value in a register's."""
        return next((each.of(value) for each in sysregs.fields_of(self.register) if each.name == self.field), value)

    def put(self, into: int) -> int:
        """Return the register's value with the field set."""
        fields = (each.put(self.value, into) for each in sysregs.fields_of(self.register) if each.name == self.field)
        return next(fields, self.value)


WRITES = {
    row.report.name: row
    for row in (
        Write(guard("csv2", "I6", "takes an older kernel's CSV2"), "ID_AA64PFR0_EL1", "CSV2", 0, 0),
        Write(guard("pmuver", "I8", "takes PMUVer 0xf as no PMU"), "ID_AA64DFR0_EL1", "PMUVer", 0xF, 0),
        Write(guard("caches-of-another-core", "I9", "takes another core's caches"), "CCSIDR[0]", "", 0x701FE00A, 0x701FE00A),
        Write(guard("psci-version", "V12", "gives a guest the PSCI that it had"), "KVM_PSCI_VERSION", "", 0x10000, 0x10000),
    )
}


@reported(*(row.report for row in WRITES.values()))
def test_an_older_kernels_value_is_taken(case: Params, samples: Samples, counts: Counts) -> None:
    row = WRITES[case.report]
    sample = samples.at(case.level)
    had = sample.registers()[row.register]
    assert row.part_of(had) != row.value
    (answer,) = sample.write({row.register: row.put(had)})
    assert answer.errno == 0, f"{row.register} refuses {row.put(had):#x} in place of {had:#x} with errno {answer.errno}"
    assert answer.value is not None
    assert row.part_of(answer.value) == row.held, f"{row.register} holds {answer.value:#x}"
    counts(registers=1)


@reported(guard("identity-after-reset", "I10", "keeps the identity that user space gave a vCPU when it is reset"))
def test_what_user_space_wrote_lasts_over_a_reset(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    held = sample.registers()
    given = {"CLIDR_EL1": held["CLIDR_EL1"] ^ 0x4 | 0x3, "ID_AA64PFR0_EL1": held["ID_AA64PFR0_EL1"] & ~(0xF << 56)}
    assert [answer.errno for answer in sample.write(given)] == [0, 0]
    assert sample.init_again(*sample.kinds[0]) == 0
    after = sample.registers()
    lost = [name for name, value in given.items() if after[name] != value]
    assert not lost, f"lost by KVM_ARM_VCPU_INIT: {', '.join(lost)}"
    counts(registers=len(given))


@reported(guard("ids-of-each-vcpu", "I11", "shows the same ID registers on every vCPU, before the first entry and after it"))
def test_every_vcpu_has_the_same_id_registers(samples: Samples, counts: Counts) -> None:
    kind = samples.kind("el1")
    sample = samples.of(kind, kind)
    for _ in range(2):
        first, second = (sample.registers(vcpu) for vcpu in range(2))
        differ = [name for name in first if name.startswith("ID_") and first[name] != second[name]]
        assert not differ, f"they differ: {', '.join(differ)}"
        counts(registers=len([name for name in first if name.startswith("ID_")]))
        sample.enter(0)


@reported(guard("gic-field", "I12", "shows the GIC that there is, whatever user space has written"))
def test_the_gic_field_says_which_gic_there_is(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    held = sample.registers()["ID_AA64PFR0_EL1"]
    sample.write({"ID_AA64PFR0_EL1": held & ~(0xF << 24)})
    sample.enter()
    gic = sample.registers()["ID_AA64PFR0_EL1"] >> 24 & 0xF
    assert gic == 1, f"ID_AA64PFR0_EL1.GIC is {gic} with a GICv3"
    counts(registers=1)


@reported(guard("sve-lengths-too-late", "F3", "refuses vector lengths once a vCPU is finalized"))
def test_vector_lengths_have_their_moment(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    lengths = sample.registers()["KVM_SVE_VLS"]
    (answer,) = sample.write({"KVM_SVE_VLS": lengths})
    assert answer.errno == errno.EPERM, f"KVM_REG_ARM64_SVE_VLS ends with errno {answer.errno} after KVM_ARM_VCPU_FINALIZE"
    counts(registers=1)


@reported(guard("v-registers-with-sve", "F4", "lists Z registers, of their whole size, in place of V registers"))
def test_with_sve_the_list_has_z_and_no_v(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    names = set(sample.registers())
    wide = {f"Z{n}" for n in range(32)}
    assert wide <= names
    short = sorted({f"V{n}" for n in range(32)} & names)
    assert not short, f"these are listed: {', '.join(short)}"
    pattern = int.from_bytes(bytes(range(16)), "little")  # there are vectors of 128 bits everywhere
    (answer,) = sample.write({"Z7": pattern})
    assert (answer.errno, answer.value) == (0, pattern)
    counts(registers=len(wide))


@reported(guard("vncr", "N6", "shows VNCR_EL2 and all that a guest hypervisor has to user space", level="vhe"))
def test_registers_of_a_guest_hypervisor_are_listed(case: Params, samples: Samples, counts: Counts) -> None:
    listed = samples.at(case.level).registers()
    wanted = {"VNCR_EL2", "HCR_EL2", "VTTBR_EL2", "VTCR_EL2", "CNTVOFF_EL2", "CNTHCTL_EL2", "CNTHV_CVAL_EL2", "CNTHP_CVAL_EL2"}
    assert not (missing := wanted - set(listed)), f"not in KVM_GET_REG_LIST: {', '.join(sorted(missing))}"
    counts(registers=len(wanted))


TIMER_ORDERS = {"ctl-first": ("CNTV_CTL_EL0", "CNTV_CVAL_EL0"), "cval-first": ("CNTV_CVAL_EL0", "CNTV_CTL_EL0")}


@reported(guard("line-moved-by-user-space", "T4", "moves no interrupt line when user space writes a timer's registers"))
def test_a_write_of_user_space_moves_no_line(samples: Samples, counts: Counts) -> None:
    values = {"CNTV_CTL_EL0": 1, "CNTV_CVAL_EL0": 0}  # enabled, and expired since ever
    for order in TIMER_ORDERS.values():
        sample = samples.at("el1")
        sample.registers()
        assert [answer.errno for answer in sample.write([(name, values[name]) for name in order])] == [0, 0]
        gic = sample.gic()
        pending = gic["levels"]["ppis"][0] | gic["redistributors"][0]["0x10200"]
        assert not pending, f"PPIs {pending:#x} are pending before the vCPU has run"
        counts(registers=2)


@reported(guard("timer-line-is-read", "T5", "shows the timer's interrupt as pending to user space"))
def test_the_timers_interrupt_reads_as_pending(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    sample.registers()
    sample.write([("CNTV_CVAL_EL0", 0), ("CNTV_CTL_EL0", 1)])
    sample.enter()
    # Of a level-sensitive interrupt user space reads the line beside the latch (vgic-v3.rst, KVM_DEV_ARM_VGIC_GRP_LEVEL_INFO).
    lines = sample.gic()["levels"]["ppis"][0]
    assert lines >> PPI_OF_CNTV & 1, f"CNTV has expired, and the lines of PPIs are {lines:#x}"
    counts(registers=1)


@reported(guard("swapped-ids-in-kvm", "T8", "keeps a deadline under the id of CVAL, and moves the counter by the id of CNT"))
def test_the_swapped_ids_mean_what_their_names_say(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    sample.registers()
    far = 1 << 60
    deadline, counter = sample.write([("CNTV_CVAL_EL0", 5), ("CNTVCT_EL0", far)])
    assert deadline.value == 5, f"CVAL reads {deadline.value}"
    assert counter.value is not None
    assert far <= counter.value < far + (1 << 40)
    assert (cval := sample.registers()["CNTV_CVAL_EL0"]) == 5, f"CVAL reads {cval:#x} after the counter was set"
    counts(registers=2)


@reported(guard("physical-counter", "T13", "lets user space set the physical counter"))
def test_the_physical_counter_can_be_restored(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    sample.registers()
    (answer,) = sample.write({"CNTPCT_EL0": 1000})
    assert answer.errno == 0 and answer.value is not None
    assert 1000 <= answer.value < 1000 + 1_000_000_000, f"it reads {answer.value}"
    counts(registers=1)


GICD_IIDR = 0x08
GICR_CTLR, GICR_PENDBASER = 0x00, 0x78
ENABLE_LPIS = 1
# Addresses of pending tables are multiples of 64 KiB, below them are attributes (IHI 0069H, 12.11.26).
TABLE, OTHER_TABLE, ADDRESS = 0x40010000, 0x40020000, 0xFFFF0000


@reported(guard("gicd-iidr", "G5", "takes an older revision of the distributor, and is that then"))
def test_an_older_revision_of_the_distributor_is_taken(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    had = sample.gic()["distributor"][f"{GICD_IIDR:#x}"]
    older = had & ~0xF000 | (had >> 12 & 0xF) - 1 << 12
    (answer,) = sample.write_gic(("distributor", GICD_IIDR, older))
    assert (answer.errno, answer.value) == (0, older), f"GICD_IIDR holds {answer.value:#x} after {older:#x} was written"
    counts(registers=1)


@reported(guard("lpis-enabled-too-soon", "G7", "takes a pending table's address before LPIs are enabled, and none after"))
def test_tables_come_before_lpis_are_enabled(samples: Samples, counts: Counts) -> None:
    sample = samples.at("el1")
    first, enabled, second = sample.write_gic(
        ("redistributor", GICR_PENDBASER, TABLE),
        ("redistributor", GICR_CTLR, ENABLE_LPIS),
        ("redistributor", GICR_PENDBASER, OTHER_TABLE),
    )
    held = [answer.value & ADDRESS for answer in (first, second) if answer.value is not None]
    assert enabled.value is not None
    assert enabled.value & ENABLE_LPIS
    assert held == [TABLE, TABLE], f"the pending table is at {held[0]:#x} before LPIs are enabled, and at {held[1]:#x} after"
    counts(registers=3)
