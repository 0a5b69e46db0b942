"""For every case of this folder: nothing of it is left when it is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.faults.leftovers import Leftovers


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Raise HarnessBug where a process or a thread of the case outlives its machines."""
    before = Leftovers.now()
    yield
    Leftovers.now().none_since(before)
