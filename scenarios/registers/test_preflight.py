"""What is forecast of a guest that goes to another host (`harness preflight`) is what becomes of it; and what makes it so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest.payload import Guest
from harness.kvm.sample import LEVELS
from harness.plugin.carry import carry, disagreement, facts_for, forecast_for
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.preflight.lists import same_list

MATRIX = Matrix({"lifecycle": ("kvm-migrate",), "level": tuple(LEVELS)}, platforms=("lab", "kvm", "ssh"))


@pytest.mark.matrix(MATRIX)
def test_what_is_forecast_comes_true(
    case: Params, trial: Trial, boot: Callable[..., Guest], counts: Callable[..., None]
) -> None:
    foretold = forecast_for(trial)
    trial.timeline.add("harness", "forecast", f"{case.level}: {foretold.sentence()}")
    guest = boot("registers", sets="gpr")
    came = carry(trial, guest)
    trial.timeline.add("harness", "outcome", str(came))
    assert not (said := disagreement(foretold, came)), said
    counts(registers=came.registers)
    guest.finish()


@pytest.mark.matrix(
    Matrix(
        {"lifecycle": ("kvm-migrate",), "level": tuple(LEVELS), "asked": ("register-list",)}, platforms=("lab", "kvm", "ssh")
    )
)
def test_no_register_appears_or_vanishes_unreported(case: Params, trial: Trial, counts: Callable[..., None]) -> None:
    """Between the kernels of two hosts, `--lab-kernel` and `--dst-lab-kernel`; what is known to is among the known issues."""
    counts(registers=same_list(*facts_for(trial), case.level))
