"""A guest that is carried to the destination through /dev/kvm, whatever becomes of it: what was forecast, and what came."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.errors import KernelFailure, Unsupported
from harness.guest.payload import Guest
from harness.kvm.machine import FeaturesLacking, KvmMachine, RegistersRefused
from harness.lifecycle.passage import KvmPassage
from harness.plugin.trial import Trial
from harness.preflight.facts import HostFacts, parts
from harness.preflight.forecast import VM, Forecast, forecast
from harness.preflight.survey import ask
from harness.qemu.spec import Start


@dataclass(frozen=True)
class Outcome:
    """What became of a guest: what kept a VM from being made for it, which registers were refused, which have another value."""

    hindered: frozenset[str] = frozenset()
    # In the kernel's words.
    why: str = ""
    refused: frozenset[str] = frozenset()
    changed: frozenset[str] = frozenset()
    lacking: frozenset[str] = frozenset()
    # How many were there to be judged.
    registers: int = 0

    @property
    def failed(self) -> bool:
        """Whether the destination did not take it."""
        return bool(self.hindered or self.refused)

    def sentence(self) -> str:
        """Return it in words, as a forecast's."""
        if self.hindered:
            return f"failed: no VM for want of {_list(self.hindered)} ({self.why})"
        if self.refused:
            return f"failed: {_list(self.refused)} refused"
        only = f" (only the destination has {_list(self.lacking)})" if self.lacking else ""
        return ("succeeded and changed " + _list(self.changed) if self.changed else "succeeded") + only


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


# The counter's frequency is no register of KVM's: a guest finds that its time has another pace, and nothing else tells.
_NOT_IN_THE_LIST = {"CNTFRQ_EL0"}


def disagreement(foretold: Forecast, came: Outcome) -> str:
    """Say in words how what came is not what was foretold; an empty text where it is."""
    pairs = (
        ("failed", foretold.fails, came.failed),
        ("hindered", *_only(foretold.hindered.keys(), came.hindered, foretold.fails and came.failed)),
        ("refused", *_only(foretold.refused.keys(), came.refused, not came.hindered and not foretold.hindered)),
        ("changed", *_only(foretold.changed.keys() - _NOT_IN_THE_LIST, came.changed, not came.failed)),
        ("only at the destination", *_only(foretold.lacking, came.lacking, not came.failed)),
    )
    words = [f"{what}: {expected} was foretold, {found} came" for what, expected, found in pairs if expected != found]
    return "; ".join([foretold.sentence(), *words, *([came.why] if came.why else [])]) if words else ""


def _only(foretold: Iterable[str], came: Iterable[str], told: bool) -> tuple[str, str]:
    """Return what stands on one side only, as words; nothing where the outcome does not tell."""
    ours, theirs = set(foretold), set(came)
    return (_list(ours - theirs) or "no more", _list(theirs - ours) or "no more") if told else ("", "")


def facts_for(trial: Trial) -> tuple[HostFacts, HostFacts]:
    """Ask both hosts of a case, once a session each, and return their facts. Raises Unsupported without vCPUs of its level."""
    known, grounds = trial.bench.surveyed, trial.settled()
    for ground in grounds:
        if ground.made_of not in known:
            known[ground.made_of] = ask(ground)
    source, destination = (known[ground.made_of] for ground in (grounds[0], grounds[-1]))
    if trial.params["level"] not in source.levels:
        raise Unsupported(f"KVM of the source offers no vCPUs at {trial.params['level']}")
    return source, destination


def forecast_for(trial: Trial) -> Forecast:
    """Say what will become of a guest of the case's level. Raises as `facts_for`."""
    return forecast(*facts_for(trial), trial.params["level"])


def carry(trial: Trial, guest: Guest) -> Outcome:
    """Save the guest, restore it at the destination, let it go on there; where it is refused, where it was."""
    passage = KvmPassage(trial.start)
    trial.passages.append(passage)
    machine = guest.machine
    assert isinstance(machine, KvmMachine)
    machine.stop()
    saved, before = passage.save(machine, "state")
    restored = passage.twin(Start.INCOMING)
    try:
        restored.restore(saved.at(restored))
    except RegistersRefused as error:
        outcome = Outcome(refused=frozenset(_bare(each.name) for each in error.refused), registers=len(before.registers))
    except FeaturesLacking as error:
        outcome = Outcome(hindered=frozenset(error.features), why=error.what)
    except KernelFailure as error:
        outcome = Outcome(hindered=frozenset({VM}), why=error.what)
    else:
        after = passage.look(restored)
        both = before.registers.keys() & after.registers.keys()
        changed = {_bare(name) for name in both if parts(_bare(name)) and before.registers[name] != after.registers[name]}
        new = {_bare(name) for name in after.registers.keys() - before.registers.keys()}
        machine.dismiss()
        restored.cont()
        guest.follow([machine, restored])
        guest.go()
        return Outcome(changed=frozenset(changed), lacking=frozenset(new), registers=len(both))
    machine.cont()
    guest.go()
    return outcome


def refused_of_another_kind(trial: Trial, guest: Guest, *, e2h0: bool) -> list[str]:
    """Return which fields of the saved guest a VM with HAS_EL2_E2H0, or without, does not take; it goes on where it was."""
    passage = KvmPassage(trial.start)
    trial.passages.append(passage)
    machine = guest.machine
    assert isinstance(machine, KvmMachine)
    machine.stop()
    saved, _ = passage.save(machine, "state")
    restored = passage.twin(Start.INCOMING)
    fields: set[str] = set()
    try:
        restored.restore(saved.at(restored), e2h0=e2h0)
    except RegistersRefused as error:
        fields = {field for each in error.refused for field in each.changed}
    machine.cont()
    guest.go()
    return sorted(fields)


def _bare(name: str) -> str:
    return name.rpartition("/")[2].rpartition(": ")[2]
