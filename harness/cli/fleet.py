"""The commands about many machines: `export`, `fleet`, `nightly`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from harness.errors import UsageError

_shards = click.option("--shards", type=click.IntRange(1, 99_999), required=True, metavar="N", help="Number of jobs.")
_time_limit = click.option(
    "--time-limit", default="2h", show_default=True, metavar="TIME", help="How long a shard may begin cases."
)
_image = click.option("--image", default="debian:trixie", show_default=True, metavar="NAME", help="The container of a job.")
_history = click.option(
    "--history", "place", metavar="FILE", type=click.Path(path_type=Path), help="The history (default: in the cache)."
)
_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PYTEST_OPTIONS...]")


def _one_file(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of jobs that are written to one file."""
    out = click.option(
        "--out", type=click.Path(path_type=Path), metavar="FILE", help="Where it goes (default: standard output)."
    )
    for option in reversed((_shards, _time_limit, _image, out, _arguments)):
        command = option(command)
    return command


@click.group()
def export() -> None:
    """Write job files for LAVA, GitLab or GitHub: a shard of the scenarios in each job.

    What a job that never came had to run is missing in the merged report, and its exit status is not 0.

    \b
    Example: harness export github --shards 4 --out .github/workflows/nightly.yml
    """


@export.command()
@_one_file
def github(out: Path | None, **said: Any) -> None:
    """Write a workflow of GitHub Actions: a matrix of shards, and a job that merges them.

    \b
    Example: harness export github --shards 4 -- --platform lab --lab-kernel trixie
    """
    from harness.fleet import export as jobs

    _put(out, jobs.github(_plan(**said)))


@export.command()
@_one_file
def gitlab(out: Path | None, **said: Any) -> None:
    """Write a pipeline of GitLab: a matrix of shards, and a job that merges them.

    \b
    Example: harness export gitlab --shards 8 --out .gitlab-ci.yml -- --all
    """
    from harness.fleet import export as jobs

    _put(out, jobs.gitlab(_plan(**said)))


@export.command()
@_shards
@_time_limit
@_image
@click.option("--repository", required=True, metavar="URL", help="Where a job clones this harness from.")
@click.option("--revision", default="", metavar="COMMIT", help="Which commit of it (default: the newest).")
@click.option(
    "--device-type", default="docker", show_default=True, metavar="NAME", help="A type of device that runs containers."
)
@click.option("--upload", required=True, metavar="URL", help="A directory that takes files by HTTP PUT; LAVA keeps none.")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="DIR", help="Where the files go.")
@_arguments
def lava(out: Path, **said: Any) -> None:
    """Write a LAVA job for each shard.

    Unpack what they upload, and merge it: harness report --merge shard-1 … shard-N --out merged

    \b
    Example: harness export lava --shards 4 --repository https://git.example/harness.git --upload https://ci.example/1 --out d
    """
    from harness.fleet import export as jobs

    for name, text in jobs.lava(_plan(**said)).items():
        _put(out / name, text)


@click.command()
@click.option(
    "--hosts", metavar="FILE", type=click.Path(path_type=Path), help="The inventory (default: hosts.toml, $HARNESS_HOSTS)."
)
@click.option("--host", "names", multiple=True, metavar="NAME", help="Only this one of its hosts; may repeat.")
@click.option("--shards", type=click.IntRange(1, 99_999), metavar="N", help="Number of parts (default: 4 for each host).")
@click.option(
    "--times", type=click.Path(path_type=Path), metavar="PATH", help="Deal by the times in an output directory or history."
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="out", show_default=True, metavar="DIR", help="Where results go."
)
@_history
@_arguments
def fleet(
    arguments: tuple[str, ...],
    *,
    hosts: Path | None,
    names: tuple[str, ...],
    shards: int | None,
    times: Path | None,
    out: Path,
    place: Path | None,
) -> None:
    """Run the scenarios on many hosts: those of the inventory that say where their `harness` is.

    A host that is lost costs the cases that ran on it, which are missing then. Exit status 0 where nothing broke and nothing is
    missing, 1 where something did, 2 where it could not be done as you said.

    \b
    Example: harness fleet --hosts hosts.toml --times out -- --platform lab -n 4
    """
    import sys

    from harness.fleet import finish
    from harness.fleet.run import Order, run
    from harness.host import inventory
    from harness.host.signals import ended_by_signals
    from harness.report import results
    from harness.report.shards import times as read_times

    path = hosts or inventory.location()
    known = inventory.load(path)
    entries = [inventory.find(name, path) for name in names] or [entry for entry in known.values() if entry.harness]
    for entry in entries:
        if entry.harness is None:
            raise UsageError("the inventory does not say where its harness is", where=entry.name, remedy="add `harness = DIR`")
    if not entries:
        raise UsageError("no host says where its harness is", where=str(path), remedy="add `harness = DIR` to some")
    if times is not None:
        read_times(times)  # a mistake is told here, once
        times = times / results.NAME if times.is_dir() else times
    workers = () if any(word.startswith("-n") for word in arguments) else ("-n", "auto")
    order = Order((*workers, *arguments), shards, times)
    with ended_by_signals(), finish.parts(out) as parts:
        ended = run(entries, order, out, parts, lambda words: click.echo(words, err=True))
        for line in finish.publish(out, ended.run, place):
            click.echo(line)
    sys.exit(finish.status(ended.run) if ended.signalled is None else ended.signalled)


@click.command()
@click.option(
    "--kernel", metavar="SUITE|IMAGE|URL", help="The lab's: of a Debian suite, a file, or at an address with --sha256."
)
@click.option("--sha256", metavar="HEX", help="What the kernel's file has to be.")
@click.option("--modules", type=click.Path(path_type=Path), metavar="DIR", help="Modules of a kernel that is a file.")
@click.option("--refresh/--no-refresh", default=True, show_default=True, help="Get what the suite has today.")
@click.option("--platform", default="lab", show_default=True, metavar="NAME", help="Where guests run, as with pytest.")
@click.option("--time-limit", default="2h", show_default=True, metavar="TIME", help="For all of it, set-up too.")
@click.option(
    "--out", type=click.Path(path_type=Path), default="out", show_default=True, metavar="DIR", help="Where results go."
)
@_history
@click.option("--origin", default="arm64_harness", metavar="NAME", help="The CI's name in KCIDB.")
@click.option("--build", default="", metavar="ID", help="KCIDB's id of the build under test, where it has been reported.")
@click.option("--url", default="", metavar="URL", help="Where the output directory will be found; for KCIDB's files.")
@_arguments
def nightly(*, time_limit: str, place: Path | None, origin: str, build: str, url: str, **said: Any) -> None:
    """Get a kernel, run the scenarios on it, compare with last night, and write all formats.

    \b
    Exit status 0: all that was planned was run, and nothing broke
                1: something fails that did not fail last time
                2: nothing was run: your mistake, or something could not be got
                3: something fails, and all of it did so last time
                4: nothing fails, but something is not proven: cases are missing, or ended in an error

    \b
    Examples: harness nightly --kernel trixie-backports
              harness nightly --kernel https://ci.example/Image --sha256 … --history /var/lib/ci/history.sqlite --time-limit 3h
    """
    import sys

    from harness.assets.progress import PlainProgress
    from harness.fleet.limit import seconds_of
    from harness.fleet.nightly import Night, spend
    from harness.host.signals import ended_by_signals
    from harness.report.kcidb import Sender

    night = Night(seconds=seconds_of(time_limit), history=place, sender=Sender(origin, build, url), **said)
    with ended_by_signals():
        status = spend(night, PlainProgress())
    sys.exit(status)


def _plan(**said: Any) -> Any:
    from harness.fleet.export import Plan
    from harness.fleet.limit import seconds_of

    return Plan(seconds=seconds_of(said["time_limit"]), **said)


def _put(path: Path | None, text: str) -> None:
    from harness.report.files import write_text

    if path is None:
        click.echo(text, nl=False)
        return
    write_text(path, text)
    click.echo(path)
