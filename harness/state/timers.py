"""The timer oracle: from what a guest read in its timers' registers to what is wrong with them. Pure.

The Arm ARM (D12.2, D24.8 CNTP_CTL_EL0 and its relatives) says when the condition of a timer is met: CTL.ENABLE is 1 and the
counter has reached CVAL; ISTATUS shows it and, unless IMASK is set, the interrupt is asserted. All judgement is made on the
guest's own counter, so that a slow computer is never mistaken for a lost interrupt.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Literal

ENABLE, IMASK, ISTATUS = 1, 2, 4

# The names as scenarios write them, with the registers and the private interrupt (SBSA's numbers, as QEMU's virt and KVM use
# them: hw/arm/bsa.h, Documentation/devicetree/bindings/timer).
REGISTERS = {
    "cntp": ("CNTP_CTL_EL0", 30),
    "cntv": ("CNTV_CTL_EL0", 27),
    "cnthp": ("CNTHP_CTL_EL2", 26),
    "cnthv": ("CNTHV_CTL_EL2", 28),
    "cntp_el02": ("CNTP_CTL_EL02", 30),
    "cntv_el02": ("CNTV_CTL_EL02", 27),
}

# How many interrupts each vCPU takes in all, by instant; `periodic` takes as many as it was told.
EXPECTED = {"armed": 1, "armed-far": 0, "expired-masked": 1, "pending": 1, "active": 2, "disabled": 1}

# An interrupt later than this on the guest's counter is late. QEMU under TCG raises it from a host timer, which a loaded
# computer runs late; half a second is far above what was seen and far below "never".
BOUND_SECONDS = 0.5

# So far apart may a counter and this computer's clock be, in s: what reading one after the other takes, with much to spare.
PACE_SECONDS = 0.1

Kind = Literal["lost", "surplus", "early", "late", "istatus", "changed", "backwards", "pace", "wrong"]


@dataclass(frozen=True)
class Reading:
    """What one vCPU read at one moment: at `arranged`, in a handler (`irq`), or when asked (`timer`). Counter ticks."""

    kind: Literal["arranged", "irq", "timer"]
    cpu: int
    cval: int
    cnt: int
    ctl: int
    # Interrupts of this timer on this vCPU so far; in an `irq` its own number.
    n: int = 0
    intid: int = 0
    # Heard before the guest was told that the lifecycle was over.
    before_go: bool = False
    # At the same moment, a counter that stands still whenever the machine does. QEMU under KVM holds CNTVCT while it is
    # stopped (target/arm/kvm.c, kvm-no-adjvtime) and lets CNTPCT go on. None: `cnt` is that counter itself.
    run: int | None = None
    # The timer's counter when the guest ended what had held the interrupt back; 0 before, or where it held nothing back.
    since: int = 0
    # On this computer's clock, in s: when the reading was heard, and of a `timer` when the guest was asked for it.
    heard: float = 0.0
    asked: float | None = None

    @property
    def lead(self) -> int:
        """How far the timer's counter is ahead of the one that stands still with the machine."""
        return 0 if self.run is None else self.cnt - self.run


@dataclass(frozen=True)
class Arrangement:
    """What was asked of the guest. `freq` in Hz, `ticks` for `periodic`."""

    timer: str
    instant: str
    by: str
    freq: int
    vcpus: int
    ticks: int = 0

    @property
    def expected(self) -> int:
        """How many interrupts each vCPU has to take."""
        return self.ticks if self.instant == "periodic" else EXPECTED[self.instant]

    @property
    def held_back(self) -> bool:
        """Whether the guest itself keeps the interrupt from coming until the lifecycle is over."""
        return self.instant in ("expired-masked", "pending", "active", "disabled")

    @property
    def register(self) -> str:
        """The control register's name."""
        return REGISTERS[self.timer][0]

    def milliseconds(self, ticks: int) -> str:
        """Return counter ticks as a text in ms."""
        return f"{ticks * 1000 / self.freq:.1f} ms"


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, on one vCPU."""

    kind: Kind
    cpu: int
    text: str


def find(asked: Arrangement, readings: Sequence[Reading]) -> list[Finding]:
    """Return everything that is wrong, what is worst first. An empty list says that each interrupt came as it must."""
    findings: list[Finding] = []
    for cpu in range(asked.vcpus):
        own = [reading for reading in readings if reading.cpu == cpu]
        findings += _arranged(asked, own, cpu)
        findings += _count(asked, own, cpu)
        findings += _each_interrupt(asked, own, cpu)
        findings += _survived(asked, own, cpu)
        findings += _counter(asked, own, cpu)
        findings += _pace(asked, own, cpu)
    order: tuple[Kind, ...] = ("lost", "early", "surplus", "late", "istatus", "backwards", "pace", "changed", "wrong")
    return sorted(findings, key=lambda finding: order.index(finding.kind))


def words(findings: Iterable[Finding]) -> str:
    """Return what `find` has found in words: the first of each kind, and how many more there are of that kind.

    An excuse for one kind must not cover another.
    """
    kinds = [list(alike) for _, alike in groupby(findings, key=lambda finding: finding.kind)]
    return "; ".join(first.text + (f" (and {len(more)} more)" if more else "") for first, *more in kinds)


def lost(asked: Arrangement, readings: Iterable[Reading]) -> bool:
    """Say whether the newest reading of some vCPU proves by its own counter that an interrupt will not come any more."""
    readings = list(readings)
    newest = {reading.cpu: reading for reading in readings if reading.kind == "timer"}
    bound = BOUND_SECONDS * asked.freq
    return any(
        reading.n < asked.expected and (reading.since or not asked.held_back) and _late(readings, reading) > bound
        for reading in newest.values()
    )


def instant_missed(asked: Arrangement, readings: Iterable[Reading]) -> float | None:
    """Return by how much the counter had gone on, in seconds, when an interrupt came that was to come after the lifecycle.

    Counted from the arrangement, without the time in which the machine stood still. None where there is none: the instant
    lasted. One whose CVAL was reached while the machine stood still came in mid-lifecycle and no sooner.
    """
    readings = list(readings)
    early = [
        reading
        for reading in readings
        if reading.kind == "irq" and reading.before_go and reading.cnt - _stood(readings, reading) >= reading.cval
    ]
    last = {"armed": 0, "periodic": asked.ticks - 1}.get(asked.instant)
    missed = [reading for reading in early if last is not None and reading.n > last]
    arranged = {reading.cpu: reading.cnt for reading in readings if reading.kind == "arranged"}
    gone = [reading.cnt - _stood(readings, reading) - arranged.get(reading.cpu, reading.cnt) for reading in missed]
    return max(gone) / asked.freq if gone else None


def overtaken(asked: Arrangement, readings: Iterable[Reading]) -> bool:
    """Say whether a vCPU had taken its last interrupt before it could say what it has arranged."""
    said: set[int] = set()
    for reading in readings:
        if reading.kind == "arranged":
            said.add(reading.cpu)
        elif reading.kind == "irq" and reading.n == asked.expected and reading.cpu not in said:
            return True
    return False


def latencies(asked: Arrangement, readings: Iterable[Reading]) -> list[int]:
    """Return for each interrupt how many ticks it came after the moment from which the guest could take it."""
    readings = list(readings)
    return [
        _late(readings, reading)
        for cpu in range(asked.vcpus)
        for reading in readings
        if reading.cpu == cpu and reading.kind == "irq"
    ]


def _late(readings: Sequence[Reading], reading: Reading) -> int:
    """Return by how many ticks the counter has passed CVAL, and the end of what held the interrupt back.

    Nobody can take an interrupt while the machine is stopped. What the guest held back itself (masked, disabled) can come once
    it ends that, and it may do much before: tell how things stand, wait for another vCPU.
    """
    stood = _stood(readings, reading)
    return reading.cnt - stood - max(reading.cval, reading.since - stood)


def _stood(readings: Sequence[Reading], reading: Reading) -> int:
    """Return by how much the timer's counter has gone on since the arrangement while the machine was stopped."""
    arranged = next((other for other in readings if other.kind == "arranged" and other.cpu == reading.cpu), reading)
    return max(0, reading.lead - arranged.lead)


def _arranged(asked: Arrangement, own: Sequence[Reading], cpu: int) -> list[Finding]:
    """The guest must have been in the instant that it was asked for, by its own reading."""
    arranged = [reading for reading in own if reading.kind == "arranged"]
    if len(arranged) != 1:
        return [Finding("wrong", cpu, f"{len(arranged)} arrangements on vCPU {cpu}, expected 1")]
    reading = arranged[0]
    passed = reading.cnt >= reading.cval
    wanted = {
        "armed": (ENABLE, False),
        "armed-far": (ENABLE, False),
        "periodic": (ENABLE, None),
        "expired-masked": (ENABLE | IMASK, True),
        "pending": (ENABLE, True),
        "active": (ENABLE, True),
        "disabled": (0, None),
    }[asked.instant]
    if reading.ctl & (ENABLE | IMASK) != wanted[0] or (wanted[1] is not None and passed is not wanted[1]):
        what = f"{asked.register} {reading.ctl:#x}, the counter {'has' if passed else 'has not'} reached CVAL"
        return [Finding("wrong", cpu, f"the instant was not arranged on vCPU {cpu}: {what}")]
    return []


def _count(asked: Arrangement, own: Sequence[Reading], cpu: int) -> list[Finding]:
    came = [reading.n for reading in own if reading.kind == "irq"]
    expected = asked.expected
    intid = REGISTERS[asked.timer][1]
    if came == list(range(1, expected + 1)):
        return []
    if len(set(came)) < len(came) or len(came) > expected:
        return [Finding("surplus", cpu, f"PPI {intid} came {len(came)} times on vCPU {cpu}, expected {expected}")]
    text = f"interrupt lost on vCPU {cpu}: PPI {intid} came {len(came)} times, expected {expected}"
    if last := next((reading for reading in reversed(own) if reading.kind == "timer"), None):
        if last.cnt >= last.cval:
            text += f"; the counter has passed CVAL by {asked.milliseconds(last.cnt - last.cval)}"
        status = "is set" if last.ctl & ISTATUS else "is missing"
        text += f", {asked.register}.ISTATUS {status} (CTL {last.ctl:#x})"
    return [Finding("lost", cpu, text)]


def _each_interrupt(asked: Arrangement, own: Sequence[Reading], cpu: int) -> list[Finding]:
    findings: list[Finding] = []
    bound = int(BOUND_SECONDS * asked.freq)
    for reading in own:
        if reading.kind != "irq":
            continue
        where, late = f"interrupt {reading.n} on vCPU {cpu}", _late(own, reading)
        if reading.intid != REGISTERS[asked.timer][1]:
            findings.append(Finding("wrong", cpu, f"{where} is INTID {reading.intid}"))
        if reading.cnt < reading.cval:
            ahead = asked.milliseconds(reading.cval - reading.cnt)
            findings.append(Finding("early", cpu, f"{where} came {ahead} before CVAL"))
        if late > bound:
            findings.append(Finding("late", cpu, f"{where} came {asked.milliseconds(late)} late"))
        if reading.ctl != ENABLE | ISTATUS:
            missing = f"{asked.register}.ISTATUS is missing: " if not reading.ctl & ISTATUS else ""
            what = f"{missing}{asked.register} reads {reading.ctl:#x} in the handler, not 0x5"
            findings.append(Finding("istatus", cpu, f"{where}: {what}"))
    return findings


def _survived(asked: Arrangement, own: Sequence[Reading], cpu: int) -> list[Finding]:
    """CTL and CVAL after the lifecycle are what they were before, as long as no handler has rewritten them."""
    arranged = next((reading for reading in own if reading.kind == "arranged"), None)
    after = next((reading for reading in own if reading.kind == "timer"), None)
    if arranged is None or after is None:
        return [Finding("wrong", cpu, f"vCPU {cpu} did not say what became of its timer")]
    if any(reading.n > _taken_before(asked) for reading in own[: own.index(after)] if reading.kind == "irq"):
        return []
    findings = []
    if after.cval != arranged.cval:
        findings.append(Finding("changed", cpu, f"CVAL on vCPU {cpu} was {arranged.cval:#x} and is {after.cval:#x}"))
    if (after.ctl ^ arranged.ctl) & (ENABLE | IMASK):
        findings.append(Finding("changed", cpu, f"{asked.register} on vCPU {cpu} was {arranged.ctl:#x}, is {after.ctl:#x}"))
    passed = after.cnt - after.cval - _stood(own, after)
    if after.ctl & ENABLE and not after.ctl & ISTATUS and passed > BOUND_SECONDS * asked.freq:
        what = f"{asked.register}.ISTATUS is missing {asked.milliseconds(passed)} after CVAL"
        findings.append(Finding("istatus", cpu, f"{what} on vCPU {cpu}"))
    return findings


def _taken_before(asked: Arrangement) -> int:
    """How many interrupts a vCPU has taken when it asks for the lifecycle."""
    return {"active": 1, "periodic": 2}.get(asked.instant, 0)


def _counter(asked: Arrangement, own: Sequence[Reading], cpu: int) -> list[Finding]:
    for earlier, later in pairwise(own):
        if later.cnt < earlier.cnt:
            back = asked.milliseconds(earlier.cnt - later.cnt)
            return [Finding("backwards", cpu, f"the counter of vCPU {cpu} went back by {back}")]
    return []


def _pace(asked: Arrangement, own: Sequence[Reading], cpu: int) -> list[Finding]:
    """The counter goes on as this computer's clock does, from the first answer after the lifecycle on.

    A reading was made after the guest had been asked for it and before it was heard, so however busy the computer is, no less
    time lies between two of them than from hearing the first to asking for the second, and no more than the other way round.
    """
    answers = [(reading, reading.asked) for reading in own if reading.asked is not None]
    for later, then in answers[1:]:
        first, before = answers[0]
        gone = (later.cnt - first.cnt) / asked.freq
        least, most = then - first.heard, later.heard - before
        if not least - PACE_SECONDS <= gone <= most + PACE_SECONDS:
            took = least if gone < least else most
            return [Finding("pace", cpu, f"the counter of vCPU {cpu} went on by {gone * 1000:.1f} ms in {took * 1000:.1f} ms")]
    return []
