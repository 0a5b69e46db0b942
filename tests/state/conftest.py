"""The golden streams, unpacked once."""

from __future__ import annotations

import lzma
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("state", deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("state")

_GOLDEN = Path(__file__).parent / "golden"


@cache
def _unpack(name: str) -> bytes:
    return lzma.decompress((_GOLDEN / f"{name}.xz").read_bytes())


@pytest.fixture(scope="session")
def golden() -> Callable[[str], bytes]:
    """Return the bytes of a golden file by its name without `.xz`."""
    return _unpack
