"""A guest that goes to a machine that differs in one thing is accepted, refused or harmed as the table of mismatches says."""

from __future__ import annotations

import pytest

from harness.plugin.matrix import Matrix, Params
from harness.plugin.mismatch import meet
from harness.plugin.trial import Trial
from scenarios.migration.mismatches import PAIRS


@pytest.mark.matrix(Matrix({"lifecycle": ("live-unix",), "pair": tuple(PAIRS)}, platforms=("tcg",)))
def test_what_becomes_of_the_guest(case: Params, trial: Trial) -> None:
    pair = PAIRS[case.pair]
    came = meet(trial, pair)
    trial.found |= pair.found(came)
    assert not (said := pair.disagreement(came)), said
    if came.failure:
        raise came.failure
