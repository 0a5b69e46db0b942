"""The commands about what runs found: `report`, `history`, `compare`, `known`."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.errors import UsageError

if TYPE_CHECKING:
    from harness.report.compare import Change, Comparison
    from harness.report.history import History, PastRun, Try
    from harness.report.trends import Broken, Flaky

FORMATS = ("json", "junit", "ktap", "kcidb", "html")
_LONG = 12
"""Lines of one kind that are printed before the rest is counted."""

_history_option = click.option(
    "--history", "place", metavar="FILE", type=click.Path(path_type=Path), help="The history (default: in the cache)."
)


@click.command()
@click.option("--merge", is_flag=True, help="DIRS are the shards of one run; needs --out.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Where it goes (default: DIRS, where it is one).")
@click.option(
    "--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Only this one; may repeat (default: all)."
)
@click.option(
    "--expect", type=click.Path(path_type=Path), metavar="FILE", help="Node ids of all cases, a line each; others are missing."
)
@click.option("--origin", default="arm64_harness", metavar="NAME", help="The CI's name in KCIDB.")
@click.option("--build", default="", metavar="ID", help="KCIDB's id of the build under test, where it has been reported.")
@click.option("--url", default="", metavar="URL", help="Where the output directory will be found; for KCIDB's files.")
@_history_option
@click.argument("dirs", nargs=-1, required=True, type=click.Path(path_type=Path))
def report(
    dirs: tuple[Path, ...],
    *,
    merge: bool,
    out: Path | None,
    formats: tuple[str, ...],
    expect: Path | None,
    place: Path | None,
    **sender: str,
) -> None:
    """Write the reports of a run again, of a run that was killed, or of the shards of one run.

    A planned case of which nobody has the end is missing: an error, never a pass. Prints what it wrote and, to standard
    error, how the report begins. Exit status 0 where nothing broke, 1 where something did.

    \b
    Examples: harness report out
              harness report out --format kcidb --origin myci --build myci:4711 --url https://ci.example/4711/out
              pytest scenarios --collect-only -q > all.txt; harness report --merge shard1 shard2 --expect all.txt --out merged
    """
    from harness.report import journal, past
    from harness.report import merge as merging
    from harness.report.kcidb import Sender
    from harness.report.model import BROKEN
    from harness.report.publish import publish
    from harness.report.view import headline

    if not merge and (len(dirs) > 1 or expect):
        raise click.UsageError("several directories, or --expect, go with --merge")
    if merge and out is None:
        raise click.UsageError("--merge needs --out, the directory of the merged results")
    target = out or dirs[0]
    run = merging.merge(dirs, target, _expected(expect)) if merge else journal.read(dirs[0])
    with ExitStack() as stack:
        history = _opened(place, stack, must_exist=False)
        known_before = past.of_run(history, run) if history else None
    for path in publish(target, run, formats=formats or FORMATS, sender=Sender(**sender), past=known_before):
        click.echo(path)
    click.echo(headline(run, known_before), err=True)
    sys.exit(bool(run.having(*BROKEN)))


def _expected(path: Path | None) -> list[str]:
    """Return the node ids in a file that `pytest --collect-only -q` has printed."""
    if path is None:
        return []
    try:
        nodes = [line.strip() for line in path.read_text("utf-8").splitlines() if "::" in line]
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot be read ({error})", where=str(path)) from error
    if not nodes:
        raise UsageError("names no case", where=str(path), remedy="write it with `pytest scenarios --collect-only -q`")
    return nodes


def _opened(place: Path | None, stack: ExitStack, *, must_exist: bool = True) -> History | None:
    """Open the history; None where there is none and none is needed. Raises UsageError."""
    from harness.assets import cache
    from harness.report import history

    path = place or cache.root() / history.NAME
    if not path.exists():
        if must_exist or place:
            raise UsageError("there is no history", where=str(path), remedy="runs write it: `pytest scenarios`")
        return None
    return stack.enter_context(history.History(path))


@click.command()
@click.option("--runs", "as_runs", is_flag=True, help="List the runs.")
@click.option("--json", "as_json", is_flag=True, help="As data.")
@_history_option
@click.argument("pattern", default="")
def history(pattern: str, *, as_runs: bool, as_json: bool, place: Path | None) -> None:
    """Say what is broken since when and what changed then, how often, and what is flaky.

    PATTERN, a regular expression, chooses cases and shows each of their ends.

    \b
    Examples: harness history
              harness history 'cnthp.*file'
              harness history --runs
    """
    import json
    from dataclasses import asdict

    from harness.report import trends

    with ExitStack() as stack:
        store = _opened(place, stack)
        assert store is not None
        runs = store.runs()
        tries = [] if as_runs else store.tries(keys=_matching(store, pattern) if pattern else None)
    broken, flaky = trends.broken(tries, runs), trends.flaky(tries)
    if as_json:
        shown = tries if pattern else []
        trended = {"broken": [*map(asdict, broken)], "flaky": [*map(asdict, flaky)], "tries": [*map(asdict, shown)]}
        click.echo(json.dumps({"runs": [*map(asdict, runs)]} if as_runs else trended, indent=1))
        return
    if as_runs:
        for each in runs:
            click.echo(_run_line(each))
        return
    if pattern:
        _show_tries(tries)
    _show_trends(runs, broken, flaky)


def _matching(store: History, pattern: str) -> list[str]:
    try:
        wanted = re.compile(pattern, re.IGNORECASE)
    except re.error as error:
        raise UsageError(f"not a regular expression: {error}", where=pattern) from None
    keys = [key for key in store.seconds() if wanted.search(key)]
    if not keys:
        raise UsageError("no case of the history matches", where=pattern)
    return keys


def _run_line(run: PastRun) -> str:
    ended = f"{run.seconds:.0f} s" if run.seconds is not None else "did not end"
    planned = f" of {run.planned}" if run.planned not in (None, run.tries) else ""
    qemu = run.provenance.get("qemu")
    version = qemu.get("version", "none") if isinstance(qemu, dict) else "none"
    harness = run.provenance.get("harness")
    return f"{run.id:5} {run.started} {ended:>12} {run.tries}{planned} tries, harness {harness}, QEMU {version}"


def _show_tries(tries: list[Try]) -> None:
    for key in dict.fromkeys(each.key for each in tries):
        click.echo(key)
        for each in (one for one in tries if one.key == key):
            message = f": {each.message.partition(chr(10))[0]}" if each.broken else ""
            click.echo(f"  run {each.run:<5} {each.started} {each.verdict:<7} {each.seconds:7.3f} s  {each.versions}{message}")


def _show_trends(runs: list[PastRun], broken: list[Broken], flaky: list[Flaky]) -> None:
    last = f", the last of {runs[-1].started}" if runs else ""
    click.echo(f"{len(runs)} runs{last}: {len(broken)} cases broken, {len(flaky)} flaky")
    for each in broken[:_LONG]:
        click.echo(f"\nbroken: {each.last.key}")
        kernel = f"; first bad kernel {each.first_bad_kernel}" if each.first_bad_kernel else ""
        click.echo(f"  {each.sentence()}{kernel}")
        click.echo(f"  with {each.last.versions} {each.rate} failed; suspect {each.last.suspect or 'nobody yet'}")
        click.echo(f"  {each.last.message.partition(chr(10))[0]}")
    for one in flaky[:_LONG]:
        click.echo(f"\nflaky: {one.key}")
        click.echo(f"  {one.rate} failed, with {one.last.versions}, last in run {one.last.run} ({one.last.started})")
        click.echo(f"  {one.last.message.partition(chr(10))[0]}")
    rest = max(0, len(broken) - _LONG) + max(0, len(flaky) - _LONG)
    if rest:
        click.echo(f"\nand {rest} more (--json has all; PATTERN chooses)")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As data.")
@_history_option
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
def compare(before: str, after: str, *, as_json: bool, place: Path | None) -> None:
    """Compare two runs: what broke, what was mended, what takes longer, and how sure that is.

    RUN is an output directory, or the number of a run of the history; -1 is the last, -2 the one before. Exit status 0 where
    nothing broke, 1 where something did.

    \b
    Examples: harness compare monday/out tuesday/out
              harness compare -- -2 -1
    """
    import json
    from dataclasses import asdict

    from harness.report.compare import compare as compared

    with ExitStack() as stack:
        sides = [_tries(which, place, stack) for which in (before, after)]
    found = compared(*sides)
    if not found.both:
        raise UsageError("the two runs have no case in common", where=f"{before}, {after}")
    if as_json:
        click.echo(json.dumps(asdict(found), indent=1))
    else:
        for line in _comparison_lines(found):
            click.echo(line)
    sys.exit(bool(found.regressions))


def _tries(which: str, place: Path | None, stack: ExitStack) -> list[Try]:
    from harness.report import journal
    from harness.report.compare import tries_of

    if not re.fullmatch("-?[0-9]+", which):
        return tries_of(journal.read(Path(which)))
    store = _opened(place, stack)
    assert store is not None
    numbers = [run.id for run in store.runs()]
    number = int(which)
    if number < 0 and -number <= len(numbers):
        number = numbers[number]
    if number not in numbers:
        raise UsageError(
            f"the history has no such run; it has {len(numbers)}", where=which, remedy="see `harness history --runs`"
        )
    return store.tries(run=number)


def _comparison_lines(found: Comparison) -> list[str]:
    lines = [f"{found.both} cases in both: {len(found.regressions)} regressions, {len(found.fixes)} fixed"]
    for title, changes in (
        *(("regression", found.regressions), ("fixed", found.fixes)),
        *(("known now", found.known), ("not tried any more", found.untried)),
    ):
        lines += _listed([_change_line(title, each) for each in changes], title)
    if found.still:
        lines.append(f"{len(found.still)} broken in both")
    for title, keys in (("only in the first", found.gone), ("only in the second", found.new)):
        lines += _listed([f"{title}: {key}" for key in keys], title, 3)
    if found.overall:
        sure = "" if found.overall.sure else ", which may be chance"
        lines.append(f"time of what passed in both: {found.overall}{sure}")
    slower = [f"{'slower' if each.factor > 1 else 'faster'}: {each.key}: {each}" for each in found.slower]
    lines += _listed(slower, "slower or faster")
    if not found.judged:
        lines.append("no case was tried three times in both, so none can be called slower by itself (--repeat 3)")
    return lines


def _listed(lines: list[str], title: str, most: int = _LONG) -> list[str]:
    rest = len(lines) - most
    return lines if rest <= 0 else [*lines[:most], f"{title}: and {rest} more (--json has all)"]


def _change_line(title: str, change: Change) -> str:
    times = f" ({change.after.broken} of {change.after.of} tries)" if change.after.of > 1 else ""
    message = f": {change.message.partition(chr(10))[0]}" if change.message else ""
    return f"{title}: {change.key}: {change.was} -> {change.is_}{times}{message}"


@click.group()
def known() -> None:
    """Add to the list of known issues, and see which of its entries nothing bears out.

    \b
    Example: harness known list
    """


_list_option = click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path),
    default="scenarios/known_issues.toml",
    show_default=True,
    help="The list.",
)


@known.command("add")
@_list_option
@click.option("--id", "name", required=True, metavar="NAME", help="What to call it.")
@click.option("--reason", required=True, metavar="TEXT", help="Why it happens; in a few words, for those who come later.")
@click.option("--show", is_flag=True, help="Only print the entry.")
@click.argument("bundle", type=click.Path(path_type=Path))
def known_add(bundle: Path, path: Path, name: str, reason: str, *, show: bool) -> None:
    """Add an entry for the failure in BUNDLE: this case, this release, this sentence. Widen it by hand where you know more.

    \b
    Example: harness known add out/bundles/CASE --id qemu-cnthp-lost --reason 'not in the migration stream'
    """
    from harness.report import known_add as adding

    proposal, case, versions = adding.propose(bundle, name, reason)
    if not show:
        adding.add(path, proposal, case, versions)
    click.echo(proposal.text, nl=False)


@known.command("list")
@_list_option
@_history_option
def known_list(path: Path, place: Path | None) -> None:
    """List the entries with how often each was seen, those first that have expired, were not seen, or did not fail of late.

    Exit status 1 where there is one of these. Of an entry whose cases no run of the history had, nothing is known.

    \b
    Example: harness known list
    """
    from datetime import UTC, datetime

    from harness.report import known as issues
    from harness.report.known_list import standings

    with ExitStack() as stack:
        store = _opened(place, stack, must_exist=False)
        tries = store.tries() if store else []
    found = standings(issues.load(path), tries, datetime.now(UTC).date())
    for each in found:
        last = f", last on {each.last}" if each.last else ""
        click.echo(f"{each.id}: {each.excused} of {each.tries} tries excused{last}" + (f"; {each.doubt}" if each.doubt else ""))
    sys.exit(any(each.doubt for each in found))
