"""What a case has compared and counted, and what of it speaks against the machines: the evidence that its verdict rests on."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.errors import NoEvidence
from harness.lifecycle.passage import Pair
from harness.report.evidence import DifferenceRow, rows_of
from harness.report.model import Compared
from harness.state.diff import compare, cross_check
from harness.state.model import State
from harness.state.rules import Rule
from harness.state.views import unredirected


@dataclass
class Tally:
    """Registers and interrupts that were looked at, and what differs and may not."""

    registers: int = 0
    interrupts: int = 0
    differences: tuple[DifferenceRow, ...] = ()
    # Of two views of one machine at one moment.
    disagreements: tuple[str, ...] = ()
    # Whether all is being counted once more, so that what differs may have been found before.
    _again: bool = False

    @property
    def compared(self) -> Compared:
        """How much was looked at, as results have it."""
        return Compared(self.registers, self.interrupts)

    def begin_anew(self) -> None:
        """Count once more from nothing. Registers that differed differ, but for a timer that has come due."""
        self.registers, self.interrupts, self._again = 0, 0, True
        self.forget_what_came_due()

    def forget_what_came_due(self) -> None:
        """Hold no ISTATUS against the machines of a timer that came due when an instant was missed.

        QEMU sets it when its own timer runs, which on a busy computer may be after the stop, and anew on the other side.
        """
        self.differences = tuple(row for row in self.differences if not _came_due(row))

    def forget_differences(self) -> None:
        """Hold nothing against the machines; what was counted stays."""
        self.differences, self.disagreements = (), ()

    def compare(self, pair: Pair, rules: Sequence[Rule]) -> None:
        """Compare two looks at a guest, by those of the rules that are about such looks."""
        comparison = compare(pair.before, pair.after, [rule for rule in rules if rule.view in ("", pair.before.view)])
        self.registers += comparison.compared
        seen = {(row.name, row.field) for row in self.differences} if self._again else set()
        self.differences += tuple(row for row in rows_of(comparison) if (row.name, row.field) not in seen)

    def cross(self, seen: State, written: State) -> None:
        """Compare two views of one machine at one moment."""
        comparison = cross_check(unredirected(seen), written)
        self.registers += comparison.compared
        if not comparison.same:
            self.disagreements += (f"the {seen.view} view and the {written.view} view disagree: {comparison.sentence()}",)

    def difference_words(self) -> str:
        """Return which registers must have survived and did not, numbered ones together: `; registers differ: cpu0/Z#`."""
        names = sorted({re.sub(r"/([A-Z])\d+$", r"/\1#", row.name) for row in self.differences})
        return f"; registers differ: {', '.join(names)}" if names else ""

    def complaint(self) -> str:
        """Return what must have survived and did not, or on what two views disagree; nothing where all is well."""
        if not self.differences:
            return self.disagreements[0] if self.disagreements else ""
        first = self.differences[0]
        more = f" (and {len(self.differences) - 1} more)" if len(self.differences) > 1 else ""
        name = f"{first.name}.{first.field}" if first.field else first.name
        # All of them: whoever excuses the failure has to excuse each.
        return f"{name} was {first.before} and is {first.after}{more}{self.difference_words() if more else ''}"

    def must_prove_something(self) -> None:
        """Raise NoEvidence where nothing was looked at."""
        if not self.registers + self.interrupts:
            raise NoEvidence("nothing was compared and no interrupt was counted")


def _came_due(row: DifferenceRow) -> bool:
    return bool(re.search(r"/CNT\w+_CTL_EL\d+$", row.name)) and (row.field, row.before, row.after) == ("ISTATUS", "0x0", "0x1")
