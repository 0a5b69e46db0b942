"""Labs for tests: of the default assets where these have been set up, one warm and one cold for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import pytest

from harness.assets import lab as lab_assets
from harness.assets import qemu as assets_qemu
from harness.assets.progress import PlainProgress
from harness.errors import MissingError
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.lab.boot import LabSpec
from harness.lab.host import Lab
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop


@pytest.fixture(scope="session")
def workshop() -> Iterator[Workshop]:
    with LocalHost() as desk, Hub() as hub:
        yield Workshop(desk, desk, hub, TargetCache())


@pytest.fixture(scope="session")
def spec() -> LabSpec:
    try:
        assets_qemu.resolve(None)
        return LabSpec.of(lab_assets.resolve())
    except MissingError as error:
        pytest.skip(f"the lab's assets have not been set up: {error}")


@pytest.fixture(scope="session")
def new_lab(spec: LabSpec, workshop: Workshop) -> Callable[..., Lab]:
    """Return what makes a lab, to be entered by the test."""
    return partial(Lab, spec, assets_qemu.resolve(None), workshop, Timeline(), PlainProgress())


@pytest.fixture(scope="session")
def warm(new_lab: Callable[..., Lab]) -> Iterator[Lab]:
    with new_lab() as lab:
        yield lab


@pytest.fixture(scope="session")
def cold(new_lab: Callable[..., Lab]) -> Iterator[Lab]:
    with new_lab(warm=False) as lab:
        yield lab
