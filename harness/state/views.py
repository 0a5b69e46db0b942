"""What one view calls a register, said as another view calls it. Pure."""

from __future__ import annotations

from harness.state.model import State

_E2H = 1 << 34  # in HCR_EL2
_EL2 = 2
# Registers whose EL1 name, used at EL2 with HCR_EL2.E2H = 1, means a register of EL2 (Arm ARM, the accessors of each).
_REDIRECTED = frozenset(
    f"{name}_EL1"
    for name in (
        "SCTLR", "SCTLR2", "CPACR", "TRFCR", "TTBR0", "TTBR1", "TCR", "TCR2", "AFSR0", "AFSR1", "ESR", "FAR", "MAIR", "MAIR2",
        "AMAIR", "AMAIR2", "VBAR", "CONTEXTIDR", "CNTKCTL", "SPSR", "ELR", "ZCR", "SMCR", "PIR", "PIRE0", "POR", "SCXTNUM",
        "GCSCR", "GCSPR", "BRBCR",
    )
)  # fmt: skip
_OTHERWISE = {"CNTKCTL_EL1": "CNTHCTL_EL2", "CPACR_EL1": "CPTR_EL2"}


def unredirected(seen: State) -> State:
    """Return what a gdb stub shows with each register's own name.

    QEMU's reads as the vCPU would: where that is at EL2 with HCR_EL2.E2H = 1, SCTLR_EL1 is SCTLR_EL2, and nothing shows EL1's.
    """
    registers = seen.registers

    def at_el2_with_e2h(cpu: str) -> bool:
        hcr, pstate = registers.get(f"{cpu}/HCR_EL2"), registers.get(f"{cpu}/PSTATE")
        return isinstance(hcr, int) and isinstance(pstate, int) and bool(hcr & _E2H) and pstate >> 2 & 3 == _EL2

    redirecting = {cpu for cpu in {name.partition("/")[0] for name in registers} if at_el2_with_e2h(cpu)}

    def own(name: str) -> str:
        cpu, _, register = name.partition("/")
        if cpu not in redirecting or register not in _REDIRECTED:
            return name
        return f"{cpu}/{_OTHERWISE.get(register, register.replace('_EL1', '_EL2'))}"

    # Those that the stub shows by their own name too are the same, or they would differ from the other view.
    renamed = {own(name): value for name, value in registers.items() if own(name) != name}
    kept = {name: value for name, value in registers.items() if own(name) == name}
    return State(seen.view, {**kept, **renamed}, seen.origin)
