"""What a run found: one `Case` for each scenario that was tried, and the `Run` that holds them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from harness.errors import Suspect, Verdict

SCHEMA = 1
"""Version of `results.json`; other programs read that file."""

FOUND = ("differs", "outcome", "cause", "culprit", "silent", "left_out")
"""Parameters that a case is given when it has ended: what became of the guest between two unlike machines; which lifecycles
a walk left out."""

Scalar = str | int | float | bool | None
Params = Mapping[str, Scalar]
Provenance = Mapping[str, object]

BROKEN = (Verdict.FAIL, Verdict.ERROR, Verdict.FIXED)
"""The verdicts that make a run fail, most telling first."""

MISSING = "missing: "
"""What the sentence of a case begins with that was planned and has no end: an error, for nothing was proven."""

UNDER_TEST = ("lab_kernel", "lab_qemu", "dst_lab_kernel", "dst_lab_qemu")
"""Parameters that name what is under test, and so change from one night to the next."""


@dataclass(frozen=True)
class Compared:
    """How much evidence a verdict rests on: registers compared and interrupts counted."""

    registers: int = 0
    interrupts: int = 0


@dataclass(frozen=True)
class Case:
    """One scenario with one set of parameters, and what became of it.

    `id` is the pytest node id, `seconds` wall time, `message` the one sentence that says what went wrong or why it was
    not tried, `bundle` the path of the evidence relative to the output directory, `arrangements` how often the guest had to
    arrange its instant until the computer was fast enough for it.
    """

    id: str
    subject: str
    platform: str
    lifecycle: str
    params: Params
    verdict: Verdict
    suspect: Suspect | None = None
    seconds: float = 0.0
    known_issue: str | None = None
    message: str = ""
    bundle: str | None = None
    compared: Compared = field(default_factory=Compared)
    arrangements: int = 1

    @property
    def circumstances(self) -> str:
        """Lifecycle and parameters in one short line, for people."""
        words = [f"{name}={value}" for name, value in self.params.items()]
        return " ".join([self.subject, self.lifecycle, *words])

    @property
    def missing(self) -> bool:
        """True where the case was planned, and nobody has heard of its end."""
        return self.verdict is Verdict.ERROR and self.message.startswith(MISSING)

    @property
    def key(self) -> str:
        """What is the same on every kernel and QEMU, however it ends: the test, platform, lifecycle, other parameters.

        So cases of one run may share it; how they are told apart then is in `same`.
        """
        words = [f"{name}={value}" for name, value in self.params.items() if name not in (*UNDER_TEST, *FOUND)]
        return f"{self.id.partition('[')[0]}[{' '.join([self.platform, self.lifecycle, *words])}]"


@dataclass(frozen=True)
class Run:
    """All cases of one run. `started` is UTC in ISO 8601 with a final Z, `seconds` the wall time of the whole."""

    started: str
    seconds: float
    provenance: Provenance
    cases: tuple[Case, ...]

    @property
    def totals(self) -> dict[Verdict, int]:
        """Number of cases for each verdict, zeros included, in the order of the enumeration."""
        counted = Counter(case.verdict for case in self.cases)
        return {verdict: counted[verdict] for verdict in Verdict}

    def having(self, *verdicts: Verdict) -> tuple[Case, ...]:
        """Return the cases with one of `verdicts`, in the order in which these are given."""
        return tuple(case for verdict in verdicts for case in self.cases if case.verdict is verdict)


def lost(case: Case, why: str) -> Case:
    """Return a planned case as one that is missing, and why."""
    return replace(
        case, verdict=Verdict.ERROR, suspect=Suspect.HARNESS, message=f"{MISSING}{why}", seconds=0.0, compared=Compared()
    )


def flatten(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested provenance as dotted name and text."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", str(value)
