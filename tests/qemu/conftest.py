from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.qemu.hub import Hub
from tests.qemu.fakes import Starter, starter


@pytest.fixture
def fake() -> Iterator[Starter]:
    """`fake(append)`: a machine with the fake QEMU."""
    with starter() as start:
        yield start


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running
