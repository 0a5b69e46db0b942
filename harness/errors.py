"""One tree for everything that can go wrong, each leaf with the verdict and the suspect it means.

An error says *what* happened, *where*, and *what to do*; whoever catches it at the top prints one line and no traceback.
The tree is short on purpose: a new class is worth it only when a caller acts differently on it.

    HarnessError
    ├── UsageError            the user's mistake: an option, a file, a TOML key (exit 2)
    ├── MissingError          something that set-up should have provided is not on disk
    ├── HarnessBug            the harness broke a promise to itself
    ├── NoEvidence            a verdict was asked for although nothing was said, counted or compared
    ├── InstantMissed         the guest was not in the instant any more when the lifecycle was over
    ├── Unsupported           this QEMU, CPU or platform cannot do it; skip, with the reason
    ├── Blocked               the platform refuses by design, in its own words
    └── Failure               the system under test did wrong
        ├── GuestFailure      the guest's own checks, a guest panic, a garbled line
        ├── QemuFailure       QEMU refused, crashed, or lost the guest
        ├── TimerFailure      an interrupt lost, early, late or twice
        │   └── InterruptLate late, and nothing else is wrong
        ├── StateDiffers      a register that must survive did not
        ├── KernelFailure     a kernel under test complained in its log
        ├── HostFailure       the host was lost, or could not do what every host can
        └── DeadlineExpired   nothing happened in time
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Suspect(StrEnum):
    """Whose fault a failure is, as far as is known."""

    GUEST = "guest"
    QEMU = "QEMU"
    KERNEL_L0 = "kernel (L0)"
    KERNEL_L1 = "kernel (L1)"
    HOST = "host"
    HARNESS = "harness"
    CONFIGURATION = "configuration"


class Verdict(StrEnum):
    """The closed list of verdicts of a case."""

    PASS = "pass"
    FAIL = "fail"
    ERROR = "error"
    SKIP = "skip"
    KNOWN = "known"
    FIXED = "fixed"
    BLOCKED = "blocked"


class HarnessError(Exception):
    """Base of all errors the harness raises on purpose.

    `what` is one sentence; `where` names the file, machine or command; `remedy` says what to do about it.
    """

    verdict: ClassVar[Verdict] = Verdict.ERROR
    default_suspect: ClassVar[Suspect] = Suspect.HARNESS

    def __init__(self, what: str, *, where: str = "", remedy: str = "", suspect: Suspect | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy
        self.suspect = suspect or self.default_suspect

    def __str__(self) -> str:
        """Return the one line a user reads."""
        line = f"{self.where}: {self.what}" if self.where else self.what
        return f"{line}; {self.remedy}" if self.remedy else line


class UsageError(HarnessError):
    """The user asked for something that cannot be meant: exit status 2."""

    default_suspect = Suspect.CONFIGURATION


class MissingError(HarnessError):
    """Something that set-up provides is not there; the remedy names the command that brings it."""

    default_suspect = Suspect.CONFIGURATION


class HarnessBug(HarnessError):
    """The harness contradicts itself."""


class NoEvidence(HarnessError):
    """A scenario ended without a word from a guest, an interrupt counted or a register compared."""


class InstantMissed(HarnessError):
    """The situation that the guest arranged was over before the lifecycle was; nothing was proven.

    `elapsed` is how far the guest's counter had gone on by then, in seconds, since a moment after its machine was started.
    """

    default_suspect = Suspect.HOST

    def __init__(self, what: str, *, elapsed: float) -> None:
        super().__init__(what)
        self.elapsed = elapsed


class Unsupported(HarnessError):
    """This combination cannot be tried here; the text is the reason of the skip."""

    verdict = Verdict.SKIP
    default_suspect = Suspect.CONFIGURATION


class Blocked(HarnessError):
    """The platform refuses the lifecycle by design; the text quotes it."""

    verdict = Verdict.BLOCKED
    default_suspect = Suspect.QEMU


class Failure(HarnessError):
    """The system under test did wrong."""

    verdict = Verdict.FAIL
    default_suspect = Suspect.QEMU


class GuestFailure(Failure):
    """The guest reported a failed check, panicked, or wrote something that is not the protocol."""

    default_suspect = Suspect.GUEST


class QemuFailure(Failure):
    """QEMU crashed, refused the stream, or both sides together lost the guest."""


class TimerFailure(Failure):
    """A timer interrupt was lost, early, late, or came twice."""


class InterruptLate(TimerFailure):
    """Each interrupt came once, and too late by up to `seconds` of the guest's counter; nothing else is wrong."""

    def __init__(self, what: str, *, seconds: float) -> None:
        super().__init__(what)
        self.seconds = seconds


class StateDiffers(Failure):
    """At least one register or field that must survive did not."""


class KernelFailure(Failure):
    """A kernel under test complained in its log: oops, warning, lockup, stall, KVM error."""

    default_suspect = Suspect.KERNEL_L0


class HostFailure(Failure):
    """The host was lost (connection, power, a panic of its kernel), or could not do what every host can (a full disk)."""

    default_suspect = Suspect.HOST


class DeadlineExpired(Failure):
    """Nothing of what was waited for happened in time."""


class GuestSilent(DeadlineExpired):
    """The guest did not say in time what was waited for."""
