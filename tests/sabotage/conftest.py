"""`new_trial`: a case with the real QEMU, on any lifecycle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.plugin.trial import Bench
from tests.sabotage.parts import CPU, NewTrial, SabotagedTrial, Way


@pytest.fixture
def new_trial(bench: Bench) -> Iterator[NewTrial]:
    """`new_trial("file", level="nvhe")`, or with a function as the lifecycle."""
    with ExitStack() as open_trials:

        def make(way: str | Way, *, level: str = "el1", runs_on_ms: int = 0) -> SabotagedTrial:
            name = way if isinstance(way, str) else way.__name__
            lifecycle = LIFECYCLES[way] if isinstance(way, str) else Lifecycle(name, way, runs_on_ms=runs_on_ms)
            trial = SabotagedTrial(bench, {"level": level, "vcpus": 1, "cpu": CPU, "lifecycle": name}, way=lifecycle)
            open_trials.callback(trial.close)
            return trial

        yield make
