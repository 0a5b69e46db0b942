"""What a register or field may do between two looks at a machine that did not run in between.

What no rule names must survive. Each rule is here because the difference was seen with QEMU 11.1.3 under TCG, on
`-cpu max` and others; `source` says where the difference comes from. No rule covers a timer's CTL register: ISTATUS
of a stopped machine is as it was.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from harness.state.model import Value


class Kind(StrEnum):
    """What a rule says."""

    MUST_SURVIVE = "must survive"
    FORWARD = "may only move forward"
    DERIVED = "derived"
    UNKNOWN_AT_RESET = "unknown at reset"
    REWRITTEN = "rewritten"
    ONE_SIDED = "shown by one side only"


@dataclass(frozen=True)
class Rule:
    """One rule: a regular expression for whole names, without their `cpu0/`, and why it is needed."""

    pattern: str
    kind: Kind
    reason: str
    source: str
    # The fields that it is about; the others of the register must survive. None named: the whole register.
    fields: tuple[str, ...] = ()
    # The view that it is about; empty: all.
    view: str = ""

    def allows(self, before: Value | None, after: Value | None) -> bool:
        """Say whether a difference may be; a register that one side lacks is `None` there."""
        match self.kind:
            case Kind.MUST_SURVIVE:
                return False
            case Kind.FORWARD:
                return isinstance(before, int) and isinstance(after, int) and before <= after
            case Kind.ONE_SIDED:
                return before is None or after is None
            case _:
                return True


DEFAULT = Rule(
    ".*", Kind.MUST_SURVIVE, "a saved machine goes on where it stopped", "by default, so that nothing is passed over"
)

RULES: tuple[Rule, ...] = (
    Rule(
        r"CNT[PV]CT_EL0",
        Kind.FORWARD,
        "the system counter: it stands still only while QEMU keeps the machine's clock stopped",
        "Arm ARM D12.1; only a guest shows it, neither the gdb stub nor the stream does",
    ),
    Rule(
        r"PMCCNTR_EL0|PMEVCNTR\d+_EL0",
        Kind.FORWARD,
        "while counting, QEMU keeps a start value and writes the count back only when the machine is saved or the "
        "guest reads it: gdb shows 0 before `migrate` and the count after it",
        "seen on -cpu max with the cycle counter and event 0x11 counting; QEMU target/arm/machine.c, cpu_pre_save",
    ),
    Rule(
        r"timer/cpu_(clock|ticks)_offset",
        Kind.FORWARD,
        "the machine's own clock: it stands still over save and restore, and moves on with a `cont` between two saves",
        "seen with cont and stop between two saves; QEMU system/cpu-timers.c",
    ),
    Rule(
        r"pl031/tick_offset_vmstate",
        Kind.FORWARD,
        "the real-time clock's offset for old QEMUs, computed anew at each save from the host's wall clock, which went "
        "on while the machine was stopped; tick-offset/tick_offset beside it is the one that counts, and must survive",
        "seen as +1 between a save and the save after its restore; QEMU hw/rtc/pl031.c, pl031_pre_save",
    ),
    Rule(
        r"globalstate/(runstate|size)",
        Kind.REWRITTEN,
        "the word for the run state of the process that saved, and its length: `running` from a live save, `paused` "
        "from the next",
        "seen with a running machine saved, restored and saved again; QEMU migration/global_state.c",
    ),
)

_COMPUTED_ISTATUS = Rule(
    r"CNTH?[PV]_CTL_EL\d+",
    Kind.DERIVED,
    "KVM computes ISTATUS from the counter when user space reads CTL, and QEMU gives a restored machine its counter when "
    "it lets it run; what the guest reads afterwards is judged by the timer oracle",
    "seen on 7.3.4 after `file`; read_timer_ctl in arch/arm64/kvm/arch_timer.c, kvm_arm_vm_state_change in QEMU's kvm.c",
    fields=("ISTATUS",),
)

FROM_KVM: tuple[Rule, ...] = (_COMPUTED_ISTATUS,)
"""For what KVM itself shows (harness/kvm); they come before RULES."""

UNDER_KVM: tuple[Rule, ...] = (
    _COMPUTED_ISTATUS,
    Rule(
        r"arm_gicv3_its/cbaser",
        Kind.REWRITTEN,
        "an ITS that nobody has set up: writing 0 back makes KVM choose the memory attributes of a queue that is not there; "
        "where there is one, lost interrupts would tell",
        "seen as 0 -> 0x1800000000000000 on 7.3.4; vgic_sanitise_its_cbaser in arch/arm64/kvm/vgic/vgic-its.c",
    ),
    Rule(
        r"CNTV_CVAL_EL02?",
        Kind.REWRITTEN,
        "it is the virtual counter: in KVM's numbering of registers CVAL and CNT of the virtual timer have each other's place, "
        "and QEMU names a register by its number; CVAL itself is seen by the guest",
        "KVM_REG_ARM_TIMER_CVAL in arch/arm64/include/uapi/asm/kvm.h; Documentation/virt/kvm/api.rst",
    ),
)
"""For machines whose CPU is KVM's; they come before RULES."""

BETWEEN: tuple[Rule, ...] = (
    Rule(
        r"ID_\w+_EL1",
        Kind.DERIVED,
        "QEMU's gdb stub shows what QEMU found in a VM of its own before it made the guest's, with EL2 where the kernel has "
        "nested virtualisation, which limits some fields; what the guest has is in the stream, and must survive there",
        "6.12 and 7.3 with QEMU 11.1.3: gdb shows MMFR1.HAFDBS 2 -> 1, the stream of the restored machine still 2; "
        "limit_nv_id_reg in arch/arm64/kvm/nested.c",
        view="gdb",
    ),
    Rule(
        r"PMCNTEN(SET|CLR)_EL0",
        Kind.DERIVED,
        "QEMU 10.0 shows 0 whatever the guest has set; the stream has it, and must be the same there",
        "0 by 10.0.13 and 0x1e by 11.1.3 for one guest on one kernel, with equal values in both streams",
        view="gdb",
    ),
    Rule(
        r".*",
        Kind.ONE_SIDED,
        "which registers the gdb stub lists depends on QEMU and on what it found in the kernel; the guest has what KVM has",
        "VNCR_EL2 by 6.12 and not by 7.3, and some twenty more by QEMU 11.1 than by 10.0, on one kernel",
        view="gdb",
    ),
    Rule(
        r"PIRE?0?_EL1|TCR2_EL1",
        Kind.ONE_SIDED,
        "6.12 lists them for a guest that has neither FEAT_S1PIE nor FEAT_TCR2 and cannot name them; 7.3 does not",
        "seen in streams of both on neoverse-n2; PIR_EL1 holds KVM's value for what nobody has set",
        view="stream",
    ),
    Rule(
        r"PMMIR_EL1|0x6030000000160003",
        Kind.ONE_SIDED,
        "new in 7.3, the second as a firmware register: QEMU says on its error output that the destination expects them, and "
        "goes on",
        "handle_cpreg_missing_in_incoming_stream in the words of QEMU 11.1.3",
        view="stream",
    ),
    Rule(
        r"virtio-mmio@\w+/virtio-console/virtio",
        Kind.REWRITTEN,
        "the part of the device that no description names, with virtio/ringsize in it by QEMU 10.0; the guest's lines "
        "come through the device afterwards",
        "seen from 10.0.13 to 11.1.3 with the machine type of the older",
        view="stream",
    ),
    Rule(
        r"cpreg_vmstate_array_len",
        Kind.DERIVED,
        "how many registers the stream has; each that comes or goes is named by itself",
        "QEMU target/arm/machine.c",
        view="stream",
    ),
)
"""For two grounds whose QEMU or kernel is not the same; they come after all others."""

RUNNING: tuple[Rule, ...] = (
    Rule(
        r"[XWVZP]\d+|SP|PC|PSTATE|CPSR|FPSR|FFR|SP_EL\d|ELR_EL\d+|SPSR_EL\d+|ESR_EL\d+|FAR_EL\d+",
        Kind.REWRITTEN,
        "the guest ran between the two looks: its program moved on and may have taken an exception",
        "Arm ARM D1.3, exception entry",
    ),
    Rule(
        r"PAUTH_[CD]MASK",
        Kind.REWRITTEN,
        "the guest ran between the two looks: the gdb stub shows the masks of the translation regime that it is in, and a "
        "hypervisor and its guest are in two",
        "QEMU target/arm/gdbstub64.c, aarch64_gdb_get_pauth_reg",
    ),
    Rule(
        r"CNT(P|V|HP|HV)_(CTL|CVAL)_EL\d+",
        Kind.REWRITTEN,
        "the guest ran between the two looks: a deadline may have passed and its handler rewritten the timer; the guest "
        "itself says whether the interrupt came once and in time",
        "guests/timers; Arm ARM D12.2",
    ),
)
"""For two looks between which the guest ran; they come before RULES."""


def rule_for(name: str, rules: Sequence[Rule] = RULES) -> Rule:
    """Return the first rule for a register's full name, or the default: it must survive."""
    bare = re.sub(r"^cpu\d+/", "", name)
    return next((rule for rule in rules if re.fullmatch(rule.pattern, bare)), DEFAULT)
