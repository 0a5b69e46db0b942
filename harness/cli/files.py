"""`show` and `diff`: what files hold."""

from __future__ import annotations

import sys
from pathlib import Path

import click

_kernel_tree = click.option(
    "--kernel-tree",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Name registers and fields as this Linux source tree does (arch/arm64/tools/sysreg).",
)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As data: every value, and where the file stopped.")
@_kernel_tree
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("pattern", default="")
def show(file: Path, pattern: str, *, as_json: bool, kernel_tree: Path | None) -> None:
    """Show what FILE holds: a migration stream, a saved state, a machine saved through /dev/kvm; packed ones too.

    With PATTERN, only registers and fields whose names hold this regular expression. Exit status 2 where FILE is none of these,
    or ends too early; what could be read until then is shown.

    \b
    Examples: harness show source.stream 'cntv|cnthp'
              harness show out/bundles/CASE/states/0-0-before-gdb.json --json
    """
    import json

    from harness.report import look, seen
    from harness.state import kernel_tree as trees

    with trees.used(kernel_tree):
        found = seen.open_file(file)
        if as_json:
            click.echo(json.dumps(look.data_of(found), indent=1))
        else:
            for line in look.lines_of(found, pattern):
                click.echo(line)
    sys.exit(look.NOT_COMPARED if found.stopped else 0)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As data: every difference, with the rule that judges it.")
@click.option("--side", type=click.Choice(["before", "after"]), help="Of a bundle, only what was seen on this side.")
@_kernel_tree
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="[B]", required=False, type=click.Path(path_type=Path))
def diff(first: Path, second: Path | None, *, as_json: bool, side: str | None, kernel_tree: Path | None) -> None:
    """Say how B differs from A: each a stream, a saved state, a saved machine or a bundle; one bundle alone: its two sides.

    Of two views (gdb stub, stream, KVM), what both show is compared; of a bundle and a file, its states of the file's view.

    What must have survived and did not comes first, then what only one side has, then what a rule allows, and why. Exit status
    0 where everything that must survive did, 1 where something did not, 2 where that cannot be told.

    \b
    Examples: harness diff source.stream destination.stream
              harness diff out/bundles/CASE
              harness diff --side after out/bundles/CASE saved.json
    """
    import json

    from harness.report import look
    from harness.state import kernel_tree as trees

    with trees.used(kernel_tree):
        outcomes = look.diff(first, second, side or "")
    if as_json:
        click.echo(json.dumps([look.outcome_data(outcome) for outcome in outcomes], indent=1))
    for outcome in () if as_json else outcomes:
        if len(outcomes) > 1:
            click.echo(f"{outcome.before.path} and {outcome.after.path}:")
        for line in look.words_of(outcome):
            click.echo(line)
    statuses = {outcome.status for outcome in outcomes}
    sys.exit(next(status for status in (look.DIFFERS, look.NOT_COMPARED, look.SAME) if status in statuses))
