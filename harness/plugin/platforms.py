"""The platforms by name: which options they take, which cases they have, and how the ground of a side is made.

`tcg` emulates guests on this computer; `lab`, `kvm` and `ssh:NAME` run them on KVM: in an emulated arm64 host, on this
computer, on an arm64 computer of the inventory.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

from harness.assets import doctor
from harness.errors import UsageError
from harness.host.local import LocalHost
from harness.lab import ground
from harness.lab.boot import CPU
from harness.lab.ground import Choice, Ground
from harness.lifecycle import LIFECYCLES
from harness.plugin.grounds import Grounds
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop

Option = Callable[[str], Any]

# What a user may say of a lab: metavariable and meaning.
_OF_LAB = {
    "--lab-kernel": ("SUITE|IMAGE", "The kernel of the lab: of a Debian suite that was set up, or an arm64 Image; may repeat."),
    "--lab-modules": ("DIR", "Its modules, where it has any that a lab needs."),
    "--lab-cpu": ("MODEL", f"The CPU of the lab, as QEMU's -cpu (default: {CPU}); may repeat."),
    "--lab-qemu": ("SUITE|PATH", "The QEMU inside the lab: of a Debian suite that was set up, or an arm64 one; may repeat."),
}
LAB_OPTIONS: Mapping[str, tuple[str, str]] = _OF_LAB
DST_LAB_OPTIONS: Mapping[str, tuple[str, str]] = {f"--dst-{name[2:]}": words for name, words in _OF_LAB.items()}
# What of a lab is a parameter of cases; with `dst_` before it, of the destination's lab.
_VARIED = ("lab_kernel", "lab_cpu", "lab_qemu")

# Under KVM the guest's CPU is the host's.
UNDER_KVM: Mapping[str, Sequence[Any]] = {"cpu": ("host",)}
_WITHOUT_KVM = tuple(name for name, lifecycle in LIFECYCLES.items() if not lifecycle.needs_kvm)
FACTORS: Mapping[str, Mapping[str, Sequence[Any]]] = {"tcg": {"offset": ("far",), "acks": ("all",), "lifecycle": _WITHOUT_KVM}}


def fits_kvm(row: Mapping[str, Any]) -> bool:
    """Say whether KVM has the case: QEMU has no switch for HAS_EL2_E2H0, so what it runs at EL2 has E2H=1."""
    lifecycle = row.get("lifecycle")
    return row.get("level") != "nvhe" or lifecycle is None or LIFECYCLES[lifecycle].needs_kvm


def check(option: Option) -> None:
    """Refuse, before anything runs, what cannot be meant. Raises UsageError, MissingError."""
    for each in (*LAB_OPTIONS, *DST_LAB_OPTIONS):
        if option(each) and option("--platform") != "lab":
            raise UsageError(f"{each} is for --platform lab", where=f"--platform {option('--platform')}")
        if each.endswith("-modules") and len(option(each) or []) > 1:
            raise UsageError(f"{each} is given twice", where=" ".join(option(each)), remedy="one kernel at a time has modules")
    for choice in _choices(option):
        choice.check()


def variants(option: Option) -> list[dict[str, str]]:
    """Return what each case is repeated for, as parameters: the labs that the user named for each side, every combination.

    One empty set without a lab.
    """
    if option("--platform") != "lab":
        return [{}]
    named = {
        "lab_kernel": option("--lab-kernel"),
        "lab_cpu": option("--lab-cpu") or [CPU],
        "lab_qemu": option("--lab-qemu"),
        # Last, so that a source stays while one destination after the other takes its guests.
        **{f"dst_{name}": option(f"--dst-{name.replace('_', '-')}") for name in _VARIED},
    }
    given = {name: values for name, values in named.items() if values}
    return [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]


def lab_kernels(option: Option) -> dict[str, str]:
    """Return the kernels of all labs of the run by how the user named them, as `uname -r`. Raises UsageError, MissingError."""
    if option("--platform") != "lab":
        return {}
    return {choice.lab_kernel or "lab": choice.lab_assets().kernel_version for choice in _choices(option)}


def workers_that_fit(option: Option) -> int | None:
    """Return how many workers can have their labs on this computer at once, None where no lab is wanted; at least one.

    Raises UsageError where not even one fits.
    """
    if option("--platform") != "lab":
        return None
    each = _labs_at_once(option)
    fit = doctor.labs_that_fit() // each
    if not fit:
        plural = "s" if each > 1 else ""
        raise UsageError(
            f"no room for {each} lab{plural}", where="--platform lab", remedy="`harness doctor` says what a lab takes"
        )
    return fit


def crowd(option: Option, workers: int) -> float:
    """Return how many vCPUs of labs share a core of this computer when all workers are at it; at least one."""
    if option("--platform") != "lab":
        return 1.0
    return max(1.0, workers * _labs_at_once(option) * doctor.LAB_VCPUS / len(os.sched_getaffinity(0)))


@contextmanager
def grounds(option: Option, hub: Hub, desk: LocalHost) -> Iterator[Callable[[Mapping[str, Any]], Sequence[Ground]]]:
    """Give what finds the grounds of a case from its parameters; all hosts are left at the end."""
    targets = TargetCache()

    def make(choice: Choice, opening: ExitStack) -> Ground:
        return ground.make(choice, opening, Workshop(desk, desk, hub, targets))

    made = Grounds(make)
    try:
        yield lambda params: made.ready(*sides(option, params))
    finally:
        made.close()


def _labs_at_once(option: Option) -> int:
    """Return how many labs one case needs at most."""
    return max(len(set(sides(option, variant))) for variant in variants(option))


def _choices(option: Option) -> list[Choice]:
    """Return every choice that some case makes, each once."""
    return list(dict.fromkeys(choice for variant in variants(option) for choice in sides(option, variant)))


def sides(option: Option, params: Mapping[str, Any]) -> list[Choice]:
    """Return the choices for source and destination; what is not said of the destination is as on the source."""
    here = option("--qemu")
    source = Choice(
        option("--platform"),
        params.get("qemu") or here,
        params.get("lab_kernel"),
        _first(option("--lab-modules")),
        params.get("lab_cpu"),
        params.get("lab_qemu"),
        params.get("hypervisor"),
        "" if params.get("sets") == "pauth" else None,
        lab_memory=params.get("memory"),
        hosts=option("--hosts"),
    )
    said = {
        "lab_modules": _first(option("--dst-lab-modules")),
        **{name: params.get(f"dst_{name}") for name in _VARIED},
    }
    there = params.get("dst_qemu") or option("--dst-qemu") or here
    return [source, replace(source, qemu=there, **{name: value for name, value in said.items() if value})]


def _first(given: Sequence[str] | None) -> str | None:
    return given[0] if given else None
