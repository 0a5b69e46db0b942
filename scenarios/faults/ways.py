"""The ways on which a guest is led into a fault: lifecycles by name, with the capabilities that make them."""

from __future__ import annotations

from collections.abc import Mapping

from harness.plugin.matrix import Row

LIVE: Mapping[str, tuple[str, ...]] = {"live-unix": (), "multifd": ("multifd",), "postcopy": ("postcopy-ram",)}
FILES: Mapping[str, tuple[str, ...]] = {"file": (), "file-mapped-ram": ("mapped-ram",)}
RETURNS = ("return-path", "one-way")


def capabilities(case: Row) -> tuple[str, ...]:
    """Return the capabilities of a live way, with or without a return path."""
    return (*LIVE[case["lifecycle"]], *(["return-path"] if case["returns"] == "return-path" else []))
