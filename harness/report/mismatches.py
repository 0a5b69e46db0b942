"""The table of mismatches: what becomes of a guest that goes to a machine which differs in one thing. Pure.

A case of `scenarios/migration/test_mismatch.py` has what was found out among its parameters: `differs`, `outcome`, `cause`,
`culprit` and `silent`.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import Verdict
from harness.report.model import Case, Run

_WORST_FIRST = ("harmed", "refused", "accepted")
_KEYS = frozenset(("differs", "outcome", "cause", "culprit", "silent"))


@dataclass(frozen=True)
class Mismatch:
    """One row: what differs, source first; what became of the guest; why, and who is to blame; whether no QEMU said a word."""

    case: Case
    differs: str
    outcome: str
    why: str
    silent: bool

    @property
    def verdict(self) -> Verdict:
        """How the case ended: `pass` where what came was expected."""
        return self.case.verdict


def mismatches(run: Run) -> tuple[Mismatch, ...]:
    """Return the rows of all cases that have one, the worst outcome first, and within it what was silent."""
    rows = [_row(case) for case in run.cases if case.params.keys() >= _KEYS]
    return tuple(sorted(rows, key=lambda row: (_WORST_FIRST.index(row.outcome), not row.silent)))


def _row(case: Case) -> Mismatch:
    told = case.params
    why = ", ".join(filter(None, (str(told["cause"]), str(told["culprit"]))))
    return Mismatch(case, str(told["differs"]), str(told["outcome"]), why, bool(told["silent"]))
