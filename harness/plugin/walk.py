"""Walks: a guest in some instant, led through several lifecycles in some order, chosen at random.

    run(subject, steps=500, number=1)

Scenarios lead a guest through one lifecycle; what goes wrong only after another one is found by walking. A walk boots a guest,
leads it through lifecycles, tells it to go on and judges what it says: each of these is a step. Hypothesis chooses them, and
makes a walk that fails as short as it can; the shortest one is walked last, so that what is left of it is its evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from harness.errors import HarnessError, NoEvidence

# Lifecycles that one guest is led through; with its boot and the judgement, a walk has two steps more.
HOPS = 8


class Subject(Protocol):
    """What is walked with. Each method raises HarnessError where something is wrong."""

    @property
    def guests(self) -> Sequence[str]:
        """The names of guests that can be booted."""

    @property
    def lifecycles(self) -> Sequence[str]:
        """The names of what they can be led through."""

    def boot(self, guest: str) -> None:
        """Begin anew, with a guest that has arranged its instant."""

    def lead(self, lifecycle: str) -> None:
        """Lead the guest through a lifecycle."""

    def judge(self) -> None:
        """Tell the guest that it is over and judge what it says. The guest ends."""


@dataclass
class Tally:
    """What all walks of a run did: how many steps, through what, and the deepest chain of lifecycles of one guest."""

    wanted: int
    steps: int = 0
    deepest: int = 0
    walks: int = 0
    visited: set[str] = field(default_factory=set)
    failed: bool = False
    # What has ended it from outside: Ctrl-C, a time limit, a fault of the harness. Nothing is walked any more.
    ended: BaseException | None = None

    @property
    def enough(self) -> bool:
        """Whether all was walked that was wanted, and no failure is left to be made shorter."""
        return self.steps >= self.wanted and not self.failed

    def take(self, step: Callable[[], None], path: str) -> None:
        """Take a step. An error says by which path it came about, and what comes from outside ends all walks."""
        if self.ended is not None:
            raise self.ended
        self.steps += 1
        try:
            step()
        except HarnessError as error:
            self.failed = True
            error.what += path
            raise
        except BaseException as error:
            self.ended = error
            raise


def run(subject: Subject, *, steps: int, number: int) -> Tally:
    """Walk at least `steps` steps, chosen by the seed `number`, and return what was done.

    Raises the error of the shortest walk that fails, with its steps; NoEvidence where fewer steps could be made.
    """
    tally = Tally(steps)
    walk = _walk(subject, tally, number)
    known = {
        "stateful_step_count": HOPS,
        "deadline": None,
        "database": None,
        "derandomize": False,
        "print_blob": False,
        "report_multiple_bugs": False,
        "suppress_health_check": list(HealthCheck),
        "phases": (Phase.generate, Phase.shrink),
    }

    def factory() -> RuleBasedStateMachine:
        return walk()

    chosen = settings(max_examples=2 + steps // 3, **known)  # type: ignore[arg-type]  # by name, all of them
    try:
        run_state_machine_as_test(seed(number)(factory), settings=chosen)  # type: ignore[arg-type]  # a function does as well as a class
    finally:
        if tally.ended is not None:
            raise tally.ended
    if tally.steps < steps:
        raise NoEvidence(f"the walks made {tally.steps} of {steps} steps")
    return tally


def _walk(subject: Subject, tally: Tally, number: int) -> type[RuleBasedStateMachine]:
    """Return the walks with a subject, as Hypothesis has them."""

    class Walk(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.path: list[str] = []
            self.failed = False
            # Hypothesis wants to be told a number of walks, and some are short.
            self.idle = tally.enough
            tally.walks += not self.idle

        @initialize(guest=st.sampled_from(subject.guests))
        def boot(self, guest: str) -> None:
            self._step(f"boot {guest}", lambda: subject.boot(guest))

        @rule(lifecycle=st.sampled_from(subject.lifecycles))
        def lead(self, lifecycle: str) -> None:
            self._step(lifecycle, lambda: subject.lead(lifecycle))
            tally.deepest = max(tally.deepest, len(self.path) - 1)

        def teardown(self) -> None:
            if len(self.path) > 1 and not self.failed:
                self._step("judge", subject.judge)

        def _step(self, word: str, step: Callable[[], None]) -> None:
            if self.idle:
                return
            self.path.append(word)
            tally.visited.add(word)
            try:
                tally.take(step, f"; seed {number} walked: {', '.join(self.path)}")
            except BaseException:
                self.failed = True
                raise

    return Walk
