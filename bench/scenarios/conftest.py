"""Floor and harness take turns, so that a computer that becomes slower slows both."""

from __future__ import annotations

from typing import cast

import pytest

from harness.plugin.matrix import Params


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort by repeat; the order within one stays."""
    items.sort(key=_repeat)


def _repeat(item: pytest.Item) -> int:
    assert isinstance(item, pytest.Function)
    return int(cast(Params, item.callspec.params["case"]).repeat)
