"""What `harness kvm` does: a payload on /dev/kvm itself, led through a lifecycle, saved to a file, or restored from one.

What the guest says is printed as it comes, and between it what was done to it. What comes of it is said at the end.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.deadline import Deadline
from harness.errors import Failure, HostFailure, StateDiffers, Unsupported, UsageError
from harness.events import Timeline
from harness.guest.payload import ANSWER_SECONDS, BOOT_SECONDS, Guest
from harness.guest.witness import hear_out
from harness.kvm import vmm
from harness.kvm.machine import KvmMachine, RegistersRefused
from harness.lab.ground import Ground
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import KvmPassage
from harness.qemu.spec import MachineSpec, Start
from harness.state.diff import compare
from harness.state.rules import FROM_KVM, RULES

_TOLD = ("save", "restore", "counters", "event")


@dataclass(frozen=True)
class Order:
    """A payload, its arguments, the level that it is entered at, and the lifecycle that it is led through at its `now`.

    `save`: in place of a lifecycle, the file to save it to.
    """

    payload: Path
    arguments: Mapping[str, str]
    level: str = "el1"
    lifecycle: str = "kvm-restore"
    save: Path | None = None

    @property
    def spec(self) -> MachineSpec:
        """The machine for it; `kernel` is where the payload is on this computer."""
        el2 = self.level != "el1"
        given = {
            "console": "virtio",
            **({"e2h": str(int(self.level == "vhe")), "offset": "none"} if el2 else {}),
            **self.arguments,
        }
        return MachineSpec(
            self.payload,
            append=" ".join(f"{key}={value}" for key, value in given.items()),
            vcpus=int(given["vcpus"]),
            el2=el2,
            e2h0=self.level == "nvhe",
            by_offset=not self.save and LIFECYCLES[self.lifecycle].by_offset,
            accel="kvm",
            console="virtio",
        )


def order(
    payload: Path, arguments: Mapping[str, str], *, level: str, lifecycle: str | None, save: Path | None, to: str | None
) -> Order:
    """Return what a user asks for; `to`: another host that it is to be carried to. Raises UsageError."""
    through_kvm = [name for name, each in LIFECYCLES.items() if each.needs_kvm]
    wanted = lifecycle or ("kvm-migrate" if to else "kvm-restore")
    if wanted not in through_kvm:
        raise UsageError(f"{wanted} is no lifecycle through /dev/kvm", remedy=f"there are: {', '.join(through_kvm)}")
    if save and (to or lifecycle):
        raise UsageError("--save ends the guest where it is saved; leave --to and --lifecycle out")
    if (wanted == "kvm-migrate") != bool(to):
        raise UsageError("--to and the lifecycle kvm-migrate go together")
    given = {"vcpus": "1", **arguments}
    if not given["vcpus"].isdecimal() or not int(given["vcpus"]):
        raise UsageError(f"vcpus={given['vcpus']} is not a number of vCPUs")
    return Order(payload, given, level, wanted, save)


def run(order: Order, grounds: Sequence[Ground]) -> int:
    """Boot the payload on the first ground; return 0 where it goes on as it was and its own checks hold, else 1.

    Raises UsageError, HostFailure.
    """
    machines: list[KvmMachine] = []

    def start(side: str, start: Start) -> KvmMachine:
        ground = grounds[-1 if side.startswith("destination") else 0]
        spec = replace(order.spec, kernel=ground.workshop.host.bring(order.payload))
        machines.append(KvmMachine(spec, ground.qemu, ground.workshop, _Printed(), side=side, start=start))
        return machines[-1].__enter__()

    def play() -> None:
        source = start("source", Start.RUNNING)
        guest = Guest(order.payload.stem, order.arguments, source)
        guest.reach_now()
        passage = KvmPassage(start)
        if order.save:
            source.stop()
            saved, _ = passage.save(source, "state")
            order.save.write_bytes(saved.here().read_bytes())
            _say(f"saved to {order.save}")
            return
        LIFECYCLES[order.lifecycle].run(passage, source)
        guest.follow(machines)
        _compare(passage)
        guest.go()
        hear_out(guest)
        guest.finish()
        guest.checks()

    return _outcome(play, machines)


def config_of(path: Path) -> dict[str, Any]:
    """Return what a saved machine is. Raises UsageError where the file holds none."""
    try:
        return dict(vmm.read_saved(str(path))[0]["config"])
    except vmm.Trouble as error:
        words = str(error).removeprefix(f"{path}: ")
        raise UsageError(words, where=str(path), remedy="make one with `harness kvm --save`") from None


def restore(path: Path, ground: Ground) -> int:
    """Restore a machine from a file on a ground and let it go on to its end; return as `run`.

    Every register that KVM refuses is named. Raises UsageError, HostFailure.
    """
    config = config_of(path)
    machines: list[KvmMachine] = []

    def play() -> None:
        spec = MachineSpec(
            path,
            append=config["append"],
            vcpus=config["vcpus"],
            el2="el2" in config["features"],
            e2h0="e2h0" in config["features"],
            accel="kvm",
        )
        machine = KvmMachine(spec, ground.qemu, ground.workshop, _Printed(), side="restored", start=Start.INCOMING)
        machines.append(machine)
        machine.__enter__()
        machine.restore(ground.workshop.host.bring(path))
        guest = Guest(path.name, {}, machine)
        machine.cont()
        guest.go()
        guest.hear_until("end", Deadline.after(BOOT_SECONDS))
        machine.end_well(Deadline.after(ANSWER_SECONDS))
        guest.checks()

    return _outcome(play, machines)


def _compare(passage: KvmPassage) -> None:
    """Say how what was seen before and after differs. Raises StateDiffers."""
    for pair in passage.pairs:
        comparison = compare(pair.before, pair.after, (*FROM_KVM, *RULES))
        for difference in comparison.failures:
            _say(f"differs: {difference.sentence()}")
        if not comparison.same:
            raise StateDiffers(f"{len(comparison.failures)} of {comparison.compared} values that must survive did not")
        _say(comparison.sentence())


def _outcome(play: Callable[[], None], machines: Sequence[KvmMachine]) -> int:
    """Play, say what went wrong, and leave no machine."""
    try:
        play()
    except RegistersRefused as error:
        for refused in error.refused:
            _say(f"refused: {refused.sentence()}")
        sys.stderr.write(f"harness: {error.where}: KVM refused {len(error.refused)} registers\n")
        return 1
    except HostFailure:
        raise
    except (Failure, Unsupported) as error:
        sys.stderr.write(f"harness: {error}\n")
        return 1
    finally:
        for machine in machines:
            machine.close()
    return 0


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


class _Printed(Timeline):
    """Prints what the guest says as it is heard, and what is done to it."""

    def add(self, side: str, kind: str, text: str) -> None:
        super().add(side, kind, text)
        if kind == "console":
            _say(text)
        elif kind in _TOLD:
            _say(f"{side}: {kind}: {text}")
