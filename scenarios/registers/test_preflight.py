"""What is forecast of a guest that goes to another host (`harness preflight`) is what becomes of it; and what makes it so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.errors import Failure, Suspect
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
    trial.timeline.add("harness", "outcome", came.sentence())
    print(f"{foretold.sentence()}\n{came.sentence()}")  # for -rP: a table of what was foretold and what came
    if said := disagreement(foretold, came):
        raise Failure(said, suspect=Suspect.HARNESS)
    guest.finish()
    # Where there was no VM for it, its own registers, where it went on, are all that there is to judge.
    counts(registers=came.registers + guest.checks())


@pytest.mark.matrix(
    Matrix(
        {"lifecycle": ("kvm-migrate",), "level": tuple(LEVELS), "asked": ("register-list",)}, platforms=("lab", "kvm", "ssh")
    )
)
def test_no_register_appears_or_vanishes_unreported(case: Params, trial: Trial, counts: Callable[..., None]) -> None:
    """Between the kernels of two hosts, `--lab-kernel` and `--dst-lab-kernel`; what is known to is among the known issues."""
    counts(registers=same_list(*facts_for(trial), case.level))
