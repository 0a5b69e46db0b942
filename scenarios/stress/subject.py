"""What is walked with: guests of QEMU, in instants that last for as long as it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import StateDiffers
from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES
from harness.plugin.trial import Trial
from harness.qemu import migration
from harness.qemu.machine import Machine

# By name: the payload, and what it is asked for.
_TIMERS = {"by": "cval", "timer": "cntv"}
GUESTS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "memory": ("memory", {}),
    "registers": ("registers", {"sets": "gpr,fp,sys", "say": "none"}),
    "gic": ("gic", {}),
    "expired-masked": ("timers", {**_TIMERS, "instant": "expired-masked"}),
    "disabled": ("timers", {**_TIMERS, "instant": "disabled"}),
    "armed-far": ("timers", {**_TIMERS, "instant": "armed-far"}),
}
# Not those that begin again, nor those that are for /dev/kvm; and those that are several hops themselves are made by walking.
LEADING = tuple(
    name
    for name, each in LIFECYCLES.items()
    if each.interrupts and not each.restarts and not each.needs_kvm and name not in ("twice", "ping-pong")
)


class Led:
    """Guests of a trial, one after the other."""

    guests: Sequence[str] = tuple(GUESTS)
    lifecycles: Sequence[str] = LEADING

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._guest: Guest | None = None

    def boot(self, guest: str) -> None:
        """Begin anew with a guest."""
        payload, asked = GUESTS[guest]
        self._trial.begin_again()
        # Nothing that it waits for is ahead, so it need not know for how long it is led.
        self._trial.trying = LIFECYCLES["pause"]
        times = timers.times(str(asked["instant"]), self._trial.ahead_us) if payload == "timers" else {}
        self._guest = self._trial.boot(payload, **asked, **times)

    def lead(self, lifecycle: str) -> None:
        """Lead it through a lifecycle and compare what is seen of it."""
        assert self._guest is not None
        assert isinstance(self._guest.machine, Machine)
        migration.forget(self._guest.machine)
        self._trial.trying = LIFECYCLES[lifecycle]
        self._trial.lead(self._guest)
        if self._trial.differences:
            self._trial.conclude()
            raise StateDiffers("registers differ")  # conclude has the words

    def judge(self) -> None:
        """Let it go on and judge what it says."""
        guest = self._guest
        assert guest is not None
        guest.go()
        if guest.name == "timers":
            timers.hear_out(guest)
            self._trial.count(interrupts=timers.judge(guest, interrupted=True), registers=timers.compared(guest))
        else:
            witness.hear_out(guest)
            self._trial.count(interrupts=witness.judge(guest, interrupted=True), registers=witness.evidence(guest))
        guest.finish()
