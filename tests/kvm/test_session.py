"""`harness kvm`, on a stand-in for /dev/kvm: what it prints, its exit status, and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.errors import UsageError
from harness.kvm.machine import KvmMachine
from harness.lab.ground import Ground
from harness.lifecycle import session
from harness.qemu.machine import Workshop
from tests.kvm.conftest import NO_QEMU

Kind = Callable[..., type[KvmMachine]]


@pytest.fixture
def ground(workshop: Workshop, kind: Kind, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Ground]:
    """`ground(fault)`: where machines have that fault from now on."""

    def ground(fault: str = "") -> Ground:
        monkeypatch.setattr(session, "KvmMachine", kind(fault))
        return Ground(workshop, NO_QEMU, "kvm")

    return ground


def ordered(payload: Path, **asked: Any) -> session.Order:
    return session.order(
        payload, {"console": "pl011"}, **{"level": "el1", "lifecycle": None, "save": None, "to": None, **asked}
    )


def test_it_is_restored_and_goes_on(ground: Callable[..., Ground], payload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert session.run(ordered(payload), [ground()]) == 0
    said = capsys.readouterr().out
    order = [r"@1 now", r"source: save: \d+ registers", r"destination: restore: ms \d+", r"registers compared, all that must survive did",
             r"@1 irq", r"@1 end"]  # fmt: skip
    assert re.search(".*".join(order), said, re.DOTALL), said


def test_what_differs_is_said(ground: Callable[..., Ground], payload: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert session.run(ordered(payload), [ground("loses x5")]) == 1
    said = capsys.readouterr()
    assert "differs: X5 0 -> 1 on cpu0\n" in said.out
    assert re.search(r"^harness: 1 of \d+ values that must survive did not$", said.err, re.MULTILINE)


def test_it_is_saved_here_and_restored_there(
    ground: Callable[..., Ground], payload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved"
    assert session.run(ordered(payload, save=saved), [ground()]) == 0
    assert f"saved to {saved}\n" in capsys.readouterr().out
    assert session.restore(saved, ground()) == 0
    assert "@1 irq cpu=0" in capsys.readouterr().out


def test_every_register_that_is_refused_is_named(
    ground: Callable[..., Ground], payload: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = tmp_path / "saved"
    assert session.run(ordered(payload, save=saved), [ground("changes an ID register")]) == 0
    assert session.restore(saved, ground()) == 1
    said = capsys.readouterr()
    assert re.search(
        r"^refused: cpu0/ID_AA64MMFR1_EL1.XNX has 0x1, not 0x0 \(0x603000000013c039: EINVAL; not writable",
        said.out,
        re.MULTILINE,
    )
    assert said.err == "harness: restored: KVM refused 1 registers\n"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"lifecycle": "file"}, "file is no lifecycle through /dev/kvm; there are: kvm-straight"),
        ({"lifecycle": "kvm-migrate"}, "--to and the lifecycle kvm-migrate go together"),
        ({"lifecycle": "kvm-restore", "to": "lab"}, "--to and the lifecycle kvm-migrate go together"),
        ({"save": Path("x"), "to": "lab"}, "--save ends the guest where it is saved"),
    ],
)
def test_what_cannot_be_meant(payload: Path, asked: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=re.escape(says)):
        ordered(payload, **asked)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name a payload, or a saved machine"),
        (("timers", "--restore", "x"), "the file has all else"),
        (("timers", "--host", "moon"), "neither a file of facts nor a host"),
        (("--restore", "/dev/null"), "/dev/null: not a saved machine"),
        (("timers", "vcpus=0"), "vcpus=0 is not a number of vCPUs"),
    ],
)
def test_a_mistake_is_told_before_anything_starts(words: tuple[str, ...], says: str) -> None:
    done = CliRunner().invoke(main, ["kvm", *words])
    assert done.exit_code == 2
    assert says in done.stderr and "Traceback" not in done.stderr
