"""`doctor` and `setup`: what is on this computer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.assets.debian import SUITES

# What `setup --prune` leaves of the templates of labs: those used of late, a few of them.
TEMPLATE_DAYS = 14.0
TEMPLATE_BYTES = 4_000_000_000


@click.command()
def doctor() -> None:
    """Show what is there, what is missing and what each lack costs.

    Exit status 0 when scenarios can run, 1 when something that they need is missing.

    \b
    Example: harness doctor
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from harness.assets.doctor import Health, examine

    colours = {Health.OK: "green", Health.LIMITED: "yellow", Health.MISSING: "red"}
    table = Table("subject", "state", "found", "what its lack costs", box=None)
    findings = examine()
    for finding in findings:
        state = f"[{colours[finding.health]}]{finding.health}[/]"
        table.add_row(finding.subject, state, escape(finding.found), escape(finding.cost))
    console = Console()
    # A pipe has no width of its own; lines cut at 80 columns would lose paths.
    Console(width=None if console.is_terminal else 200).print(table)
    sys.exit(any(finding.health is Health.MISSING for finding in findings))


@click.command()
@click.option("--qemu", "suites", multiple=True, type=click.Choice(list(SUITES)), help="Get the QEMU of this Debian suite.")
@click.option(
    "--lab-kernel", "kernels", multiple=True, metavar="SUITE|FILE", help="Get a lab's kernel, or check and take a file."
)
@click.option(
    "--lab-modules", "modules", type=click.Path(path_type=Path), metavar="DIR", help="Modules of a kernel that is a file."
)
@click.option(
    "--lab-qemu", "inner", multiple=True, metavar="SUITE|FILE", help="Get the QEMU inside a lab, or take an arm64 program."
)
@click.option("--refresh", is_flag=True, help="Get what the suites have today, even where something older is there.")
@click.option("--prune", is_flag=True, help="Afterwards remove from the cache what this set-up would not put there.")
def setup(
    suites: tuple[str, ...],
    kernels: tuple[str, ...],
    modules: Path | None,
    inner: tuple[str, ...],
    *,
    refresh: bool,
    prune: bool,
) -> None:
    """Get all that scenarios need: system packages, a QEMU, the guests, what labs are made of. Does nothing where it is there.

    \b
    Examples: harness setup
              harness setup --qemu bookworm --qemu bookworm-backports
              harness setup --lab-kernel trixie --lab-kernel ~/linux/arch/arm64/boot/Image
    """
    from harness.assets import setup as assets
    from harness.assets.progress import PlainProgress, TerminalProgress
    from harness.lab import template

    with TerminalProgress() as spinner:
        progress = spinner if sys.stdout.isatty() else PlainProgress()
        wanted = assets.Wanted(suites, kernels, modules, inner)
        assets.run(wanted, progress, again=refresh)
        if prune:
            assets.prune(wanted, progress)
            for removed in template.prune(TEMPLATE_DAYS, TEMPLATE_BYTES):
                progress.step(f"removing lab template {removed.name}")
