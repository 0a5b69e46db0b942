"""The command `harness`. A thin list: each command imports what it needs when it is called, so that --help is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from harness import cli_results
from harness.assets.debian import SUITES
from harness.errors import HarnessError
from harness.fleet import commands as of_fleet
from harness.rerun.commands import bisect_step, minimise, repro

USER_ERROR = 2
# What `setup --prune` leaves of the templates of labs: those used of late, a few of them.
TEMPLATE_DAYS = 14.0
TEMPLATE_BYTES = 4_000_000_000


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


@main.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--kernel", "lab_kernel", metavar="SUITE|IMAGE", help="Its kernel: of a Debian suite that was set up, or an arm64 Image."
)
@click.option("--modules", "lab_modules", metavar="DIR", help="Modules of a kernel that is a file.")
@click.option("--cpu", "lab_cpu", metavar="MODEL", help="Its CPU, as QEMU's -cpu (default: neoverse-n2).")
@click.option("--qemu", "lab_qemu", metavar="SUITE|FILE", help="The QEMU inside. The one that emulates the lab: $HARNESS_QEMU.")
@click.option("--cold", is_flag=True, help="Boot it instead of starting it from a template.")
@click.option("--keep", is_flag=True, help="Leave it running, and say how to log in.")
@click.option("--list", "show", is_flag=True, help="Show the labs that are kept.")
@click.option("--stop", metavar="NAME", help="End a lab that is kept.")
@click.option("--connect", metavar="NAME", hidden=True, help="Carry an SSH connection to a lab that is kept.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def lab(command: tuple[str, ...], *, cold: bool, keep: bool, show: bool, **chosen: str | None) -> None:
    """Start an emulated arm64 host with its own /dev/kvm: run COMMAND in it, or a shell.

    The exit status is the command's (128 + N where signal N ended it), 2 where there is no lab to run it in. One word is a
    line for the lab's shell; several are a program and its arguments. Without COMMAND: a login shell on this terminal, or a
    script from standard input.

    \b
    Examples: harness lab
              harness lab -- uname -a
              harness lab --cpu neoverse-n2 -- 'dmesg | grep kvm; ls -l /dev/kvm'
              harness lab --kernel ~/linux/arch/arm64/boot/Image --keep
    """
    from harness.lab import kept

    stop, connect = chosen.pop("stop"), chosen.pop("connect")
    if sum((bool(command), keep, show, bool(stop), bool(connect))) > 1:
        raise click.UsageError("COMMAND, --keep, --list and --stop exclude each other")
    if show:
        for each in kept.all_kept():
            click.echo(f"{each.name}  Linux {each.kernel}  {each.cpu}  QEMU {each.qemu}  since {each.since}  pid {each.pid}")
    elif stop:
        kept.stop(stop)
    elif connect:
        kept.connect(connect)
    elif keep:
        click.echo(kept.keep({"platform": "lab", **chosen}, warm=not cold).how_to, nl=False)
    else:
        # paramiko imports it for one directive of ssh_config that is not used here, and takes twice as long for it.
        sys.modules.setdefault("invoke", None)  # type: ignore[arg-type]
        from harness.assets.progress import PlainProgress
        from harness.lab import session
        from harness.lab.ground import Choice

        sys.exit(session.enter(Choice("lab", **chosen), command, PlainProgress(to_stderr=True), warm=not cold))


@main.command()
@click.option("--platform", default="tcg", metavar="NAME", help="tcg, lab, kvm or ssh:NAME (default: tcg).")
@click.option("--qemu", metavar="PATH", help="A qemu-system-aarch64, or a Debian suite that was set up.")
@click.option("--cpu", metavar="MODEL", help="The guest's CPU, as QEMU's -cpu (default: max; host under KVM).")
@click.option("--vcpus", type=click.IntRange(1), metavar="N", help="As vcpus=N.")
@click.option("--el2", is_flag=True, help="Enter the guest at EL2.")
@click.option("--go", is_flag=True, help="Tell the guest to go on as soon as it says `now`.")
@click.option("--lab-kernel", metavar="SUITE|IMAGE", help="The kernel of the lab.")
@click.option("--lab-modules", metavar="DIR", help="Its modules, where it is a file.")
@click.option("--lab-cpu", metavar="MODEL", help="The CPU of the lab.")
@click.option("--lab-qemu", metavar="SUITE|FILE", help="The QEMU inside the lab.")
@click.option("--hosts", metavar="FILE", help="The inventory of real hosts (default: hosts.toml, or $HARNESS_HOSTS).")
@click.argument("guest")
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
def boot(
    guest: str,
    arguments: tuple[str, ...],
    cpu: str | None,
    vcpus: int | None,
    *,
    el2: bool,
    go: bool,
    platform: str,
    **chosen: str | None,
) -> None:
    """Boot a payload of guests/ with its console attached: its lines come out, the keys g, ? and e go in.

    It ends when the guest has powered off: exit status 0 where all checks of the guest held, 1 where not, 2 where it could not
    be started as you said. Where standard input ends without a g, the guest is told to go on then.

    \b
    Examples: harness boot timers timer=cntp instant=expired-masked
              harness boot nested --el2 --go vcpus=2
              harness boot timers --platform lab --lab-cpu neoverse-n2 --go
    """
    from contextlib import ExitStack

    from harness.assets import guests
    from harness.assets.progress import PlainProgress
    from harness.guest import session
    from harness.host.local import LocalHost
    from harness.host.signals import ended_by_signals
    from harness.lab import ground
    from harness.qemu.gdb import TargetCache
    from harness.qemu.hub import Hub
    from harness.qemu.machine import Workshop

    order = session.Order(guests.path(guest), session.arguments_of(arguments, vcpus), cpu, el2=el2, go=go)
    choice = ground.Choice(platform, **chosen)
    choice.check()
    with ended_by_signals(), LocalHost() as desk, Hub() as hub, ExitStack() as opening:
        shop = Workshop(desk, desk, hub, TargetCache())
        made = ground.make(choice, opening, shop, PlainProgress(to_stderr=True))
        status = session.run(order, made.workshop, made.qemu, made.accel)
    sys.exit(status)


_kernel_tree = click.option(
    "--kernel-tree",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Name registers and fields as this Linux source tree does (arch/arm64/tools/sysreg).",
)


@main.command()
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


@main.command()
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


@main.command()
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


@main.command("new-report")
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


@main.command()
@click.option("--host", default="lab", metavar="HOST", help="lab, lab:CPU, lab:CPU@KERNEL, kvm or ssh:NAME (default: lab).")
@click.option("--to", metavar="HOST", help="Carry it there (lifecycle kvm-migrate).")
@click.option("--level", type=click.Choice(["el1", "vhe", "nvhe"]), default="el1", help="At which the guest is entered.")
@click.option("--vcpus", type=click.IntRange(1, 15), metavar="N", help="As vcpus=N.")
@click.option("--lifecycle", metavar="NAME", help="What happens to it at its `now` (default: kvm-restore).")
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Save it at its `now` to this file, and end it.")
@click.option("--restore", "saved", type=click.Path(path_type=Path, dir_okay=False), help="Go on with what --save saved.")
@click.option("--hosts", metavar="FILE", help="The inventory of real hosts.")
@click.argument("guest", required=False)
@click.argument("arguments", nargs=-1, metavar="[KEY=VALUE]...")
def kvm(
    guest: str | None,
    arguments: tuple[str, ...],
    *,
    host: str,
    to: str | None,
    vcpus: int | None,
    saved: Path | None,
    hosts: str | None,
    **rest: Any,
) -> None:
    """Run a payload of guests/ through /dev/kvm with no VMM of the user's between: save, restore, compare, go on.

    Nested guests too, which QEMU does not save. Its lines come out, and what is done to it. Every register that KVM refuses is
    named, with what it has, what it should have, and whether the kernel says that it cannot be written. Exit status 0 where the
    guest goes on as it was and its own checks hold, 1 where not, 2 where it cannot be done as you said.

    \b
    Examples: harness kvm nested --level vhe
              harness kvm timers timer=cntp --to lab:neoverse-v1
              harness kvm registers --host ssh:old --save state
              harness kvm --restore state --host ssh:new
    """
    from contextlib import ExitStack

    from harness.assets import guests
    from harness.assets.progress import PlainProgress
    from harness.guest.session import arguments_of
    from harness.host.local import LocalHost
    from harness.host.signals import ended_by_signals
    from harness.lab import ground
    from harness.lifecycle import session
    from harness.preflight.survey import choice_of
    from harness.qemu.gdb import TargetCache
    from harness.qemu.hub import Hub
    from harness.qemu.machine import Workshop

    if saved is None:
        if guest is None:
            raise click.UsageError("name a payload, or a saved machine with --restore")
        order = session.order(guests.path(guest), arguments_of(arguments, vcpus), to=to, **rest)
    elif guest or to or rest["save"] or rest["lifecycle"]:
        raise click.UsageError("--restore goes with --host alone: the file has all else")
    else:
        session.config_of(saved)
    choices = [choice_of(word, hosts) for word in (host, to) if word]
    for choice in choices:
        choice.check()
    with ended_by_signals(), LocalHost() as desk, Hub() as hub, ExitStack() as opening:
        shop = Workshop(desk, desk, hub, TargetCache())
        grounds = [ground.make(choice, opening, shop, PlainProgress(to_stderr=True)) for choice in choices]
        status = session.restore(saved, grounds[0]) if saved else session.run(order, grounds)
    sys.exit(status)


for _command in (
    repro,
    minimise,
    bisect_step,
    cli_results.report,
    cli_results.history,
    cli_results.compare,
    cli_results.known,
    of_fleet.export,
    of_fleet.fleet,
    of_fleet.nightly,
):
    main.add_command(_command)


if __name__ == "__main__":
    main()
