"""What is known of hosts that a user names: asked on the spot, or read from a file that was kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path, PurePath

from harness.assets.progress import PlainProgress
from harness.errors import UsageError
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.host.signals import ended_by_signals
from harness.kvm.machine import KvmMachine
from harness.lab import ground
from harness.lab.ground import Choice, Ground
from harness.preflight import facts
from harness.preflight.facts import HostFacts
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop
from harness.qemu.spec import MachineSpec, Start


def choice_of(word: str, hosts: str | None = None) -> Choice:
    """Return the choice that `lab`, `lab:CPU`, `lab:CPU@KERNEL`, `kvm` or `ssh:NAME` stands for. Raises UsageError."""
    platform, colon, rest = word.partition(":")
    if platform == "lab":
        cpu, _, kernel = rest.partition("@")
        if colon and not cpu:
            raise UsageError("no CPU after the colon", where=word, remedy="say `lab`, `lab:CPU` or `lab:CPU@KERNEL`")
        return Choice("lab", lab_cpu=cpu or None, lab_kernel=kernel or None)
    if word == "kvm" or word.startswith(ground.SSH):
        return Choice(word, hosts=hosts)
    raise UsageError(
        "neither a file of facts nor a host", where=word, remedy="say lab, lab:CPU@KERNEL, kvm, ssh:NAME, or a file's path"
    )


def facts_of(words: Sequence[str], hosts: str | None = None) -> list[HostFacts]:
    """Return the facts of each host or file that is named; no two hosts are up at once.

    Raises UsageError, MissingError, HostFailure, DeadlineExpired, Unsupported.
    """
    known = {word: facts.load(Path(word)) for word in words if Path(word).is_file()}
    asked = {word: choice_of(word, hosts) for word in words if word not in known}
    for choice in asked.values():
        choice.check()
    if asked:
        with ended_by_signals(), LocalHost() as desk, Hub() as hub:
            shop = Workshop(desk, desk, hub, TargetCache())
            for word, choice in asked.items():
                with ExitStack() as opening:
                    known[word] = ask(ground.make(choice, opening, shop, PlainProgress(to_stderr=True)))
    return [known[word] for word in words]


def ask(there: Ground) -> HostFacts:
    """Return the facts of a host. Raises as `facts.gather`."""
    spec = MachineSpec(PurePath("nothing"), accel=there.accel)
    with KvmMachine(spec, there.qemu, there.workshop, Timeline(), side="facts", start=Start.INCOMING) as machine:
        return facts.gather(machine)
