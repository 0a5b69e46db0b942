"""One step of `git bisect run`: what the runs of a case say about the kernel or QEMU that they had."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.rerun.attempt import Outcome

GOOD, BAD, CANNOT_TELL = 0, 1, 125
"""As git-bisect(1), section "Bisect run", has them."""


def decide(outcome: Outcome) -> tuple[int, str]:
    """Return the exit status and why: bad where any run failed in the same way, good where all passed, else nobody knows."""
    if outcome.same:
        return BAD, f"bad ({len(outcome.same)} of {len(outcome.runs)}): {outcome.same[0].failure}"
    if outcome.runs and outcome.passed:
        return GOOD, f"good: {len(outcome.runs)} passed"
    return CANNOT_TELL, f"cannot tell: {outcome.others()}"
