"""The platforms by name: which options they take, which cases they have, and how the ground of a side is made.

`tcg` emulates guests on this computer; `lab`, `kvm` and `ssh:NAME` run them on KVM: in an emulated arm64 host, on this
computer, on an arm64 computer of the inventory.
"""

from __future__ import annotations

import itertools
import platform as this_computer
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.assets import cache, doctor, probe
from harness.assets import lab as lab_assets
from harness.assets import qemu as assets_qemu
from harness.assets.progress import NoProgress
from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import UsageError
from harness.events import Timeline
from harness.host import inventory, kernel_log, slots
from harness.host.local import LocalHost
from harness.host.protocol import Host
from harness.plugin.grounds import Choice, Ground, Grounds
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop

DEFAULT_CPU = "max,lpa2=off"
Option = Callable[[str], Any]

# What a user may say of a lab: metavariable and meaning.
_OF_LAB = {
    "--lab-kernel": ("SUITE|IMAGE", "The kernel of the lab: of a Debian suite that was set up, or an arm64 Image"),
    "--lab-modules": ("DIR", "Its modules, where it has any that a lab needs"),
    "--lab-cpu": ("MODEL", f"The CPU of the lab, as QEMU's -cpu (default: {DEFAULT_CPU})"),
    "--lab-qemu": ("SUITE|PATH", "The QEMU inside the lab: of a Debian suite that was set up, or an arm64 program"),
}
LAB_OPTIONS: Mapping[str, tuple[str, str]] = _OF_LAB
DST_LAB_OPTIONS: Mapping[str, tuple[str, str]] = {f"--dst-{name[2:]}": words for name, words in _OF_LAB.items()}

# Under KVM the guest's CPU is the host's, and QEMU has no switch for HAS_EL2_E2H0: a guest at EL2 has E2H=1.
UNDER_KVM: Mapping[str, Sequence[Any]] = {"cpu": ("host",), "level": ("el1", "vhe")}
FACTORS: Mapping[str, Mapping[str, Sequence[Any]]] = {"tcg": {}}


def check(option: Option) -> None:
    """Refuse, before anything runs, what cannot be meant. Raises UsageError, MissingError."""
    name = option("--platform")
    if name == "kvm" and this_computer.machine() != "aarch64":
        raise UsageError(
            f"this computer is {this_computer.machine()} and KVM for arm64 needs an arm64 one",
            where="--platform kvm",
            remedy="use --platform lab, which emulates one, or ssh:NAME",
        )
    if name.startswith("ssh:"):
        _known(option, name)
    elif name == "lab":
        for choice in _choices(option):
            _assets(choice)
    elif name not in ("tcg", "kvm"):
        raise UsageError(f"there is no platform {name}", where="--platform", remedy="use tcg, lab, kvm or ssh:NAME")
    if name != "lab":
        given = [each for each in (*LAB_OPTIONS, *DST_LAB_OPTIONS) if option(each)]
        if given:
            raise UsageError(f"{given[0]} is for --platform lab", where=f"--platform {name}")
        for each in ("--qemu", "--dst-qemu"):
            if (choice := option(each)) and not name.startswith("ssh:"):
                assets_qemu.resolve(choice)


def variants(option: Option) -> list[dict[str, str]]:
    """Return what each case is repeated for, as parameters: the labs that the user named; one empty set without a lab."""
    if option("--platform") != "lab":
        return [{}]
    named = {
        "lab_kernel": option("--lab-kernel"),
        "lab_cpu": option("--lab-cpu"),
        "lab_qemu": option("--lab-qemu"),
    }
    given = {name: values for name, values in named.items() if values}
    return [dict(zip(given, values, strict=True)) for values in itertools.product(*given.values())]


def workers_that_fit(option: Option) -> int | None:
    """Return how many workers can have their labs on this computer at once, None where no lab is wanted; at least one.

    Raises UsageError where not even one fits.
    """
    if option("--platform") != "lab":
        return None
    each = max(len(set(_sides(option, variant))) for variant in variants(option))
    fit = doctor.labs_that_fit() // each
    if not fit:
        plural = "s" if each > 1 else ""
        raise UsageError(
            f"no room for {each} lab{plural}", where="--platform lab", remedy="`harness doctor` says what a lab takes"
        )
    return fit


@contextmanager
def grounds(option: Option, hub: Hub, desk: LocalHost) -> Iterator[Callable[[Mapping[str, Any]], Sequence[Ground]]]:
    """Give what finds the grounds of a case from its parameters; all hosts are left at the end."""
    targets = TargetCache()

    def make(choice: Choice, opening: ExitStack) -> Ground:
        return _make(choice, opening, option, Workshop(desk, desk, hub, targets))

    made = Grounds(make)
    try:
        yield lambda params: made.ready(*_sides(option, params))
    finally:
        made.close()


def _choices(option: Option) -> list[Choice]:
    """Return every choice that some case makes."""
    return [choice for variant in variants(option) for choice in _sides(option, variant)]


def _sides(option: Option, params: Mapping[str, Any]) -> list[Choice]:
    """Return the choices for source and destination; what is not said of the destination is as on the source."""
    source = Choice(
        option("--platform"),
        option("--qemu"),
        params.get("lab_kernel"),
        (option("--lab-modules") or [None])[0],
        params.get("lab_cpu"),
        params.get("lab_qemu"),
    )
    said = {
        "qemu": option("--dst-qemu"),
        "lab_kernel": option("--dst-lab-kernel"),
        "lab_modules": option("--dst-lab-modules"),
        "lab_cpu": option("--dst-lab-cpu"),
        "lab_qemu": option("--dst-lab-qemu"),
    }
    return [source, replace(source, **{name: value for name, value in said.items() if value})]


def _make(choice: Choice, opening: ExitStack, option: Option, shop: Workshop) -> Ground:
    """Make the ground of a choice. Raises UsageError, MissingError, HostFailure."""
    if choice.platform == "tcg":
        return Ground(shop, assets_qemu.resolve(choice.qemu))
    if choice.platform == "kvm":
        return _on_kvm(shop, assets_qemu.resolve(choice.qemu), opening)
    if choice.platform == "lab":
        return _in_lab(choice, opening, shop)
    from harness.host.remote import remote_host

    known = _known(option, choice.platform)
    host = opening.enter_context(remote_host(known))
    qemu = choice.qemu or str(known.qemu or "qemu-system-aarch64")
    return _on_kvm(replace(shop, host=host), _qemu_of(host, qemu), opening)


def _known(option: Option, platform: str) -> inventory.RemoteHost:
    path = Path(option("--hosts")) if option("--hosts") else inventory.location()
    return inventory.find(platform.removeprefix("ssh:"), path)


def _in_lab(choice: Choice, opening: ExitStack, shop: Workshop) -> Ground:
    from harness.lab.boot import LabSpec
    from harness.lab.host import Lab

    assets = _assets(choice)
    spec = LabSpec.of(assets, cpu=choice.lab_cpu or DEFAULT_CPU)
    opening.enter_context(slots.held(cache.root() / "slots", spec.vcpus, slots.capacity()))
    lab = opening.enter_context(Lab(spec, assets_qemu.resolve(), shop, Timeline(), NoProgress()))
    facts = {"kernel": assets.kernel_version, "cpu": spec.cpu, "kvm": lab.kvm.mode}
    return Ground(replace(shop, host=lab), assets.qemu, "kvm", lab.kernel_log, facts)


def _assets(choice: Choice) -> lab_assets.LabAssets:
    modules = Path(choice.lab_modules) if choice.lab_modules else None
    return lab_assets.resolve(choice.lab_kernel, modules, choice.lab_qemu)


@dataclass(frozen=True)
class _Heard:
    """What a followed kernel log has said since it is followed."""

    lines: list[str] = field(default_factory=list)

    def mark(self) -> int:
        return len(self.lines)

    def troubles(self, mark: int) -> list[str]:
        return kernel_log.troubles(self.lines[mark:])


def _on_kvm(shop: Workshop, qemu: QemuBinary, opening: ExitStack) -> Ground:
    facts = shop.host.facts()
    if not facts.kvm:
        raise UsageError("there is no usable /dev/kvm", where=shop.host.name, remedy="load KVM, or let this user open it")
    heard = _Heard()
    following = kernel_log.watch_kernel_log(shop.host, heard.lines.append, shop.desk.directory("kernel-log") / "stderr.log")
    opening.callback(following.close)
    return Ground(shop, qemu, "kvm", heard, {"kernel": facts.kernel, "kvm": facts.kvm})


def _qemu_of(host: Host, path: str) -> QemuBinary:
    """Ask a host's QEMU what it is. Raises UsageError when it is none, HostFailure."""
    done = host.run([path, *probe.QUESTION], Deadline.after(probe.SECONDS), stdin=probe.QUESTIONS.encode())
    version, text = probe.read_answer(path, done.stdout.decode(), done.stderr.decode(), done.status)
    return QemuBinary((path,), {}, version, text, host.name)
