"""A payload as the harness talks with it: read what it says, tell it to go on, let it end.

The guest stays the same one when a lifecycle carries it into another process: `machine` then names the new process, and
`messages` goes on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, GuestFailure, NoEvidence, Suspect, Unsupported
from harness.guest.protocol import Message, parse
from harness.qemu.machine import AnyMachine
from harness.state.model import State

# From QEMU's start to the guest's `now`: 0.1 s under TCG on an idle computer, and up to 30 s in a lab on a busy one.
BOOT_SECONDS = 90.0
# For an answer to a byte that we sent, and for what a guest does at its end.
ANSWER_SECONDS = 20.0


class Guest:
    """A running payload of guests/."""

    def __init__(self, name: str, arguments: Mapping[str, object], machine: AnyMachine) -> None:
        self.name = name
        self.arguments = dict(arguments)
        self.machine = machine
        self.messages: list[Message] = []
        # How many of the messages had come when the lifecycle was over and the guest was told so.
        self.went = 0
        # When it was told so, and each time that it was asked how things stand since, in s on this computer's clock.
        self.asked: list[float] = []
        # The registers of its stopped machines while the lifecycle went on, where counters stand still with the machine.
        self.stopped: list[State] = []

    def hear(self, deadline: Deadline, what: str) -> Message:
        """Return the next message.

        Raises GuestFailure for garbage and panics, Unsupported with the guest's reason when it skips, QemuFailure when the
        machine ends, GuestSilent.
        """
        message = self._parsed(self.machine.console.line(deadline, what), self.machine)
        self.messages.append(message)
        if message.kind == "skip":
            raise Unsupported(message.text, where=f"{self.name} on {self.machine.spec.cpu}")
        if message.kind == "panic":
            raise GuestFailure(f"the guest panicked: {message.text}", where=self.machine.side)
        return message

    @staticmethod
    def _parsed(line: str, machine: AnyMachine) -> Message:
        return parse(line, side=machine.side, heard=time.monotonic())

    def hear_until(self, kind: str, deadline: Deadline) -> Message:
        """Return the next message of that kind; those before it are kept in `messages`. Errors as `hear`."""
        what = f"the guest's `{kind}`"
        while (message := self.hear(deadline, what)).kind != kind:
            if message.kind == "end":
                raise GuestFailure(f"the guest ended before its `{kind}`", where=self.machine.side)
        return message

    def reach_now(self) -> None:
        """Wait until everything that the guest was asked to arrange is in place.

        Errors as `hear`; GuestFailure with what the guest found where it ends because that does not come about.
        """
        try:
            self.hear_until("now", Deadline.after(BOOT_SECONDS))
        except GuestFailure:
            if self.of_kind("end") and self.of_kind("fail"):
                self.checks()
            raise

    def follow(self, machines: Sequence[AnyMachine]) -> None:
        """Go on with the guest in the last of the machines that a lifecycle led it through, in order.

        What it had said in the others and nobody has read is heard first, and half a line is carried over.
        """
        for left, entered in pairwise(machines):
            lines, rest = left.console.leftover()
            self.messages += [self._parsed(line, left) for line in lines]
            entered.console.continues(rest)
            self.machine = entered
        lines, rest = self.machine.console.leftover()
        self.messages += [self._parsed(line, self.machine) for line in lines]
        self.machine.console.continues(rest)

    def restart(self) -> None:
        """Forget what the guest said in the life that a reset has ended, and wait until it has arranged everything anew.

        Errors as `reach_now`; GuestFailure where it now lacks what it had before.
        """
        self.messages.clear()
        self.stopped.clear()
        try:
            self.reach_now()
        except Unsupported as error:
            raise GuestFailure(f"after the reset the guest says: {error.what}", suspect=Suspect.QEMU) from error

    def go(self) -> None:
        """Tell the guest that the lifecycle is over."""
        self.went = len(self.messages)
        self.asked = [time.monotonic()]
        self.machine.console.say(b"g")

    def ask(self) -> None:
        """Have the guest say how things stand; its `timer` or `beat` lines come as messages."""
        self.asked.append(time.monotonic())
        self.machine.console.say(b"?")

    def end(self) -> None:
        """Tell the guest to stop waiting for what has not come."""
        self.machine.console.say(b"e")

    def finish(self) -> None:
        """Hear the guest out until its machine has powered off. Errors as `hear`, and of the machine's end as `end_well`."""
        deadline = Deadline.after(ANSWER_SECONDS)
        if not self.of_kind("end"):
            self.hear_until("end", deadline)
        try:
            self.machine.end_well(deadline)
        except DeadlineExpired as error:
            raise GuestFailure("the guest ended but its machine did not power off", where=self.machine.side) from error

    def of_kind(self, kind: str) -> list[Message]:
        """Return all messages of a kind so far, in order."""
        return [message for message in self.messages if message.kind == kind]

    @property
    def hello(self) -> Message:
        """What the guest said that it is (of its last start, where it was reset)."""
        return self.of_kind("hello")[-1]

    def found(self, *seen: str) -> str:
        """Return in words what was seen of the guest, and after that all that it found wrong itself.

        All of it, for an excuse for one complaint must not cover another.
        """
        complaints = self._complaints()
        return "; ".join([*seen, "the guest found: " + " | ".join(complaints)] if complaints else seen)

    def _complaints(self) -> list[str]:
        unnamed = any(result.number("failed") for result in self.of_kind("result"))
        return [message.text for message in self.of_kind("fail")] or ["a check that it did not name"] * unnamed

    def checks(self) -> int:
        """Return how many checks of its own the guest made and passed.

        Raises GuestFailure with the first check that failed, NoEvidence when there was none.
        """
        if complaints := self._complaints():
            more = f" (and {len(complaints) - 1} more)" if len(complaints) > 1 else ""
            # The guest is the witness; who broke what it saw is whoever carried it through the lifecycle.
            raise GuestFailure(f"the guest found: {complaints[0]}{more}", suspect=Suspect.QEMU)
        results = self.of_kind("result")
        if not results or not results[-1].number("checks"):
            raise NoEvidence("the guest made no check", where=self.name, suspect=Suspect.GUEST)
        return results[-1].number("checks")
