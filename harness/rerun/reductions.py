"""What can be taken away from a case: for each thing the ways to have less of it, the least first. Pure.

Whether a way makes sense for a scenario is not known here: where it does not, the case cannot be run, or ends otherwise, and
the thing stays.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from harness.qemu.spec import MachineSpec
from harness.rerun.plan import Changes, Plan, Value

_ALONE = ("straight", "pause")
_SAVED = (*_ALONE, "file")
SIMPLER: Mapping[str, tuple[str, ...]] = {
    "pause": ("straight",),
    "poll-registers": _ALONE,
    "snapshot-same": _ALONE,
    "snapshot": (*_ALONE, "snapshot-same"),
    "file": _ALONE,
    "file-mapped-ram": _SAVED,
    "live-unix": _SAVED,
    "live-tcp": (*_SAVED, "live-unix"),
    "live-fd": (*_SAVED, "live-unix"),
    "multifd": (*_SAVED, "live-unix"),
    "postcopy": (*_SAVED, "live-unix"),
    "ping-pong": (*_SAVED, "live-unix"),
    "twice": _SAVED,
    "reset": _ALONE,
    "kvm-rewrite": ("kvm-straight",),
    "kvm-offset": ("kvm-straight",),
    "kvm-restore": ("kvm-straight", "kvm-rewrite"),
    "kvm-twice": ("kvm-straight", "kvm-rewrite", "kvm-restore"),
    "kvm-migrate": ("kvm-straight", "kvm-rewrite", "kvm-restore"),
}
"""Lifecycles that do less to a guest than another, the least first; one without an entry stays."""

# Values of parameters that ask less of a guest, the least first.
_LESS: Mapping[str, tuple[str, ...]] = {"level": ("el1",), "offset": ("none",), "timer": ("none",), "acks": ("edge",)}
# Features that QEMU can leave out, by CPU (target/arm/tcg/cpu64.c, cpu64.c), and models that have less than `max`.
_FEATURES: Mapping[str, tuple[str, ...]] = {"max": ("sme", "sve", "pauth", "lpa2", "pmu"), "host": ("sve", "pauth", "pmu")}
_MODELS = ("cortex-a57", "neoverse-n1")
# MiB. The payloads need less; with less than this there is no room for the device tree.
_MEMORIES = (8, 16)
# What the harness itself tells a payload of its machine.
_OF_THE_MACHINE = ("vcpus", "e2h", "console")


@dataclass(frozen=True)
class Reduction:
    """A plan with less, and what it has less, in words."""

    words: str
    plan: Plan


Kind = Callable[[Plan, Mapping[str, Value]], Iterator[Reduction]]


def _param(plan: Plan, name: str) -> Value:
    return plan.changes.of_case(plan.params).get(name)


def _with(plan: Plan, **groups: Mapping[str, Value]) -> Plan:
    """Return the plan with more changes; a parameter that only has another value of the scenario's own is none."""
    old = plan.changes
    params = {**old.params, **groups.get("params", {})}
    machine = {**old.machine, **groups.get("machine", {})}
    arguments = {**old.arguments, **groups.get("arguments", {})}
    return replace(plan, changes=Changes(params, machine, arguments))


def _other(plan: Plan, name: str, value: str | int, words: str) -> Reduction:
    """Reduce a parameter, as one of the scenario's own values where no change has touched it."""
    if name in plan.changes.params:
        return Reduction(words, _with(plan, params={name: value}))
    return Reduction(words, replace(plan, params={**plan.params, name: value}))


def _lifecycle(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    now = str(plan.params["lifecycle"])
    for simpler in SIMPLER.get(now, ()):
        yield _other(plan, "lifecycle", simpler, f"lifecycle {simpler} in place of {now}")


def _hypervisor(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    if _param(plan, "hypervisor"):
        yield Reduction("without the guest hypervisor: its guest is no L2 any more", _with(plan, params={"hypervisor": None}))


def _destination(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    others = {name: value for name, value in plan.options.items() if name.startswith("dst_")}
    for less in ([*others], *([name] for name in others)) if len(others) > 1 else ([*others],) if others else ():
        words = ", ".join(f"--{name.replace('_', '-')} {plan.options[name]}" for name in less)
        yield Reduction(
            f"without {words}",
            replace(plan, options={name: value for name, value in plan.options.items() if name not in less}),
        )


def _vcpus(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    now = _param(plan, "vcpus")
    for fewer in range(1, now) if isinstance(now, int) else ():
        yield Reduction(f"{fewer} vCPU{'s' * (fewer > 1)} in place of {now}", _with(plan, params={"vcpus": fewer}))


def _parameters(name: str) -> Kind:
    def less(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
        now = _param(plan, name)
        for value in _LESS[name] if now is not None else ():
            if value != now:
                yield _other(plan, name, value, f"{name} {value} in place of {now}")

    return less


def _amounts(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    """Other numbers, as of KiB that are written."""
    for name, now in plan.changes.of_case(plan.params).items():
        if isinstance(now, int) and name != "vcpus":
            for value in sorted({1, now // 16, now // 4} - {0, now}):
                if value < now:
                    yield Reduction(f"{name} {value} in place of {now}", _with(plan, params={name: value}))


def _model(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    now = str(_param(plan, "cpu"))
    for model in _MODELS if now.startswith("max") else ():
        yield _other(plan, "cpu", model, f"CPU {model} in place of {now}")


def _features(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    """Without all features at once, and else without one after the other."""
    now = str(_param(plan, "cpu"))
    there = [name for name in _FEATURES.get(now.partition(",")[0], ()) if f",{name}" not in now]
    for names in dict.fromkeys((tuple(there), *((name,) for name in there))) if there else ():
        cpu = now + "".join(f",{name}=off" for name in names)
        yield Reduction(f"without CPU feature{'s' * (len(names) > 1)} {', '.join(names)}", _with(plan, params={"cpu": cpu}))


def _memory(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    now = plan.changes.machine.get("memory_mib", MachineSpec.memory_mib)
    for less in _MEMORIES:
        if less < int(str(now)):
            yield Reduction(f"{less} MiB of memory in place of {now}", _with(plan, machine={"memory_mib": less}))


def _its(plan: Plan, _: Mapping[str, Value]) -> Iterator[Reduction]:
    if "options" not in plan.changes.machine:
        yield Reduction("without the ITS", _with(plan, machine={"options": "its=off"}))


def _console(plan: Plan, arguments: Mapping[str, Value]) -> Iterator[Reduction]:
    if arguments.get("console") == "virtio" and "console" not in plan.changes.machine:
        words = "the PL011 in place of the virtio console"
        yield Reduction(words, _with(plan, machine={"console": "pl011"}, arguments={"console": None}))


def _arguments(plan: Plan, arguments: Mapping[str, Value]) -> Iterator[Reduction]:
    """What else the payload is told: one by one, and of a list one item after the other."""
    for name, value in plan.changes.of_payload(arguments).items():
        if name not in _OF_THE_MACHINE:
            yield Reduction(f"without the payload's {name}={value}", _with(plan, arguments={name: None}))
            items = str(value).split(",")
            for item in items if len(items) > 1 else ():
                less = ",".join(each for each in items if each != item)
                yield Reduction(f"without {item} in the payload's {name}={value}", _with(plan, arguments={name: less}))


KINDS: tuple[Kind, ...] = (
    _lifecycle,
    _hypervisor,
    _destination,
    _vcpus,
    *map(_parameters, _LESS),
    _amounts,
    _model,
    _features,
    _memory,
    _its,
    _console,
    _arguments,
)
"""In this order: what makes the following tries faster comes first."""
