"""One migration that is to fail: over a line of our own, held at a phase until something has been done to it.

with Attempt.begun(source, destination, ("return-path",), hub) as attempt:
attempt.reach("ram")
destination.kill()
attempt.settle()
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, QemuFailure
from harness.host.line import ANNOUNCED, CHANNEL, DESCRIPTION, LAST_PAGES, MAIN, PAGES, RUN, Line, Mark
from harness.qemu import migration
from harness.qemu.hub import Hub
from harness.qemu.machine import Machine

ATTEMPT_SECONDS = 30.0
# From the end of a connection to the exit of a destination that needed it; a tenth of a second on an idle computer.
_END_SECONDS = 5.0
# Bytes a second: as in harness/lifecycle/live.py, so that memory is still missing when a migration is held.
_TRICKLE = 100_000
# Where a migration stops by itself (qapi/migration.json, MigrationStatus). A destination that has failed exits.
_ENDS = frozenset({"failed", "cancelled", "completed", "postcopy-paused"})
_ENDS_OF_DESTINATION = frozenset({"completed", "postcopy-paused"})

CHANNELS = "channels"
LAST_PASS = "last-pass"
DESCRIBED = "described"
SWITCHED = "switched"
PHASES: Mapping[str, tuple[Mark, ...]] = {
    # In the header: the destination knows of a stream, and of nothing in it.
    "set-up": (MAIN,),
    # Only of multifd: one of the channels for pages has said what it is and then nothing, and the destination waits for it.
    CHANNELS: (Mark(CHANNEL.head, 60), ANNOUNCED),
    # At the first pass over the memory, whose pages follow here, or on other channels with multifd.
    "ram": (PAGES,),
    # Before the last of the memory; the guest stands still on the source.
    LAST_PASS: (LAST_PAGES,),
    # In the first vCPU's registers.
    "device": (Mark.section("cpu", 100),),
    # Behind all that the destination needs, in a description that it reads and does not look at.
    DESCRIBED: (DESCRIPTION,),
    # Both sides say that it is complete; with postcopy, the guest goes on at the destination and its memory is still to come.
    SWITCHED: (),
}


# Reached only by a migration that gets on.
_LATE = (LAST_PASS, "device", DESCRIBED, SWITCHED)


@dataclass
class Attempt:
    """A migration under way, from a source over a line to a destination."""

    source: Machine
    destination: Machine
    line: Line
    capabilities: tuple[str, ...]
    deadline: Deadline = field(default_factory=lambda: Deadline.after(ATTEMPT_SECONDS))
    # Whether the destination did not notice that nothing more could come.
    hangs: bool = False

    @classmethod
    @contextmanager
    def begun(cls, source: Machine, destination: Machine, capabilities: tuple[str, ...], hub: Hub) -> Iterator[Attempt]:
        """Give an attempt with both sides prepared; the line goes with the block."""
        for side in (source, destination):
            migration.enable(side, *capabilities)
        socket = destination.directory / "migration"
        with Line(source.directory / "line", socket, hub.heard) as line:
            migration.receive(destination, f"unix:{socket}")
            yield cls(source, destination, line, capabilities)

    @property
    def postcopy(self) -> bool:
        """Whether the guest goes on before its memory is complete."""
        return "postcopy-ram" in self.capabilities

    @property
    def blind(self) -> bool:
        """Whether the source never hears from the destination."""
        return "return-path" not in self.capabilities

    def reach(self, phase: str) -> None:
        """Send until the phase is reached, and keep it open. Raises QemuFailure, DeadlineExpired."""
        marks = PHASES[phase]
        self.line.hold_at(*(marks or (RUN,) * self.postcopy))
        if self.postcopy or phase not in _LATE:
            migration.set_parameters(self.source, max_bandwidth=_TRICKLE)
        migration.send(self.source, f"unix:{self.line.path}")
        if self.postcopy and phase in _LATE:
            migration.set_parameters(self.source, max_postcopy_bandwidth=_TRICKLE)
            self._sent("active")
            self.source.execute("migrate-start-postcopy")
        if marks:
            self._held(asked=phase != CHANNELS)
        elif self.postcopy:
            migration.switched_over(self.source, self.destination, self.deadline)
            self._held(asked=False)
            self.destination.cont()
        else:
            migration.transferred(self.source, self.destination, self.deadline)
        if phase in (LAST_PASS, "device", DESCRIBED) and self.blind:
            # All that is left fits into the sockets on the way, so that the source has done its part and says so.
            self._sent("completed")

    def go_on(self) -> None:
        """Let what was held pass, as fast as it can; with postcopy the switch comes first."""
        self._hurry()
        if self.postcopy and migration.status(self.source) in ("setup", "active"):
            self.source.execute("migrate-start-postcopy")
        self.line.release()

    def go_on_as_precopy(self) -> None:
        """Let what was held pass, without the switch to postcopy, whether or not that was allowed."""
        migration.set_parameters(self.source, max_bandwidth=0)
        self.line.release()

    def recover(self) -> None:
        """Go on with a postcopy migration that was cut, over a new connection. Raises QemuFailure, DeadlineExpired."""
        uri = f"unix:{self.destination.directory / 'recovery'}"
        since = {side.side: len(side.qmp.events) for side in (self.source, self.destination)}
        self.destination.execute("migrate-recover", {"uri": uri})
        self.source.execute("migrate", {"uri": uri, "resume": True})
        for side in (self.source, self.destination):
            side.wait_event("MIGRATION", self.deadline, since=since[side.side], status="postcopy-active")

    def settle(self) -> None:
        """Wait until both sides have come to an end, and let a guest that has arrived go on.

        A destination whose source has failed gets what was on its way, and hears that nothing more will come. One that does not
        end then is killed, and `judge` tells of it. Raises DeadlineExpired.
        """
        self._hurry()
        ours = self._end_of(self.source, self.deadline)
        if (ours == "completed" and not self.postcopy) or ours == "failed":
            migration.finalized(self.source, self.deadline)
        if ours != "completed" or self.line.holding:
            if not self.line.holding:
                self.line.run_out(Deadline.after(_END_SECONDS))
            self.line.cut()
        try:
            theirs = self._end_of(self.destination, self.deadline if ours == "completed" else Deadline.after(_END_SECONDS))
        except DeadlineExpired:
            self.hangs = True
            self.destination.kill()
            self.destination.wait_exit(self.deadline)
            return
        # A source that has cancelled runs on, even if all that the destination needs was on its way by then.
        if theirs == "completed" and ours in ("completed", "gone") and self.destination.status() == "paused":
            self.destination.cont()

    def judge(self) -> None:
        """Raise QemuFailure where a side came to no end by itself."""
        if self.hangs:
            words = f"the destination hangs: {_END_SECONDS:g} s after its connection had ended it had neither failed nor exited"
            raise QemuFailure(words, where=self.destination.side)

    def _sent(self, status: str) -> None:
        self.source.wait_event("MIGRATION", self.deadline, since=self.source.migration_began, status=status)

    def _hurry(self) -> None:
        if self.source.ending() is None:
            migration.set_parameters(self.source, **{"max_postcopy_bandwidth" if self.postcopy else "max_bandwidth": 0})

    def _held(self, *, asked: bool) -> None:
        """Wait until the stream stands at its mark and, if asked, the destination has read all that came before it."""

        def reached() -> bool | None:
            if self.line.reached:
                return True
            for side in (self.source, self.destination):
                side.check_alive()
            return None

        self.source.until(reached, self.deadline, "the stream to reach its mark")
        if asked:
            # It begins when all of its channels have come; one of multifd may still be on its way to us.
            self.destination.wait_event("MIGRATION", self.deadline, since=self.destination.migration_began, status="active")
            # Answered by the loop that reads the stream, in one of its rounds; in the next, all that had come has been read.
            for _ in range(2):
                self.destination.status()

    def _end_of(self, side: Machine, deadline: Deadline) -> str:
        def ended() -> str | None:
            if side.process.poll() is not None:
                return "gone"
            now = migration.status(side)
            return now if now in (_ENDS if side is self.source else _ENDS_OF_DESTINATION) else None

        return side.until(ended, deadline, f"the {side.side}'s part of the migration to end")
