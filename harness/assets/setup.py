"""The order in which set-up gets things. Each step does nothing when its work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.assets import cache, guests, lab, lab_parts, qemu, system
from harness.assets.progress import Progress
from harness.errors import UsageError


@dataclass(frozen=True)
class Wanted:
    """What a set-up is asked for; nothing said means the default. QEMUs for this computer are suites' names."""

    qemus: tuple[str, ...] = ()
    lab_kernels: tuple[str, ...] = ()
    lab_modules: Path | None = None
    lab_qemus: tuple[str, ...] = ()

    def labs(self) -> list[tuple[str | None, str | None]]:
        """Return kernel and QEMU of each lab that scenarios could then ask for."""
        return [(kernel, inner) for kernel in self.lab_kernels or (None,) for inner in self.lab_qemus or (None,)]


def run(wanted: Wanted, progress: Progress, *, again: bool = False) -> None:
    """Bring everything on disk that scenarios need: QEMUs, guests, and what labs are made of.

    Without a QEMU named: the default one, unless one that is new enough is installed or $HARNESS_QEMU names one. `again`
    gets what the suites have today, even where an older one is there. Raises MissingError or UsageError.
    """
    for kernel, inner in wanted.labs():
        lab.check(kernel, wanted.lab_modules, inner)
    if wanted.lab_modules and all(lab_parts.of_suite(kernel) for kernel, _ in wanted.labs()):
        raise UsageError("it belongs to a --lab-kernel that is a file", where="--lab-modules")
    suites = wanted.qemus or qemu.suites_wanted()
    fetch = tuple(suite for suite in suites if again or not cache.ready(qemu.tree(suite)))
    lacking = [part for choice in wanted.labs() for part in lab_parts.needed(*choice) if again or not cache.ready(part.place)]
    system.provide(system.needed(private_qemu=bool(fetch or lacking)), progress)
    for suite in fetch:
        qemu.install(suite, progress, again=again)
    guests.build(progress)
    lab_parts.install(wanted.labs(), progress, again=again)
    resolve_labs(wanted, progress)


def resolve_labs(wanted: Wanted, progress: Progress) -> Sequence[lab.LabAssets]:
    """Return the assets of each lab that was asked for; a user's own file is looked at, and taken into the cache."""
    return [
        lab.resolve(kernel, None if lab_parts.of_suite(kernel) else wanted.lab_modules, inner, progress)
        for kernel, inner in wanted.labs()
    ]


def prune(wanted: Wanted, progress: Progress) -> None:
    """Remove from the cache what a set-up for the same would not put there, and what dead set-ups left."""
    keep = {guests.find().directory, *(qemu.tree(suite) for suite in wanted.qemus or qemu.suites_wanted())}
    keep.update(part.place for choice in wanted.labs() for part in lab_parts.needed(*choice))
    keep.update(place for assets in resolve_labs(wanted, progress) for place in assets.places)
    for kind in ("guests", "qemu", "lab"):
        place = cache.root() / kind
        for asset in sorted(place.iterdir()) if place.is_dir() else []:
            if asset.is_dir() and asset not in keep and not asset.name.startswith("."):
                progress.step(f"removing {asset.relative_to(cache.root())}")
                with cache.writable(place), cache.locked(asset, progress):
                    cache.sweep(asset)
                    cache.remove(asset)
