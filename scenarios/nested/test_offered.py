"""A lab that was told to run guest hypervisors, and whose CPU can, offers its guests EL2.

Every other scenario at EL2 is skipped where EL2 is not offered. So that a kernel that has lost it is not merely skipped, this
one fails.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from harness.errors import Unsupported
from harness.kvm import audit
from harness.plugin.matrix import Matrix
from harness.plugin.trial import Trial
from harness.report.known import parse_version


@pytest.mark.matrix(Matrix({"lifecycle": ("straight",)}, platforms=("lab",)))
def test_el2_is_offered(trial: Trial, counts: Callable[..., None]) -> None:
    [lab, *_] = trial.settled()
    if parse_version(lab.facts["kernel"]).release[:2] < audit.OFFERS_EL2:
        since = ".".join(map(str, audit.OFFERS_EL2))
        raise Unsupported(f"Linux {lab.facts['kernel']} is older than {since}, which brought EL2 for guests")
    if not lab.cpu_has_nv2:
        raise Unsupported(lab.nested_refused)
    counts(registers=audit.el2_is_offered(trial.samples()))
