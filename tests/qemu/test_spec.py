"""A spec's command line, word by word; what differs between two machines with equal specs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

import pytest

from harness.qemu.spec import MachineSpec, Start, Wiring, arguments

SPEC = MachineSpec(kernel=Path("timers.bin"))
WIRING = Wiring("socket,fd=0", PurePath("private"))
GOLDEN = (
    "-nodefaults -no-user-config -nic none -display none -machine virt,gic-version=3 -accel tcg -cpu max -smp 1 -m 32M "
    "-kernel timers.bin -append  -chardev socket,id=console,path=private/console,server=on,wait=off -serial chardev:console "
    "-gdb unix:private/gdb,server=on,wait=off -S -chardev socket,fd=0,id=qmp -qmp chardev:qmp"
)


def test_the_plainest_machine() -> None:
    assert " ".join(arguments(SPEC, WIRING)) == GOLDEN


def test_every_field_of_the_spec_and_nothing_else() -> None:
    spec = MachineSpec(
        Path("k"),
        "timer=cntv by=tval",
        cpu="cortex-a57",
        vcpus=2,
        memory_mib=64,
        el2=True,
        accel="kvm",
        gic_version=4,
        machine="virt-9.0",
    )
    changed = {
        "-machine": "virt-9.0,gic-version=4,virtualization=on",
        "-accel": "kvm",
        "-cpu": "cortex-a57",
        "-smp": "2",
        "-m": "64M",
        "-kernel": "k",
        "-append": "timer=cntv by=tval",
    }
    plain, other = arguments(SPEC, WIRING), arguments(spec, WIRING)
    assert len(plain) == len(other)
    differing = {other[index - 1]: other[index] for index in range(len(plain)) if plain[index] != other[index]}
    assert differing == changed


def test_what_else_a_machine_is_comes_last_of_its_own_words() -> None:
    other = arguments(replace(SPEC, options=("its=off", "acpi=off"), arguments=("-device", "virtio-rng-pci")), WIRING)
    assert other[other.index("-machine") + 1] == "virt,gic-version=3,its=off,acpi=off"
    assert other[-6:-4] == ["-device", "virtio-rng-pci"]


@pytest.mark.parametrize(("start", "more"), [(Start.RUNNING, []), (Start.PAUSED, []), (Start.INCOMING, ["-incoming", "defer"])])
def test_how_it_begins(start: Start, more: list[str]) -> None:
    plain = arguments(SPEC, WIRING)
    assert arguments(SPEC, replace(WIRING, start=start)) == [*plain[:-4], *more, *plain[-4:]]


def test_equal_specs_differ_in_their_wiring_only() -> None:
    one, other = arguments(SPEC, WIRING), arguments(SPEC, Wiring("stdio", PurePath("elsewhere")))
    assert {(left, right) for left, right in zip(one, other, strict=True) if left != right} == {
        (
            "socket,id=console,path=private/console,server=on,wait=off",
            "socket,id=console,path=elsewhere/console,server=on,wait=off",
        ),
        ("socket,fd=0,id=qmp", "stdio,id=qmp"),
        ("unix:private/gdb,server=on,wait=off", "unix:elsewhere/gdb,server=on,wait=off"),
    }


def test_no_option_is_given_twice() -> None:
    options = [word for word in arguments(SPEC, WIRING) if word.startswith("-") and word != "-chardev"]
    assert len(options) == len(set(options))
