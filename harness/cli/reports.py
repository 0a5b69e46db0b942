"""`preflight` and `new-report`: before a migration, and after one that was reported to have failed."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from harness.errors import UsageError


@click.command()
@click.argument("source", metavar="SRC")
@click.argument("destination", metavar="[DST]", required=False)
@click.option("--level", type=click.Choice(["el1", "vhe", "nvhe"]), help="Only guests of this level.")
@click.option("--json", "as_json", is_flag=True, help="As data: per level what is refused and what changes.")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Keep the facts of SRC in a file.")
@click.option("--hosts", metavar="FILE", help="The inventory of real hosts.")
def preflight(
    source: str, destination: str | None, level: str | None, save: Path | None, hosts: str | None, *, as_json: bool
) -> None:
    """Say whether a guest of SRC can go on at DST, and which registers keep it from that, before it is tried.

    Both are hosts: `lab`, `lab:CPU`, `lab:CPU@KERNEL`, `kvm` (this computer), `ssh:NAME`; or files of facts that --save wrote.
    Exit status 0 where guests of every level will get there, 1 where not, 2 where it cannot be told.

    \b
    Examples: harness preflight lab:neoverse-n2@trixie lab:neoverse-n2@trixie-backports
              harness preflight ssh:altra --save altra.json
              harness preflight altra.json lab:neoverse-v1 --level el1
    """
    import json
    from dataclasses import asdict

    from harness.preflight import facts
    from harness.preflight.forecast import forecast
    from harness.preflight.survey import facts_of

    if destination is None and save is None:
        raise click.UsageError("name a destination, or keep the facts of SRC with --save")
    if save and not save.parent.is_dir():
        raise UsageError("there is no such folder", where=str(save.parent), remedy="make it, or name another file with --save")
    ours, *theirs = facts_of([source] if destination is None else [source, destination], hosts)
    if save:
        facts.save(ours, save)
    forecasts = [forecast(ours, there, each) for there in theirs for each in ours.levels if level in (None, each)]
    if theirs and not forecasts:
        raise click.UsageError(f"{source} offers no guests at {level}")
    if as_json:
        click.echo(json.dumps([asdict(each) for each in forecasts], indent=1))
    for each in () if as_json else forecasts:
        click.echo(f"{each.level}: {each.sentence()}")
    sys.exit(any(each.fails for each in forecasts))


@click.command("new-report")
@click.option("--title", default="what happens", metavar="TEXT", help="The failure, in one sentence.")
@click.option(
    "--affected", default="which versions, as far as it is known", metavar="TEXT", help="Which versions, as far as it is known."
)
@click.option("--link", "links", multiple=True, metavar="URL", help="Where it is reported; may repeat.")
@click.argument("name")
def new_report(name: str, title: str, affected: str, links: tuple[str, ...]) -> None:
    """Begin a scenario for a report: NAME is its short name. It runs as it is; docs/reproduce-a-report.md goes on from there.

    \b
    Example: harness new-report guest-hangs-after-restore --link https://example.org/thread
    """
    from harness.report import new

    test = new.write(new.New(name, title, affected, links), new.FOLDER)
    click.echo(f"{test}\nrun it:    pytest scenarios/reported -k {name}\nits page:  python -m scenarios.reported.page")
