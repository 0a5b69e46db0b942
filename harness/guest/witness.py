"""The guest as a witness: hearing any payload out, and what its own words prove.

For payloads that check themselves (`gic`, `memory`, `nested`, `registers`): every check held, every interrupt that was
announced in `arranged` came, none before its CVAL or long after it, the counters never went back, and the values that the
guest says it holds are those that are seen from outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from harness.deadline import Deadline
from harness.errors import (
    DeadlineExpired,
    GuestSilent,
    InstantMissed,
    InterruptLate,
    NoEvidence,
    StateDiffers,
    Suspect,
    TimerFailure,
)
from harness.guest.payload import ANSWER_SECONDS, Guest
from harness.guest.protocol import Message
from harness.state import sysregs
from harness.state.model import State
from harness.state.rules import DEFAULT, Kind, Rule, rule_for
from harness.state.timers import BOUND_SECONDS, ENABLE, IMASK, ISTATUS, REGISTERS

# How long a guest may be silent before it is asked how things stand.
SILENCE_SECONDS = 0.5
_LIMIT_SECONDS = 60.0
_ANSWERS = ("timer", "beat")


def hear_out(guest: Guest) -> None:
    """Hear the guest until it ends; tell it to end when it answers, but gets no further with what it waits for.

    A vCPU that answers is not starved, so no progress between two answers of each is the guest's state and not the computer's
    load; where its timers say that CVAL is still ahead, it is waited for.

    Raises GuestFailure, QemuFailure, and GuestSilent when a vCPU does not even answer.
    """
    limit = Deadline.after(_LIMIT_SECONDS)
    progress: list[object] = []
    while not guest.of_kind("end"):
        try:
            guest.hear(limit.sooner(SILENCE_SECONDS), "the guest's next word")
        except DeadlineExpired:
            progress.append(_progress(guest))
            if limit.expired or (progress[-3:-1] == progress[-2:] and len(progress) > 2 and not _waits(guest)):
                guest.end()
                guest.hear_until("end", Deadline.after(ANSWER_SECONDS))
            else:
                _ask(guest)


def judge(guest: Guest, *, interrupted: bool) -> int:
    """Return how many interrupts came as they had to.

    `interrupted` is False where nothing was done to the guest, so that no interrupt can have come too soon for it.

    Raises InstantMissed, TimerFailure for an interrupt that is missing, surplus, early, or a counter that went back, the
    innermost level first; GuestFailure for the guest's own checks; NoEvidence where it made none; under TCG InterruptLate.
    """
    if interrupted:
        _held_back(guest)
    for level in (2, 1):
        _interrupts(guest, level)
    guest.checks()
    if guest.machine.spec.accel == "tcg":  # under KVM, counters may go on where the machine stands still
        _soon_enough(guest)
    return len(guest.of_kind("irq"))


def cross_check(guest: Guest, state: State, rules: Sequence[Rule] = ()) -> int:
    """Compare the guest's `reg` lines with what was seen from outside; return how many registers both show.

    `rules` name registers that the outside shows differently and why; that another host does not list one is no such reason.
    Raises StateDiffers naming the register with both values.
    """
    compared = 0
    rules = [rule for rule in rules if rule.view in ("", state.view) and rule.kind is not Kind.ONE_SIDED]
    for line in guest.of_kind("reg"):
        name = f"cpu{line.number('cpu')}/{line.word('name').upper()}"
        rule = rule_for(name, rules)
        if name in state.registers and (rule is DEFAULT or rule.fields):
            compared += 1
            beside = sum(field.mask for field in sysregs.fields_of(line.word("name").upper()) if field.name in rule.fields)
            seen = state.registers[name]
            if seen != line.number("value") and not (isinstance(seen, int) and not (seen ^ line.number("value")) & ~beside):
                raise StateDiffers(f"{name} is {line.number('value'):#x} by the guest and {seen!r} by the {state.view} view")
    return compared


def as_written(guest: Guest, written: Mapping[str, int]) -> int:
    """Say that the guest reads registers as they were written from outside; return how many values that are.

    Raises StateDiffers naming register, vCPU and both values; NoEvidence where the guest told of none of them.
    """
    told = 0
    for line in guest.of_kind("reg"):
        name, value = line.word("name").upper(), line.number("value")
        if name in written:
            told += 1
            if value != written[name]:
                said = f"{name} of vCPU {line.number('cpu')} is {value:#x} to the guest, written was {written[name]:#x}"
                raise StateDiffers(said, suspect=Suspect.KERNEL_L0)
    if told != len(written) * guest.hello.number("vcpus"):
        raise NoEvidence(f"the guest told of {told} registers, not {len(written)} of each vCPU", where=guest.name)
    return told


def due_when_stopped(guest: Guest) -> float | None:
    """Return after how long, in seconds, a timer was due at least that was still ahead when it was arranged.

    By what was seen of the stopped guest: its interrupt was pending then, and nobody had taken it yet. None where none was.
    """
    for line in guest.of_kind("arranged"):
        if "cval" not in line.values:
            continue
        left = line.number("cval") - line.number("cnt")
        # What comes again and again is ahead all the time, but for the moment until it is handled.
        if (left > 0 and line.number("ctl") == ENABLE) or ("instant" in line.values and line.word("instant") == "periodic"):
            control = f"cpu{line.number('cpu')}/{REGISTERS[line.word('timer')][0]}"
            values = [state.registers.get(control) for state in guest.stopped]
            if any(isinstance(value, int) and value & (ENABLE | IMASK | ISTATUS) == ENABLE | ISTATUS for value in values):
                return max(0, left) / guest.hello.number("freq")
    return None


def _held_back(guest: Guest) -> None:
    """Raise where an interrupt came before the guest was told to go on, or was about to.

    InstantMissed where its time had come; TimerFailure where no timer is behind it: the guest had masked it.
    """
    if (due := due_when_stopped(guest)) is not None:
        raise InstantMissed(f"an interrupt was pending when the guest was stopped, {due:.2f} s on or more", elapsed=due)
    for message in _since_now(guest):
        if message.kind != "irq":
            continue
        if "cval" not in message.values:
            raise TimerFailure(f"INTID {message.number('intid')} came on vCPU {message.number('cpu')} while it was held back")
        if message.number("cnt") >= message.number("cval"):
            same = [line for line in guest.of_kind("arranged") if _key(line) == _key(message) and "cnt" in line.values]
            since = (same[-1] if same else message).number("cnt")
            elapsed = (message.number("cnt") - since) / guest.hello.number("freq")
            raise InstantMissed(f"an interrupt came before the lifecycle was over, after {elapsed:.2f} s", elapsed=elapsed)


def _since_now(guest: Guest) -> list[Message]:
    """Return what the guest said between its (last) `now` and being told to go on."""
    before = guest.messages[: guest.went]
    last = max((index for index, message in enumerate(before) if message.kind == "now"), default=len(before))
    return before[last:]


def _ask(guest: Guest) -> None:
    """Have the guest say how things stand, and hear each vCPU that has arranged something answer, or what is no answer."""
    heard = len(guest.messages)
    waited_for = {message.number("cpu") for message in guest.of_kind("arranged")}
    guest.ask()
    deadline = Deadline.after(ANSWER_SECONDS)
    try:
        while (message := guest.hear(deadline, "an answer of the guest")).kind in _ANSWERS:
            waited_for.discard(message.number("cpu"))
            if not waited_for:
                return
    except DeadlineExpired as error:
        last = guest.messages[heard - 1].kind if heard else "nothing"
        silent = f"vCPU {min(waited_for)}" if len(guest.messages) > heard else "the guest"
        raise GuestSilent(f"{silent} does not answer any more; its last line was `{last}`", where=error.where) from error


def _progress(guest: Guest) -> object:
    """Return what changes while a guest gets on: interrupts taken and, where no timer says more, the newest heartbeats.

    The heart of a guest that waits for a lost interrupt beats for ever.
    """
    hearts = [] if guest.of_kind("timer") else guest.of_kind("beat")
    beats = {message.number("cpu"): message.number("n") for message in hearts}
    return len(guest.of_kind("irq")), tuple(sorted(beats.items())), len([m for m in guest.messages if m.kind not in _ANSWERS])


def _waits(guest: Guest) -> bool:
    """Say whether some timer of the guest is still ahead by its own counter, or has only just passed."""
    newest = {_key(message): message for message in guest.of_kind("timer")}
    bound = BOUND_SECONDS * guest.hello.number("freq")
    # A timer further ahead than a minute is not waited for.
    return any(-120 * bound < line.number("cnt") - line.number("cval") < bound for line in newest.values())


def _key(message: Message) -> tuple[int, int]:
    return message.number("cpu"), _level(message)


def _level(message: Message) -> int:
    return message.number("level") if "level" in message.values else 1


def _interrupts(guest: Guest, level: int) -> None:
    where = f"level {level} " if any("level" in message.values for message in guest.messages) else ""
    heard = [message for message in guest.messages if message.kind in ("arranged", "irq", "timer") and _level(message) == level]
    for cpu in sorted({message.number("cpu") for message in heard}):
        own = [message for message in heard if message.number("cpu") == cpu]
        announced, came = _counted(own)
        if came < announced:
            lost = f"interrupts lost: {where}vCPU {cpu} took {came} of {announced}{_newest_timer(guest, own)}"
            raise TimerFailure(guest.found(lost))
        if came > announced:
            raise TimerFailure(guest.found(f"surplus interrupts: {where}vCPU {cpu} took {came} instead of {announced}"))
        _in_time([message for message in own if "cval" in message.values], f"{where}vCPU {cpu}")


def _counted(own: list[Message]) -> tuple[int, int]:
    """Return how many interrupts one vCPU announced and took since; what it took before the first was part of arranging."""
    announcements = [index for index, message in enumerate(own) if "irqs" in message.values]
    if not announcements:
        came = len([message for message in own if message.kind == "irq"])
        return came, came
    announced = sum(own[index].number("irqs") for index in announcements)
    return announced, len([message for message in own[announcements[0] :] if message.kind == "irq"])


def _in_time(timed: list[Message], where: str) -> None:
    for message in timed:
        if message.kind == "irq" and message.number("cnt") < message.number("cval"):
            raise TimerFailure(f"interrupt {message.number('n')} of {where} came before CVAL")
    # What was arranged may have been read earlier than it is said.
    for earlier, later in pairwise(message for message in timed if message.kind != "arranged"):
        if later.number("cnt") < earlier.number("cnt"):
            raise TimerFailure(f"the counter of {where} went back from {earlier.number('cnt'):#x} to {later.number('cnt'):#x}")


def _soon_enough(guest: Guest) -> None:
    """Raise InterruptLate with the interrupt that came latest, where that is too late."""
    freq = guest.hello.number("freq")
    ticks, irq = max(_delays(guest), key=lambda delay: delay[0], default=(0, None))
    if irq is not None and ticks > BOUND_SECONDS * freq:
        where = f"level {_level(irq)} vCPU {irq.number('cpu')}" if "level" in irq.values else f"vCPU {irq.number('cpu')}"
        raise InterruptLate(
            f"interrupt {irq.number('n')} of {where} came {ticks * 1000 / freq:.1f} ms late", seconds=ticks / freq
        )


def _delays(guest: Guest) -> Iterator[tuple[int, Message]]:
    """Give each interrupt of a timer since it was arranged, with how many ticks after CVAL it came.

    One that was due when it was arranged is held back by the guest until it is told to go on: it counts from what the guest
    then says of that timer first, and where it comes before that, nothing is known.
    """
    arranged: dict[tuple[int, int], Message] = {}
    told: dict[tuple[int, int], Message] = {}
    for index, message in enumerate(guest.messages):
        if "cval" not in message.values:
            continue
        if message.kind == "arranged":
            arranged[_key(message)] = message
        elif message.kind == "timer" and index >= guest.went:
            told.setdefault(_key(message), message)
        elif message.kind == "irq" and (first := arranged.get(_key(message))):
            cnt, cval = message.number("cnt"), message.number("cval")
            was_due = first.number("cnt") >= first.number("cval") == cval
            if not was_due:
                yield cnt - cval, message
            elif _key(message) in told:
                yield cnt - told[_key(message)].number("cnt"), message


def _newest_timer(guest: Guest, own: list[Message]) -> str:
    """Return in words how a timer stands from which interrupts are missing."""
    line = next((message for message in reversed(own) if message.kind == "timer"), None)
    if line is None:
        return ""
    passed = (line.number("cnt") - line.number("cval")) * 1000 / guest.hello.number("freq")
    status = "set" if line.number("ctl") & 4 else "missing"
    return f"; {line.word('timer').upper()}: the counter has passed CVAL by {passed:.1f} ms, ISTATUS is {status}"


def evidence(guest: Guest) -> int:
    """Return how many values of its own the guest compared. Raises as `Guest.checks`, NoEvidence where none."""
    if not (checks := guest.checks()):
        raise NoEvidence("the guest compared nothing", where=guest.name)
    return checks
