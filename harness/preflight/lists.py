"""Which registers only one of two kernels has, for vCPUs of one kind on one CPU. Pure."""

from __future__ import annotations

from harness.errors import StateDiffers, Suspect, Unsupported
from harness.preflight.facts import HostFacts
from harness.preflight.forecast import alike
from harness.state.model import Origin


def same_list(source: HostFacts, destination: HostFacts, level: str) -> int:
    """Say that both hosts show one list of registers, the GIC's CPU interface among them; return how many there are.

    One that vanishes makes a guest of the older kernel be refused by the newer one; one that appears, the other way round.
    Raises StateDiffers naming each, Unsupported where the hosts do not have such vCPUs, or not one CPU.
    """
    here = source.levels[level][0]
    there = alike(here, destination, level)
    if there is None:
        raise Unsupported(f"the destination makes no vCPUs at {level} with {', '.join(here.features) or 'no feature'}")
    if here.registers.get("MIDR_EL1") != there.registers.get("MIDR_EL1"):
        raise Unsupported("the two hosts have different CPUs, and so other registers")
    ours, theirs = ({*level.registers, *level.interface} for level in (here, there))
    words = [
        f"only {Origin(host.kernel).release}, the {side}, has {', '.join(sorted(names))}"
        for side, host, names in (("source", source, ours - theirs), ("destination", destination, theirs - ours))
        if names
    ]
    if words:
        raise StateDiffers("; ".join(words), suspect=Suspect.KERNEL_L0)
    return len(ours)
