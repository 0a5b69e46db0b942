"""What a machine on /dev/kvm has cost its host, and where its counters were put, judged: no storm, no other time. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.errors import StateDiffers, Suspect
from harness.state.kvm_ids import name_of

# A vCPU that waits leaves its guest for the console, for what it arranges, when it falls asleep, and, where it spins, for the
# host's ticks: at most 388 times in all through scenarios/timers, and 191 and 2000 a second through scenarios/nested, whose L2
# is switched in and out (a lab, 7.3.4, neoverse-n2). A lab leaves a guest that does nothing else 20,000 times a second,
# hardware more often.
EXITS_AT_FIRST = 1000
EXITS_A_SECOND = 3000
COUNTED_OF = frozenset({"timers", "nested"})
"""The payloads that this is said of. Others do more: gic arranges its lines by 6,000 accesses to the distributor."""


@dataclass(frozen=True)
class Account:
    """How often each vCPU of a machine left its guest while the machine ran for so many seconds.

    `exits`: to the kernel, by its own count (KVM_GET_STATS_FD: `exits`), of no vCPU where one has no such count; `to_vmm`: of
    these, to the VMM.
    """

    seconds: float
    exits: Sequence[int]
    to_vmm: Sequence[int]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Account:
        """Read what `vmm.Vm.account` says."""
        counts = [vcpu["kernel"].get("exits") for vcpu in data["vcpus"]]
        exits = [] if None in counts else counts
        return cls(data["seconds"], exits, [sum(vcpu["exits"].values()) for vcpu in data["vcpus"]])

    def sentence(self) -> str:
        """Return it in words."""
        exits = ", ".join(map(str, self.exits)) or "unknown"
        return f"{self.seconds:.2f} s, exits {exits}, to the VMM {', '.join(map(str, self.to_vmm))}"

    def storm(self) -> str:
        """Say in words which vCPU left its guest more often than one that waits does; nothing where none did."""
        most = EXITS_AT_FIRST + EXITS_A_SECOND * self.seconds
        return "; ".join(
            f"vCPU {number} left the guest {count} times in {self.seconds:.2f} s ({self.to_vmm[number]} times for the VMM), "
            f"at most {most:.0f} were expected"
            for number, count in enumerate(self.exits)
            if count > most
        )


_WRAP = 1 << 64


def as_asked(counters: Mapping[str, Any], *, where: str) -> None:
    """Say that each counter of each vCPU has gone on from what was asked for, by no more than the host's has meanwhile.

    `counters` is what `vmm.Vm._put_counters` returns. Raises StateDiffers.
    """
    passed = (counters["after"] - counters["before"]) % _WRAP
    for number, registers in enumerate(counters["vcpus"]):
        for register, (asked, has) in registers.items():
            if (has - asked) % _WRAP > passed:
                name, most = name_of(int(register, 16)), (asked + passed) % _WRAP
                said = f"{name} of vCPU {number} is {has:#x}, not from {asked:#x} to {most:#x}"
                raise StateDiffers(f"{counters['by']}: {said}", where=where, suspect=Suspect.KERNEL_L0)
