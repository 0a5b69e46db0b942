"""The commands `harness repro` and `harness bisect-step`. Thin: what they do is in the modules beside this one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from harness.cli.ending import last_words
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.rerun.needs import Settled
    from harness.rerun.opened import Opened

ROOT = Path(__file__).parents[2]
REPRODUCED, NOT_REPRODUCED, CANNOT = 0, 1, 2
"""Exit statuses of `harness repro`."""
CANNOT_TELL = 125
"""Exit status of `harness bisect-step`, as harness/rerun/bisect.py has it, which takes longer to import."""

_OPTIONS = {
    "platform": ("NAME", "Where guests run: tcg, lab, kvm or ssh:NAME."),
    "qemu": ("PATH|SUITE", "The QEMU; of a lab the one that emulates it."),
    "dst-qemu": ("PATH|SUITE", "The destination's QEMU."),
    "lab-kernel": ("SUITE|IMAGE", "The kernel of the lab."),
    "lab-modules": ("DIR", "Its modules."),
    "lab-cpu": ("MODEL", "The CPU of the lab."),
    "lab-qemu": ("SUITE|FILE", "The QEMU inside the lab."),
    "dst-lab-kernel": ("SUITE|IMAGE", "The kernel of the destination's lab."),
    "dst-lab-modules": ("DIR", "Its modules."),
    "dst-lab-cpu": ("MODEL", "Its CPU."),
    "dst-lab-qemu": ("SUITE|FILE", "The QEMU inside it."),
    "hosts": ("FILE", "The inventory of real hosts."),
}


def _in_place_of_the_bundles(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that replace what a bundle says, and those that every command here has."""
    for name, (metavar, words) in reversed(_OPTIONS.items()):
        command = click.option(f"--{name}", metavar=metavar, help=words)(command)
    root = click.option(
        "--root", type=click.Path(path_type=Path), default=ROOT, metavar="DIR", help="Where the scenarios are, if not here."
    )
    runs = click.option("--runs", type=click.IntRange(1, 1000), default=1, metavar="N", help="Run it N times (default: 1).")
    return click.argument("bundle", type=click.Path(path_type=Path))(runs(root(command)))


_require = click.option(
    "--require",
    type=click.IntRange(1),
    default=1,
    metavar="K",
    help="At least K runs have to fail the same way (default: 1).",
)
_out = click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Keep results and bundles of the runs.")


def _named(chosen: dict[str, str | None]) -> dict[str, str]:
    """Return the options that were given. Pytest runs elsewhere, so paths become absolute."""
    from harness.assets.debian import SUITES

    def settled(name: str, value: str) -> str:
        is_path = name != "platform" and not name.endswith("cpu") and value not in SUITES
        return str(Path(value).absolute()) if is_path and ("/" in value or Path(value).exists()) else value

    return {name: settled(name, value) for name, value in chosen.items() if value is not None}


def _settled(found: Opened, chosen: dict[str, str | None], root: Path) -> Settled:
    """Return what is to be run here, and say what is not as it was. Raises Cannot, UsageError."""
    from harness.rerun import needs

    settled = needs.settle(found, _named(chosen), root)
    for note in settled.notes:
        click.echo(f"note: {note}", err=True)
    return settled


@click.command()
@_in_place_of_the_bundles
@_require
@_out
def repro(bundle: Path, runs: int, root: Path, require: int, out: Path | None, **chosen: str | None) -> None:
    """Run the case of BUNDLE again, and say whether it fails in the same way: verdict, suspect and sentence.

    BUNDLE is a directory, or a .tar.gz or .zip of one. Numbers that were measured may differ (docs/reproduce.md). Exit status 0
    where it is reproduced, 1 where not, 2 where it cannot be tried. The options replace what the bundle says.

    \b
    Examples: harness repro out/bundles/CASE
              harness repro CASE.tar.gz --runs 10
              harness repro CASE.tar.gz --lab-kernel ~/linux/arch/arm64/boot/Image
    """
    from harness.host.signals import ended_by_signals
    from harness.rerun import attempt, needs, opened

    found = opened.read(bundle)
    try:
        settled = _settled(found, chosen, root)
        with ended_by_signals():
            outcome = attempt.run_here(settled.plan, found.failure, runs, root, out)
        outcome.require_tried()
    except needs.Cannot as error:
        click.echo(f"cannot: {error}")
        sys.exit(CANNOT)
    count, others = len(outcome.same), outcome.others()
    if count >= require:
        click.echo(f"reproduced ({count} of {runs}): {outcome.same[0].failure}" + (f"; the others: {others}" if others else ""))
        sys.exit(REPRODUCED)
    wanted = f", where {require} are wanted" if require > 1 else ""
    click.echo(f"not reproduced ({count} of {runs}{wanted}): {others}; wanted: {found.failure}")
    sys.exit(NOT_REPRODUCED)


@click.command()
@_in_place_of_the_bundles
@_require
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR", help="Where the smaller bundle goes (default: BUNDLE-smaller)."
)
def minimise(bundle: Path, runs: int, root: Path, require: int, out: Path | None, **chosen: str | None) -> None:
    """Take away from the case of BUNDLE what it does not need to fail in the same way, and write a smaller bundle.

    Tried are a simpler lifecycle, no guest hypervisor, one lab for both sides, fewer vCPUs, EL1, less memory, fewer CPU
    features and devices, fewer arguments of the payload. For what fails now and then: --runs N --require K. Exit status 0
    where there is a smaller bundle, 1 where nothing can be taken away or the failure is not reproduced, 2 where it cannot be
    tried.

    \b
    Examples: harness minimise out/bundles/CASE
              harness minimise CASE.tar.gz --runs 10 --require 2 --out smaller
    """
    from harness.host.local import LocalHost
    from harness.host.signals import ended_by_signals
    from harness.rerun import attempt, needs, opened
    from harness.rerun import minimise as search

    found = opened.read(bundle)
    target = search.target_of(bundle, out)
    log: list[str] = []

    def say(line: str) -> None:
        log.append(line)
        click.echo(line)

    try:
        settled = _settled(found, chosen, root)
        with ended_by_signals(), LocalHost() as desk:
            looking = search.Search(
                lambda plan, where: attempt.run(plan, found.failure, runs, root, where),
                found.failure,
                require,
                desk.directory("minimise"),
                say,
            )
            gone = search.shrink(looking, settled.plan, target, log)
    except needs.Cannot as error:
        click.echo(f"cannot: {error}")
        sys.exit(CANNOT)
    if gone is None:
        click.echo("not reproduced")
    elif not gone:
        click.echo("nothing can be taken away: each thing that was tried is needed, or cannot be done without")
    sys.exit(0 if gone else NOT_REPRODUCED)


class _Undecided(click.Command):
    """A command for `git bisect run`: whatever goes wrong, a mistake in an option too, ends with 125, never with 1 or 2."""

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse the arguments."""
        try:
            return super().make_context(*args, **extra)
        except click.UsageError as error:
            with last_words():
                error.show()
            sys.exit(CANNOT_TELL)

    def invoke(self, ctx: click.Context) -> NoReturn:
        """Run the command, which returns the exit status."""
        status, why = CANNOT_TELL, ""
        try:
            status = super().invoke(ctx)
        except HarnessError as error:
            why = str(error)
        except (KeyboardInterrupt, SystemExit):
            why = "it was interrupted"
        except Exception as error:  # noqa: BLE001  # a traceback would end with 1, which means bad
            why = f"{type(error).__name__}: {error}"
        with last_words():
            if why:
                click.echo(f"cannot tell: {why}", err=True)
        sys.exit(status)


@click.command(cls=_Undecided)
@_in_place_of_the_bundles
@_out
def bisect_step(bundle: Path, runs: int, root: Path, out: Path | None, **chosen: str | None) -> int:
    """Say to `git bisect run` what the case of BUNDLE says of a kernel or a QEMU.

    Exit status 0 where all runs pass (good), 1 where any fails in the same way (bad), 125 in any other case: another failure,
    a kernel that does not boot or is not there, a lab that dies, a mistake in an option, Ctrl-C. Never 128 or more.
    docs/bisect.md has a whole bisection.

    \b
    Examples: git bisect run sh -c 'make -s Image || exit 125; harness bisect-step ~/CASE --lab-kernel arch/arm64/boot/Image'
              harness bisect-step CASE.tar.gz --qemu build/qemu-system-aarch64
    """
    from harness.host.signals import ended_by_signals
    from harness.rerun import attempt, bisect, opened

    with ended_by_signals():
        found = opened.read(bundle)
        settled = _settled(found, chosen, root)
        outcome = attempt.run_here(settled.plan, found.failure, runs, root, out)
        status, words = bisect.decide(outcome)
    click.echo(words)
    return status
