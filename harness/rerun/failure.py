"""A failure, and when another one is the same: the words without what a measurement or the place makes of them."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass

from harness.errors import Suspect, UsageError, Verdict
from harness.report.sentences import each_once

# In this order. A hexadecimal number of up to four digits stays: it is the value of a field, and says what went wrong.
_ACCIDENTS = (
    (re.compile(r"\s+"), " "),
    (re.compile(r"(?<![\w.])(?:/[^\s/:;,'\"]+)+/(?=[^\s/])"), ""),  # where a file is
    (re.compile(r"\+0x[0-9a-f]+/0x[0-9a-f]+"), "+#"),  # where in a function of a kernel
    (re.compile(r" \(and \d+ more\)"), ""),
    (re.compile(r"\bcpu\d+/"), "cpu#/"),
    (re.compile(r"\b0x[0-9a-fA-F]{5,}\b|\b[0-9a-f]{16}\b"), "#"),
    (re.compile(r"(?<!\w)\d[\d.]*(?=(?:ns|us|µs|ms|s)?\b)"), "#"),
)
_REGISTERS = re.compile(r"(?<=registers differ: )[^;]+")


def without_accidents(words: str) -> str:
    """Return the words with `#` for each number that is not a field's value or part of a name, without paths and counts.

    Of registers that differ and of what the guest found, each is named once, whichever vCPU has it.
    """
    for pattern, instead in _ACCIDENTS:
        words = pattern.sub(instead, words)
    return each_once(_REGISTERS.sub(lambda found: ", ".join(sorted(set(found[0].split(", ")))), words))


@dataclass(frozen=True)
class Failure:
    """How a case ended, before any known issue is considered: verdict, suspect, and what went wrong in words."""

    verdict: Verdict
    suspect: Suspect | None
    words: str

    def same_as(self, other: Failure) -> bool:
        """Say whether the other went wrong in the same way: verdict, suspect, and the words but for their accidents."""
        return (
            self.verdict in (Verdict.FAIL, Verdict.ERROR)
            and (self.verdict, self.suspect) == (other.verdict, other.suspect)
            and without_accidents(self.words) == without_accidents(other.words)
        )

    def __str__(self) -> str:
        """Return it in one line."""
        return f"{self.words}; suspect {self.suspect}" if self.suspect else self.words or self.verdict

    def to_data(self) -> dict[str, object]:
        """Return it as JSON data."""
        return asdict(self)

    @classmethod
    def from_data(cls, data: object, where: str) -> Failure:
        """Return the failure that `to_data` wrote. Raises UsageError with `where` for anything else."""
        if not isinstance(data, dict) or data.keys() != {"verdict", "suspect", "words"} or not isinstance(data["words"], str):
            raise UsageError("'failure' must have verdict, suspect and words", where=where)
        try:
            suspect = None if data["suspect"] is None else Suspect(data["suspect"])
            return cls(Verdict(data["verdict"]), suspect, data["words"])
        except ValueError as error:
            raise UsageError(f"'failure': {error}", where=where) from None
