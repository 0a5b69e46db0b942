"""What is forecast of a guest that goes to another host (`harness preflight`) is what becomes of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.guest.payload import Guest
from harness.kvm.sample import LEVELS
from harness.plugin.carry import carry, forecast_for
from harness.plugin.matrix import Matrix, Params
from harness.plugin.trial import Trial
from harness.preflight.forecast import Forecast

WITH_KVM = ("lab", "kvm", "ssh")
MATRIX = Matrix({"lifecycle": ("kvm-migrate",), "level": tuple(LEVELS)}, platforms=WITH_KVM)
# The counter's frequency is no register of KVM's: a guest finds that its time has another pace, and nothing tells.
NOT_IN_THE_LIST = {"CNTFRQ_EL0"}


@pytest.mark.matrix(MATRIX)
def test_what_is_forecast_comes_true(
    case: Params, trial: Trial, boot: Callable[..., Guest], counts: Callable[..., None], record_property: Callable[..., None]
) -> None:
    forecast: Forecast = forecast_for(trial)
    record_property("forecast", f"{case.level}: {forecast.sentence()}")
    guest = boot("registers", sets="gpr")
    outcome = carry(trial, guest)
    assert outcome.failed == forecast.fails, f"{forecast.sentence()}, and came: {outcome}"
    assert bool(outcome.hindered) == bool(forecast.hindered), f"{forecast.sentence()}, and came: {outcome.hindered}"
    if not outcome.hindered:
        assert outcome.refused == forecast.refused.keys(), f"{forecast.sentence()}, and came: {sorted(outcome.refused)}"
    if not outcome.failed:
        assert outcome.changed == forecast.changed.keys() - NOT_IN_THE_LIST, f"{forecast.sentence()}, and came: {outcome}"
        assert outcome.lacking == set(forecast.lacking), f"{forecast.sentence()}, and came: {sorted(outcome.lacking)}"
    counts(registers=len(outcome.refused | outcome.changed) + 1)
    guest.finish()
