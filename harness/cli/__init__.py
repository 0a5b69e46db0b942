"""The command `harness`, a file for each group of commands. They import what they need when called, so that --help is quick."""

from __future__ import annotations

import errno
import io
import sys

import click

from harness.cli import bundles, computer, files, fleet, guests, reports, results
from harness.cli.ending import last_words
from harness.errors import HarnessError

USER_ERROR = 2


class OneLineErrors(click.Group):
    """A group whose commands end on a HarnessError, or what a disk or a network refuses, with a line on stderr and status 2."""

    def invoke(self, ctx: click.Context) -> object:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except HarnessError as error:
            why = str(error)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # whoever reads has enough: click's own
            where = "" if error.filename is None else f"{error.filename}: "
            why = where + (error.strerror or str(error) or type(error).__name__)
        with last_words():
            click.echo(f"harness: {why}", err=True)
        raise click.exceptions.Exit(USER_ERROR)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="harness")
def main() -> None:
    """Test arm64 virtual machines that get interrupted: paused, saved, restored, migrated.

    Scenarios are plain pytest: `make run`, or `pytest scenarios -n auto`.

    \b
    Example: harness doctor
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error; a guest, or a bundle, may have said anything


for _command in (
    computer.doctor,
    computer.setup,
    guests.lab,
    guests.boot,
    guests.kvm,
    files.show,
    files.diff,
    reports.preflight,
    reports.new_report,
    bundles.repro,
    bundles.minimise,
    bundles.bisect_step,
    results.report,
    results.history,
    results.compare,
    results.known,
    fleet.fleet,
    fleet.nightly,
    fleet.export,
):
    main.add_command(_command)
