"""State of EL2 and EL3: on one side only, or not in the stream at all."""

from __future__ import annotations

from pathlib import Path

from harness.guest.payload import Guest
from harness.plugin.matrix import Params
from harness.plugin.reported import Kind, Report, reported
from harness.plugin.trial import Trial
from scenarios.reported import bare
from scenarios.reported.parts import edited, pair, see_refused, soon

EL3 = {"options": ("secure=on",)}

PAIRS = {
    row.report.name: row
    for row in (
        pair("el2-on-one-side", "N3", "register missing, .*RVBAR_EL1.*only the destination has .*HCR_EL2", {}, {"el2": True}),
        pair("el3-on-one-side", "N4", "RAM block, virt.secure-ram", EL3, {}),
    )
}


@reported(*(row.report for row in PAIRS.values()))
def test_an_exception_level_of_one_side_is_named(case: Params, trial: Trial) -> None:
    see_refused(trial, PAIRS[case.report])


@reported(
    Report("secure-dacr", "N2", Kind.BUG, "restores the Secure banks of 32-bit registers"),
)
def test_the_secure_dacr_survives(trial: Trial, tmp_path: Path) -> None:
    image = tmp_path / "secure32.elf"
    image.write_bytes(bare.secure32())
    here = {"kernel": image, "cpu": "cortex-a15", "options": ("secure=on",)}
    trial.vary(here, here)
    guest = trial.boot("registers")
    before = dacr(guest)
    edited(trial, guest).cont()
    after = dacr(guest)
    assert (before, after) == (bare.DACR, bare.DACR), f"the Secure DACR was {before:#x} and is {after:#x}"
    trial.count(registers=1)


def dacr(guest: Guest) -> int:
    """Ask the 32-bit guest for its DACR."""
    guest.ask()
    return guest.hear_until("reg", soon()).number("value")
