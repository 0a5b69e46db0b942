"""What is walked with: guests of QEMU, in instants that last for as long as it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.errors import Unsupported
from harness.guest import timers, witness
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.plugin.trial import Trial
from harness.qemu import migration
from harness.qemu.machine import Machine

# By name: the payload, and what it is asked for.
_TIMERS = {"by": "cval"}
# Of each level, one that QEMU does not lose (known issue qemu-el2-timers-lost).
_TIMER = {"el1": "cntv", "nvhe": "cntp", "vhe": "cntp_el02"}
GUESTS: Mapping[str, tuple[str, Mapping[str, object]]] = {
    "memory": ("memory", {}),
    "registers": ("registers", {"sets": "gpr,fp,sys", "say": "none"}),
    "gic": ("gic", {}),
    "expired-masked": ("timers", {**_TIMERS, "instant": "expired-masked"}),
    "disabled": ("timers", {**_TIMERS, "instant": "disabled"}),
    "armed-far": ("timers", {**_TIMERS, "instant": "armed-far"}),
}
# Not those that begin again, nor those that are for /dev/kvm; and those that are several hops themselves are made by walking.
WAYS: Mapping[str, Lifecycle] = {
    name: each
    for name, each in LIFECYCLES.items()
    if each.interrupts and not each.restarts and not each.needs_kvm and name not in ("twice", "ping-pong")
}


class Led:
    """Guests of a trial, one after the other. What this QEMU or this computer cannot do is left out, with the reason."""

    def __init__(self, trial: Trial, ways: Mapping[str, Lifecycle] = WAYS) -> None:
        self.guests: Sequence[str] = tuple(GUESTS)
        self.lifecycles: Sequence[str] = tuple(ways)
        self.left_out: dict[str, str] = {}
        self._ways = ways
        self._trial = trial
        self._guest: Guest | None = None

    def boot(self, guest: str) -> None:
        """Begin anew with a guest."""
        payload, asked = GUESTS[guest]
        self._trial.begin_again()
        # Nothing that it waits for is ahead, so it need not know for how long it is led.
        self._trial.trying = LIFECYCLES["pause"]
        more: dict[str, object] = {}
        if payload == "timers":
            more = {"timer": _TIMER[self._trial.params["level"]]}
            more |= timers.times(str(asked["instant"]), self._trial.ahead_us)
        self._guest = self._trial.boot(payload, **asked, **more)

    def lead(self, lifecycle: str) -> None:
        """Lead it through a lifecycle and compare what is seen of it."""
        assert self._guest is not None
        assert isinstance(self._guest.machine, Machine)
        migration.forget(self._guest.machine)
        self._trial.trying = self._ways[lifecycle]
        try:
            self._trial.lead(self._guest)
        except Unsupported as error:
            self.left_out[lifecycle] = str(error)
            self._trial.found["left_out"] = ", ".join(sorted(self.left_out))
        self._trial.raise_differences()

    def judge(self) -> None:
        """Let it go on and judge what it says."""
        guest = self._guest
        assert guest is not None
        self._trial.go(guest)
        if guest.name == "timers":
            timers.hear_out(guest)
            self._trial.count(interrupts=timers.judge(guest, interrupted=True), registers=timers.compared(guest))
        else:
            witness.hear_out(guest)
            self._trial.count(interrupts=witness.judge(guest, interrupted=True), registers=witness.evidence(guest))
        guest.finish()
