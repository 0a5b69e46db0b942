"""ID registers, and lists of registers, that two hosts do not share: the guest is refused, and somebody has to say why."""

from __future__ import annotations

from harness.plugin.matrix import Params
from harness.plugin.reported import Kind, Report, reported
from harness.plugin.trial import Trial
from harness.state.edit import add_register, set_field
from scenarios.reported.parts import Edit, edited, last_say, machine_of, pair, refusal, see_refused

# cp14, opc1 0, CRn 0, CRm 5, opc2 3? of AArch32, as QEMU numbers it in streams.
DBGDTRTX = "0x40200000200e0298"


def with_register(name: str) -> Edit:
    """Return what puts a register more into the stream of the first vCPU."""
    return lambda data: add_register(data, f"cpu0/{name}", 0)


PAIRS = {
    row.report.name: row
    for row in (
        pair("longer-list", "I1", "register missing, .*only the source has .*ZCR_EL1", {"cpu": "max"}, {"cpu": "max,sve=off"}),
        pair(
            "a57-to-a72",
            "I4",
            "register refused, ID_MMFR0_EL1, PMCR_EL0:",
            {"cpu": "cortex-a57"},
            {"cpu": "cortex-a72"},
        ),
        pair(
            "mixed-fleet",
            "I13",
            "register missing, .*only the source has .*APIAKEYLO_EL1",
            {"cpu": "neoverse-v1"},
            {"cpu": "neoverse-n1"},
        ),
    )
}


@reported(*(row.report for row in PAIRS.values()))
def test_a_cpu_of_another_kind_is_named(case: Params, trial: Trial) -> None:
    see_refused(trial, PAIRS[case.report])


@reported(Report("registers-gone", "I2", Kind.MODEL, "names the registers that it does not have", cpu="neoverse-n1"))
def test_registers_that_the_destination_lacks_are_refused(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    with refusal("register missing, TCR2_EL1, PIRE0_EL1, PIR_EL1:"):
        edited(trial, guest, *(with_register(name) for name in ("TCR2_EL1", "PIRE0_EL1", "PIR_EL1")))
    machine_of(guest).cont()
    last_say(trial, guest)


@reported(
    Report("bogus-aarch32-register", "I3", Kind.GUARD, "takes a stream that still has DBGDTRTX, and leaves it out", cpu="max")
)
def test_a_register_that_never_was_is_left_out(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    edited(trial, guest, with_register(DBGDTRTX)).cont()
    last_say(trial, guest)


@reported(Report("features-in-the-stream", "I5", Kind.GUARD, "does not read the feature bits that older versions wrote"))
def test_feature_bits_of_older_versions_are_not_read(trial: Trial) -> None:
    guest = trial.boot("registers", sets="gpr")
    edited(trial, guest, lambda data: set_field(data, "cpu", "unused", (1 << 64) - 1)).cont()
    last_say(trial, guest)
