"""A guest stays whole through lifecycles one after the other, in any order.

The steps are chosen by --walk-seed, --walk-steps of them in all. A walk that fails is made as short as it can be, its steps are
the end of the sentence, and its bundle is that of the shortest one.
"""

from __future__ import annotations

import pytest

from harness.errors import Unsupported
from harness.plugin import walk
from harness.plugin.matrix import Params
from harness.plugin.trial import Trial
from scenarios.stress.subject import Led

CASES = [
    Params({"lifecycle": "walk", "level": "el1", "vcpus": 1, "cpu": "cortex-a57"}),
    Params({"lifecycle": "walk", "level": "el1", "vcpus": 2, "cpu": "max"}),
    Params({"lifecycle": "walk", "level": "nvhe", "vcpus": 1, "cpu": "neoverse-n1"}),
    Params({"lifecycle": "walk", "level": "vhe", "vcpus": 2, "cpu": "neoverse-n1"}),
]


@pytest.mark.timeout(3600)  # it is as long as the user says
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_guests_stay_whole_on_the_way(trial: Trial, pytestconfig: pytest.Config) -> None:
    if trial.bench.accel != "tcg":
        raise Unsupported("walks are for TCG, where a step takes a tenth of a second")
    steps, number = pytestconfig.getoption("--walk-steps"), pytestconfig.getoption("--walk-seed")
    led = Led(trial)
    tally = walk.run(led, steps=-(-steps // len(CASES)), number=number)
    assert tally.deepest > 1, "no guest was led through two lifecycles"
    assert len(led.left_out) < len(led.lifecycles) / 2, f"too much was left out: {led.left_out}"
