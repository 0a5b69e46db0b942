"""State of EL2 and EL3: on one side only, or not in the stream at all."""

from __future__ import annotations

from harness.plugin.matrix import Params
from harness.plugin.reported import reported
from harness.plugin.trial import Trial
from scenarios.reported.parts import pair, see_refused

EL3 = {"options": ("secure=on",)}

PAIRS = {
    row.report.name: row
    for row in (
        pair("el2-on-one-side", "N3", "only the destination has .*HCR_EL2", {}, {"el2": True}),
        pair("el3-on-one-side", "N4", 'Unknown ramblock "virt.secure-ram"', EL3, {}),
    )
}


@reported(*(row.report for row in PAIRS.values()))
def test_an_exception_level_of_one_side_is_named(case: Params, trial: Trial) -> None:
    see_refused(trial, PAIRS[case.report])
