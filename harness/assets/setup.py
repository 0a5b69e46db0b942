"""The order in which set-up gets things. Each step does nothing when its work is done."""

from __future__ import annotations

from collections.abc import Sequence

from harness.assets import cache, guests, qemu, system
from harness.assets.progress import Progress


def run(suites: Sequence[str], progress: Progress, *, again: bool = False) -> None:
    """Bring everything on disk that scenarios need, and the private QEMU of each suite named.

    Without suites: the default QEMU, unless one that is new enough is installed or $HARNESS_QEMU names one. `again`
    gets what the suites have today, even where an older one is there. Raises MissingError or UsageError.
    """
    wanted = tuple(suites) or qemu.suites_wanted()
    fetch = tuple(suite for suite in wanted if again or not cache.ready(qemu.tree(suite)))
    system.provide(system.needed(private_qemu=bool(fetch)), progress)
    for suite in fetch:
        qemu.install(suite, progress, again=again)
    guests.build(progress)


def prune(suites: Sequence[str], progress: Progress) -> None:
    """Remove from the cache what a set-up for the same suites would not put there, and what dead set-ups left."""
    wanted = tuple(suites) or qemu.suites_wanted()
    keep = {guests.find().directory, *(qemu.tree(suite) for suite in wanted)}
    for kind in ("guests", "qemu"):
        place = cache.root() / kind
        for asset in sorted(place.iterdir()) if place.is_dir() else []:
            if asset.is_dir() and asset not in keep and not asset.name.startswith("."):
                progress.step(f"removing {asset.relative_to(cache.root())}")
                with cache.writable(place), cache.locked(asset, progress):
                    cache.sweep(asset)
                    cache.remove(asset)
