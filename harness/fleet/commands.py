"""The commands about many machines: `export`, `fleet`, `nightly`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

_shards = click.option("--shards", type=click.IntRange(1, 99_999), required=True, metavar="N", help="Number of jobs.")
_time_limit = click.option(
    "--time-limit", default="2h", show_default=True, metavar="TIME", help="How long a shard may begin cases."
)
_image = click.option("--image", default="debian:trixie", show_default=True, metavar="NAME", help="The container of a job.")
_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[-- PYTEST_OPTIONS...]")


@click.group()
def export() -> None:
    """Write job files for LAVA, GitLab or GitHub: a shard of the scenarios in each job.

    What a job that never came had to run is missing in the merged report, and its exit status is not 0.

    \b
    Example: harness export github --shards 4 --out .github/workflows/nightly.yml
    """


@export.command()
@_shards
@_time_limit
@_image
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where it goes (default: standard output).")
@_arguments
def github(out: Path | None, **said: Any) -> None:
    """Write a workflow of GitHub Actions: a matrix of shards, and a job that merges them.

    \b
    Example: harness export github --shards 4 -- --platform lab --lab-kernel trixie
    """
    from harness.fleet import export as jobs

    _put(out, jobs.github(_plan(**said)))


@export.command()
@_shards
@_time_limit
@_image
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where it goes (default: standard output).")
@_arguments
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
    Example: harness export lava --shards 4 --repository https://git.example/harness.git --upload https://ci.example/1 --out jobs
    """
    from harness.fleet import export as jobs

    for name, text in jobs.lava(_plan(**said)).items():
        _put(out / name, text)


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
