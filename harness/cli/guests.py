"""`lab`, `boot` and `kvm`: a machine of one's own, by hand."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click


@click.command(context_settings={"allow_interspersed_args": False})
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


@click.command()
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


@click.command()
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
