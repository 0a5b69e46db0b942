"""What a kernel says of KVM, and why a lab is lost: from words alone, without a lab."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.deadline import Deadline
from harness.errors import HostFailure, Suspect, UsageError
from harness.lab.boot import Kvm, LabSpec, Powered, find_kvm
from harness.lab.console_log import ConsoleLog
from harness.lab.control import Control
from harness.qemu.machine import Machine
from harness.qemu.qmp import Event
from harness.qemu.spec import MachineSpec

SPEC = LabSpec(Path("Image"), Path("initramfs.cpio"), "content", cpu="cortex-a76")


@dataclass
class FakeMachine:
    side: str = "lab"
    how: str | None = None
    words: str = ""
    spec: MachineSpec = field(default_factory=SPEC.machine)
    told: list[Event] = field(default_factory=list)

    @property
    def qmp(self) -> SimpleNamespace:
        return SimpleNamespace(events=self.told)

    def settle(self, _: Deadline) -> bool:
        return self.how is not None

    def ending(self) -> str | None:
        return self.how

    def last_words(self) -> str:
        return self.words


def powered(tmp_path: Path, *answer: str, machine: FakeMachine | None = None) -> Powered:
    ours, theirs = socket.socketpair()
    theirs.sendall("".join(f"{line}\n" for line in (*answer, "DONE 0")).encode())
    fake = cast("Machine", machine or FakeMachine())
    return Powered(fake, Control(ours, "lab"), theirs, ConsoleLog(tmp_path / "console.log"))


def test_nested_mode_is_found(tmp_path: Path) -> None:
    lab = powered(tmp_path, "device", "[    0.7] kvm [1]: VHE+NV2 mode initialized successfully")
    assert find_kvm(lab, SPEC) == Kvm("VHE+NV2", "", cpu_has_nv2=True)


def test_a_cpu_without_nv2_is_named(tmp_path: Path) -> None:
    lab = powered(
        tmp_path,
        "device",
        "[    0.2] CPU features: unavailable: Nested Virtualization Support",
        "[    0.7] kvm [1]: VHE mode initialized successfully",
    )
    assert find_kvm(lab, SPEC) == Kvm("VHE", "nested mode refused: FEAT_NV2 missing in cpu cortex-a76", cpu_has_nv2=False)


def test_another_refusal_is_in_the_words_of_kvm(tmp_path: Path) -> None:
    lab = powered(tmp_path, "device", "[    0.7] kvm [1]: VHE mode initialized successfully")
    assert find_kvm(lab, SPEC) == Kvm(
        "VHE", "nested mode refused: kvm [1]: VHE mode initialized successfully", cpu_has_nv2=True
    )


def test_a_cpu_without_el2_is_named(tmp_path: Path) -> None:
    lab = powered(tmp_path, "[    0.2] CPU: All CPU(s) started at EL1", "[    0.7] kvm [1]: HYP mode not available")
    with pytest.raises(UsageError, match="no EL2 on cpu cortex-a76"):
        find_kvm(lab, SPEC)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ((), "no /dev/kvm: the kernel's log has no word of KVM"),
        (("[    0.7] kvm [1]: initialization failed",), r"no /dev/kvm: kvm \[1\]: initialization failed"),
    ],
)
def test_a_kernel_without_kvm_is_named(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(HostFailure, match=said) as caught:
        find_kvm(powered(tmp_path, "[    0.2] CPU: All CPU(s) started at EL2", *lines), SPEC)
    assert caught.value.suspect is Suspect.KERNEL_L0


@pytest.mark.parametrize(
    ("console", "how", "said", "suspect"),
    [
        ("Kernel panic - not syncing: oh", "exited with status 0", "its kernel panicked: .* oh", Suspect.KERNEL_L0),
        ("LAB-ERROR: no port", "exited with status 0", "its init gave up: no port", Suspect.CONFIGURATION),
        ("", "was killed by SIGKILL", "its QEMU was killed by SIGKILL: out of luck", Suspect.HOST),
        ("", "exited with status 0", "powered off or reset from inside", Suspect.HOST),
    ],
)
def test_a_loss_has_a_cause(tmp_path: Path, console: str, how: str, said: str, suspect: Suspect) -> None:
    (tmp_path / "console.log").write_text(f"{console}\n")
    lab = powered(tmp_path, machine=FakeMachine(how=how, words="out of luck"))
    with pytest.raises(HostFailure, match=said) as caught, lab.explained():
        raise HostFailure("the connection was lost")
    assert caught.value.suspect is suspect


def test_what_is_no_loss_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="the disk is full"), powered(tmp_path).explained():
        raise HostFailure("the disk is full")


def test_the_connection_ends_with_the_port_but_not_before_it_was_open(tmp_path: Path) -> None:
    machine = FakeMachine()
    lab = powered(tmp_path, machine=machine)
    opened, closed = (Event("VSERPORT_CHANGE", {"id": "ssh", "open": state}) for state in (True, False))
    lab.hang_up(closed)  # the state that was restored
    assert lab.ssh.send(b"SSH-2.0")
    machine.told.append(opened)
    lab.hang_up(Event("VSERPORT_CHANGE", {"id": "control", "open": False}))
    lab.hang_up(opened)
    assert lab.ssh.send(b"SSH-2.0")
    lab.hang_up(closed)
    with pytest.raises(BrokenPipeError):
        lab.ssh.send(b"SSH-2.0")
