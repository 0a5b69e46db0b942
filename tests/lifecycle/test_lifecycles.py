"""Every lifecycle brings a running guest back, with what it compared, and leaves nothing behind."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import lifecycle as package
from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.deadline import Deadline
from harness.events import Timeline
from harness.guest.payload import Guest
from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine, Workshop
from harness.qemu.spec import MachineSpec, Start
from harness.state.diff import compare
from harness.state.rules import RULES, RUNNING
from tests.qemu.fakes import are_closed, descriptors, workshop

# The names that results, options and known issues use.
NAMES = {
    "straight", "pause", "poll-registers", "snapshot", "snapshot-same", "file", "file-mapped-ram", "live-unix", "live-tcp",
    "live-fd", "multifd", "postcopy", "ping-pong", "twice", "reset",
}  # fmt: skip
ARGUMENTS = {"vcpus": 1, "timer": "cntv", "instant": "armed-far"}


@pytest.fixture(scope="module")
def shared() -> Iterator[Workshop]:
    with workshop() as made:
        yield made


# What all share, and what `harness kvm` does with them.
NO_LIFECYCLES = ("__init__", "passage", "session")


def test_the_table_is_complete() -> None:
    assert set(LIFECYCLES) >= NAMES
    modules = [path.stem for path in Path(package.__file__).parent.glob("*.py") if path.stem not in NO_LIFECYCLES]
    assert {inspect.getmodule(each.run).__name__.rpartition(".")[2] for each in LIFECYCLES.values()} == set(modules)  # type: ignore[union-attr]


@pytest.mark.parametrize("each", [each for each in LIFECYCLES.values() if not each.needs_kvm], ids=lambda each: each.name)
def test_each_says_what_it_is(each: Lifecycle) -> None:
    assert LIFECYCLES[each.name] is each
    assert inspect.getdoc(each.run)
    assert bool(each.brought) == (each.since > (0, 0))
    assert not (each.restarts and each.runs_on_ms)


@pytest.mark.parametrize("each", [each for each in LIFECYCLES.values() if not each.needs_kvm], ids=lambda each: each.name)
def test_the_guest_goes_on(each: Lifecycle, shared: Workshop) -> None:
    spec = MachineSpec(guests.path("timers"), " ".join(f"{k}={v}" for k, v in ARGUMENTS.items()), cpu="cortex-a57")
    qemu = assets_qemu.resolve()
    if qemu.version[:2] < each.since:
        pytest.skip(f"{qemu.version_text} is older than {each.since}")
    machines: list[Machine] = []

    def start(side: str, start: Start) -> Machine:
        machine = Machine(spec, qemu, shared, Timeline(), side=side, start=start)
        machines.append(machine)
        return machine.__enter__()

    before = descriptors()
    try:
        guest = Guest("timers", ARGUMENTS, start("source", Start.RUNNING))
        guest.reach_now()
        passage = Passage(start)
        machine = each.run(passage, guest.machine)
        if each.restarts:
            guest.restart()
        else:
            guest.follow(machines[: machines.index(machine) + 1])
        guest.go()
        guest.finish()
        assert guest.checks() > 0
        assert guest.of_kind("timer")
        # A machine that was told to quit does so in its own time; one that is killed in the midst of it leaves its sockets.
        assert all(machine.settle(Deadline.after(20)) for machine in machines), "each ends by itself"
    finally:
        for machine in machines:
            machine.close()
    assert bool(passage.pairs) == each.interrupts
    for pair in passage.pairs:
        comparison = compare(pair.before, pair.after, (*RUNNING, *RULES) if pair.ran else RULES)
        assert comparison.same, comparison.sentence()
        assert comparison.compared > 150
    assert all(machine.process.poll() is not None for machine in machines)
    assert are_closed(before)


def test_nothing_is_left(shared: Workshop) -> None:
    """After all of the above: no socket in a machine's directory, and no directory once the host is left."""
    left = [path for path in shared.desk.root.rglob("*") if path.is_socket()]
    assert left == []
    with workshop() as own:
        own.host.directory("source")
        root = own.desk.root
    assert not root.exists()
