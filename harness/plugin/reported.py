"""A scenario that shows what somebody has reported: which report, how it is shown, and what a fixed system does.

    @reported(Report("el2-timer-lost", "T1", Kind.BUG, "takes the interrupt of CNTHP after a restore", level="nvhe"))
    def test_the_el2_timer_still_fires(boot, put_through, ...): ...

Each report is a case, `case.report` its name. What the reports are about is in scenarios/reported/catalogue.toml, and
`python -m scenarios.reported.page` makes docs/reported.md from both.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

import pytest

from harness.errors import UsageError
from harness.plugin.matrix import Matrix, Row

TCG = ("tcg",)
WITH_KVM = ("lab", "kvm", "ssh")
ANYWHERE = (*TCG, *WITH_KVM)

Test = TypeVar("Test", bound=Callable[..., None])


class Kind(StrEnum):
    """How a scenario shows a report."""

    # The failure itself: it fails, or is a known issue, where it is not fixed.
    BUG = "bug"
    # It is fixed in what runs here; tests/reported/test_guards.py shows that the scenario would fail if it came back.
    GUARD = "guard"
    # The same symptom, brought about by properties, an edited stream or a register write.
    MODEL = "model"


@dataclass(frozen=True)
class Report:
    """One report as a case. `fixed` goes on the sentence "A fixed system …"; the rest says where the guest is put."""

    name: str
    entries: str | tuple[str, ...]
    kind: Kind
    fixed: str
    lifecycle: str = "file"
    level: str = "el1"
    cpu: str = "max"
    vcpus: int = 1
    platforms: Sequence[str] = TCG

    @property
    def ids(self) -> tuple[str, ...]:
        """The catalogue's entries that it shows."""
        return (self.entries,) if isinstance(self.entries, str) else self.entries

    @property
    def place(self) -> Mapping[str, Any]:
        """The values of its case."""
        names = ("lifecycle", "level", "vcpus", "cpu")
        return {"report": self.name, **{name: getattr(self, name) for name in names}}


def reported(*reports: Report) -> Callable[[Test], Test]:
    """Mark a scenario with the reports that it shows, and make a case of each.

    Raises UsageError where they are for different platforms.
    """
    platforms, *others = {tuple(report.platforms) for report in reports}
    if others:
        raise UsageError("its reports are for different platforms", remedy="write a test for each", where=reports[0].name)
    places = [report.place for report in reports]

    def exists(row: Row) -> bool:
        # Under KVM every case has the host's CPU.
        return any(all(value in (place[name], "host") for name, value in row.items()) for place in places)

    factors = {name: tuple(dict.fromkeys(place[name] for place in places)) for name in places[0]}
    matrix = pytest.mark.matrix(Matrix(factors, valid=exists, platforms=platforms))
    marker = pytest.mark.report(*reports)
    return lambda test: marker(matrix(test))
