"""Where the machines of one side run: a host, its QEMU and the accelerator, made from what the user chose.

`tcg` emulates guests on this computer; `lab`, `kvm` and `ssh:NAME` run them on KVM: in an emulated arm64 host, on this
computer, on an arm64 computer of the inventory.
"""

from __future__ import annotations

import platform as this_computer
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from harness.assets import cache, probe
from harness.assets import lab as lab_assets
from harness.assets import qemu as assets_qemu
from harness.assets.progress import NoProgress, Progress
from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import Suspect, UsageError
from harness.events import Timeline
from harness.host import inventory, kernel_log
from harness.host.protocol import Host
from harness.lab.boot import CPU, LabSpec
from harness.qemu.gdb import TargetCache
from harness.qemu.machine import Machine, Workshop

SSH = "ssh:"


class KernelLog(Protocol):
    """The log of a kernel under test, as far as it has come."""

    def mark(self) -> int:
        """Return where its end is now: after a whole line."""

    def since(self, mark: int) -> list[str]:
        """Return the lines after a mark."""

    def troubles(self, mark: int) -> list[str]:
        """Return the lines after a mark that tell of a panic, oops, WARN, lockup, stall or KVM error."""

    def check(self) -> None:
        """Raise HostFailure where it does not come any more, or not whole: there may be troubles that are not in it."""


@dataclass(eq=False)
class Watched:
    """A kernel under test: whose fault its complaints are, its host's name, its log, the machine that it runs in, if any."""

    suspect: Suspect
    name: str
    log: KernelLog
    machine: Machine | None = None
    # How far its log has been read. What comes between two cases is of the first one's machines, and read in the second.
    read: int | None = None

    def unread(self) -> int:
        """Return the mark from which on nobody has read its log."""
        if self.read is None:
            self.read = self.log.mark()
        return self.read

    def troubles(self, mark: int) -> list[str]:
        """Read its log to the end; return the lines after a mark that tell of troubles.

        Raises HostFailure where there are none, and nobody can know whether there should be.
        """
        self.read = self.log.mark()
        if not (found := self.log.troubles(mark)):
            self.log.check()
        return found


@dataclass(frozen=True)
class Ground:
    """Where machines of one side run."""

    workshop: Workshop
    qemu: QemuBinary
    accel: str = "tcg"
    # The kernels under test, the one below all first.
    kernels: tuple[Watched, ...] = ()
    # Where the guests' host is itself a guest, its machine: that is what lifecycles are for then.
    hypervisor: Machine | None = None
    # What it is made of, for reports: kernel, CPU.
    facts: Mapping[str, str] = field(default_factory=dict)
    # Of a lab: why its KVM runs no guest hypervisors, or an empty string, and whether its CPU could.
    nested_refused: str = ""
    cpu_has_nv2: bool = True
    # Equal for two grounds whose hosts are made of the same.
    made_of: object = None
    # Has the next case begin on a fresh one: a kernel that has complained, or a disk that is full, is nothing to go on with.
    give_up: Callable[[], None] = lambda: None

    @property
    def culprit(self) -> Suspect:
        """Whose fault it is when a guest fares ill here and nobody has said why: whoever emulates its CPU."""
        return Suspect.QEMU if self.accel == "tcg" else Suspect.KERNEL_L0


@dataclass(frozen=True)
class Choice:
    """What the user chose for one side; the same choice is the same ground."""

    platform: str
    # The QEMU that runs the guests; of a lab the one that emulates it, on this computer.
    qemu: str | None = None
    lab_kernel: str | None = None
    lab_modules: str | None = None
    lab_cpu: str | None = None
    # The one inside.
    lab_qemu: str | None = None
    # `linux`: guests run as L2, in a Linux that is a guest hypervisor in the lab.
    hypervisor: str | None = None
    # Words for the lab's kernel in place of the usual (boot.py).
    lab_append: str | None = None
    # `tagged`: a lab whose memory has allocation tags.
    lab_memory: str | None = None
    # The inventory of real hosts.
    hosts: str | None = None

    def check(self) -> None:
        """Refuse, before anything runs, what cannot be meant. Raises UsageError, MissingError."""
        match self.platform:
            case "tcg":
                self._check_qemu()
            case "kvm":
                if this_computer.machine() != "aarch64":
                    raise UsageError(
                        f"this computer is {this_computer.machine()} and KVM for arm64 needs an arm64 one",
                        where="--platform kvm",
                        remedy="use --platform lab, which emulates one, or ssh:NAME",
                    )
                self._check_qemu()
            case "lab":
                self._check_qemu()
                self.lab_assets()
            case _:
                self.inventoried()
        if self.platform != "lab":
            lab = {"kernel": self.lab_kernel, "modules": self.lab_modules, "cpu": self.lab_cpu, "qemu": self.lab_qemu}
            for name in (name for name, value in lab.items() if value):
                raise UsageError(f"--lab-{name} is for --platform lab", where=f"--platform {self.platform}")

    def _check_qemu(self) -> None:
        if self.qemu:
            assets_qemu.resolve(self.qemu)

    def inventoried(self) -> inventory.RemoteHost:
        """Return the entry of the inventory that the platform names. Raises UsageError."""
        if not self.platform.startswith(SSH):
            raise UsageError(
                f"there is no platform {self.platform}", where="--platform", remedy="use tcg, lab, kvm or ssh:NAME"
            )
        path = Path(self.hosts) if self.hosts else inventory.location()
        return inventory.find(self.platform.removeprefix(SSH), path)

    def lab_assets(self, progress: Progress | None = None) -> lab_assets.LabAssets:
        """Return what its lab is made of. Raises UsageError, MissingError."""
        modules = Path(self.lab_modules) if self.lab_modules else None
        return lab_assets.resolve(self.lab_kernel, modules, self.lab_qemu, progress)


def make(choice: Choice, opening: ExitStack, shop: Workshop, progress: Progress | None = None) -> Ground:
    """Make the ground of a choice; what was opened for it is closed by `opening`. `shop` is this computer's.

    Raises UsageError, MissingError, HostFailure, DeadlineExpired.
    """
    if choice.platform == "tcg":
        return Ground(shop, assets_qemu.resolve(choice.qemu))
    if choice.platform == "kvm":
        return _on_kvm(shop, assets_qemu.resolve(choice.qemu), opening)
    if choice.platform == "lab":
        return _in_lab(choice, opening, shop, progress)
    from harness.host.remote import remote_host  # noqa: PLC0415  # paramiko costs a fifth of a second, and tcg needs no SSH

    known = choice.inventoried()
    host = opening.enter_context(remote_host(known))
    qemu = choice.qemu or str(known.qemu or "qemu-system-aarch64")
    return replace(_on_kvm(replace(shop, host=host), _qemu_of(host, qemu), opening), give_up=host.give_up)


def _in_lab(choice: Choice, opening: ExitStack, shop: Workshop, progress: Progress | None) -> Ground:
    from harness.host import slots  # noqa: PLC0415  # filelock costs 75 ms, and `harness lab` takes no slot
    from harness.lab.host import Lab  # noqa: PLC0415  # as above
    from harness.lab.linux import guest_hypervisor  # noqa: PLC0415  # as above

    assets = choice.lab_assets(progress)
    words = {} if choice.lab_append is None else {"append": choice.lab_append}
    spec = LabSpec.of(assets, cpu=choice.lab_cpu or CPU, mte=choice.lab_memory == "tagged", **words)
    opening.enter_context(slots.held(cache.root() / "slots", spec.vcpus, slots.capacity()))
    qemu = assets_qemu.resolve(choice.qemu)
    lab = opening.enter_context(Lab(spec, qemu, shop, Timeline(), progress or NoProgress()))
    facts = {"kernel": assets.kernel_version, "cpu": spec.cpu, "kvm": lab.kvm.mode}
    # Another kernel shows other registers by the same QEMU and CPU.
    inner, watched = (
        replace(shop, host=lab, targets=TargetCache()),
        Watched(Suspect.KERNEL_L0, lab.name, lab.kernel_log, lab.power.machine),
    )
    if choice.hypervisor is None:
        return Ground(
            inner,
            assets.qemu,
            "kvm",
            (watched,),
            facts=facts,
            nested_refused=lab.kvm.nested_refused,
            cpu_has_nv2=lab.kvm.cpu_has_nv2,
            made_of=(spec, qemu),
            give_up=lab.give_up,
        )
    lab.require_nested()
    linux = opening.enter_context(guest_hypervisor(lab, assets.qemu, inner))
    machine = linux.power.machine
    kernels = (watched, Watched(Suspect.KERNEL_L1, linux.name, linux.kernel_log, machine))
    within = replace(inner, host=linux, targets=TargetCache())
    made_of = (spec, qemu, "linux")
    return Ground(within, assets.qemu, "kvm", kernels, machine, facts, made_of=made_of, give_up=linux.give_up)


def _on_kvm(shop: Workshop, qemu: QemuBinary, opening: ExitStack) -> Ground:
    facts = shop.host.facts()
    if not facts.kvm:
        raise UsageError("there is no usable /dev/kvm", where=shop.host.name, remedy="load KVM, or let this user open it")
    log = kernel_log.watch_kernel_log(shop.host, shop.desk.directory("kernel-log") / "stderr.log")
    opening.callback(log.close)
    watched = Watched(Suspect.KERNEL_L0, shop.host.name, log)
    return Ground(shop, qemu, "kvm", (watched,), facts={"kernel": facts.kernel, "kvm": facts.kvm}, made_of=shop.host.name)


def _qemu_of(host: Host, path: str) -> QemuBinary:
    """Ask a host's QEMU what it is. Raises UsageError when it is none, HostFailure."""
    done = host.run([path, *probe.QUESTION], Deadline.after(probe.SECONDS), stdin=probe.QUESTIONS.encode())
    version, text = probe.read_answer(path, done.stdout.decode(), done.stderr.decode(), done.status)
    return QemuBinary((path,), {}, version, text, host.name)
