"""The command `harness`. A thin list: each command imports what it needs when it is called, so that --help is quick."""

from __future__ import annotations

import sys

import click

from harness.assets.debian import SUITES
from harness.errors import HarnessError

USER_ERROR = 2


class OneLineErrors(click.Group):
    """A group whose commands end on a HarnessError with one line on stderr and exit status 2."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            click.echo(f"harness: {error}", err=True)
            ctx.exit(USER_ERROR)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="harness")
def main() -> None:
    """Test arm64 virtual machines that get interrupted: paused, saved, restored, migrated.

    Scenarios are plain pytest: `make run`, or `pytest scenarios -n auto`.

    \b
    Example: harness doctor
    """


@main.command()
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


@main.command()
@click.option("--qemu", "suites", multiple=True, type=click.Choice(list(SUITES)), help="Get the QEMU of this Debian suite.")
@click.option("--refresh", is_flag=True, help="Get what the suite has today, even where an older QEMU is there.")
@click.option("--prune", is_flag=True, help="Afterwards remove from the cache what this set-up would not put there.")
def setup(suites: tuple[str, ...], *, refresh: bool, prune: bool) -> None:
    """Get all that scenarios need: system packages, a QEMU, the guests. Does nothing where it is there.

    \b
    Examples: harness setup
              harness setup --qemu bookworm --qemu bookworm-backports
    """
    from harness.assets import setup as assets
    from harness.assets.progress import PlainProgress, TerminalProgress

    with TerminalProgress() as spinner:
        progress = spinner if sys.stdout.isatty() else PlainProgress()
        assets.run(suites, progress, again=refresh)
        if prune:
            assets.prune(suites, progress)


if __name__ == "__main__":
    main()
