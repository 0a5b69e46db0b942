"""`new_trial`: a case with the real QEMU, on any lifecycle; `new_lab_trial`: the same in a lab."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.assets import cache, guests
from harness.errors import MissingError
from harness.host.local import LocalHost
from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.plugin import platforms
from harness.plugin.trial import Bench
from harness.qemu.hub import Hub
from tests.sabotage.parts import CPU, LabBench, NewTrial, SabotagedTrial, Way, machines_alive


@pytest.fixture
def new_trial(bench: Bench) -> Iterator[NewTrial]:
    """`new_trial("file", level="nvhe")`, or with a function as the lifecycle."""
    with ExitStack() as open_trials:
        yield _maker(bench, CPU, open_trials)


@pytest.fixture(scope="module")
def lab_bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabBench]:
    said, others = {"--platform": "lab"}, machines_alive()
    try:
        platforms.check(said.get)
        payloads = guests.find()
    except MissingError as error:
        pytest.skip(f"the lab's assets have not been set up: {error}")
    with Hub() as hub, LocalHost() as desk, platforms.grounds(said.get, hub, desk) as grounds:
        bench = Bench(grounds, payloads, cache.root() / "slots", tmp_path_factory.mktemp("out"), "kvm")
        yield LabBench(bench, others)
    assert machines_alive() <= others
    assert not desk.root.exists()


@pytest.fixture
def new_lab_trial(lab_bench: LabBench) -> Iterator[NewTrial]:
    """As `new_trial`, in the default lab."""
    with ExitStack() as open_trials:
        yield _maker(lab_bench.bench, "host", open_trials)


def _maker(bench: Bench, cpu: str, open_trials: ExitStack) -> NewTrial:
    def make(way: str | Way, *, level: str = "el1", runs_on_ms: int = 0, **more: str) -> SabotagedTrial:
        name = way if isinstance(way, str) else way.__name__
        lifecycle = LIFECYCLES[way] if isinstance(way, str) else Lifecycle(name, way, runs_on_ms=runs_on_ms)
        trial = SabotagedTrial(bench, {"level": level, "vcpus": 1, "cpu": cpu, "lifecycle": name, **more}, way=lifecycle)
        open_trials.callback(trial.close)
        return trial

    return make
