"""Something happens to the lab in mid-case: the verdict comes at once and says what, and the next case has a lab that works."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from harness.deadline import Deadline
from harness.errors import Failure, HostFailure, KernelFailure, Suspect
from harness.host.local import LocalProcess
from harness.lab.host import Lab
from harness.lifecycle import LIFECYCLES
from harness.lifecycle.passage import Passage
from harness.plugin import exhibits
from harness.plugin.trial import Trial
from harness.plugin.verdicts import conclude
from harness.qemu.machine import AnyMachine, Machine
from harness.report import bundle
from harness.report.model import Case, Compared
from tests.sabotage.parts import LabBench, NewTrial, SabotagedTrial, Way, caught, hear_and_judge, machines_alive, start

# How long the guest has to wait for its interrupt (times the pace of a lab): much longer than it takes to hear of a loss.
_LONG_MS = 4000
_SHORT_MS = 400
_WARNING = "WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/sabotage.c:1 sabotage+0x0/0x1"

Fault = Callable[[Lab], None]


def kill_its_qemu(lab: Lab) -> None:
    lab.power.machine.kill()


def cut_the_connection(lab: Lab) -> None:
    lab.power.ssh.shutdown(socket.SHUT_RDWR)


def kill_its_ssh_server(lab: Lab) -> None:
    lab.power.control.send("killall -9 dropbear")


def kill_our_session(lab: Lab) -> None:
    """Kill the server's process for this connection; the server itself lives on and greets whoever comes next."""
    lab.power.control.send("kill -9 $(pidof dropbear | tr ' ' '\\n' | sort -n | tail -n 1)")


def panic(lab: Lab) -> None:
    lab.power.control.send("echo c >/proc/sysrq-trigger")


def freeze(lab: Lab) -> None:
    process = lab.power.machine.process
    assert isinstance(process, LocalProcess)
    os.killpg(process.pid, signal.SIGSTOP)


def warn(lab: Lab) -> None:
    said(lab, f"echo '<4>{_WARNING}' >/dev/kmsg")


def fill_the_disk(lab: Lab) -> None:
    """Leave two pages of /tmp."""
    said(lab, "set -- $(df -k /tmp | tail -n 1); mount -o remount,size=$(($3 + 8))k /tmp")


def said(lab: Lab, script: str) -> str:
    done = lab.run(["sh", "-c", script], Deadline.after(60))
    assert (done.status, done.stderr) == (0, b"")
    return done.stdout.decode()


@dataclass(frozen=True)
class Loss:
    fault: Fault
    words: str
    error: type[Failure] = HostFailure
    suspect: Suspect = Suspect.HOST


def lab_of(machine: AnyMachine) -> Lab:
    assert isinstance(machine.host, Lab)
    return machine.host


def _stopped_with(fault: Fault) -> Way:
    """Return a lifecycle in which the fault comes while the guest is stopped between two looks."""

    def way(passage: Passage, machine: Machine) -> Machine:
        machine.stop()
        before = passage.look(machine)
        fault(lab_of(machine))
        passage.compare(before, passage.look(machine))
        machine.cont()
        return machine

    way.__name__ = f"{fault.__name__} while it is stopped"
    return way


def _running_with(fault: Fault) -> Way:
    """Return a lifecycle after which the fault comes, while the guest is waited for."""

    def way(passage: Passage, machine: Machine) -> Machine:
        machine.stop()
        before = passage.look(machine)
        passage.compare(before, passage.look(machine))
        machine.cont()
        threading.Timer(1.0, fault, [lab_of(machine)]).start()
        return machine

    way.__name__ = f"{fault.__name__} while it runs"
    return way


def _nothing(_: Lab) -> None:
    pass


def play(trial: SabotagedTrial) -> None:
    with trial.explained():
        guest = start(trial, "timers")
        trial.put_through(guest)
        hear_and_judge(trial, guest)


NextCase = Callable[..., None]


@pytest.fixture
def next_case_passes(new_lab_trial: NewTrial, lab_bench: LabBench) -> NextCase:
    return partial(_next_case_passes, new_lab_trial, lab_bench)


def _next_case_passes(new_lab_trial: NewTrial, lab_bench: LabBench, before: Lab | None = None) -> None:
    """Assert that an undisturbed case passes, in another lab than before, of which nothing is left."""
    trial = new_lab_trial(_stopped_with(_nothing), runs_on_ms=_SHORT_MS)
    play(trial)
    assert (trial.tally.interrupts, trial.tally.registers > 100) == (1, True)
    lab = lab_of(trial.machines[0])
    trial.close()
    assert said(lab, 'ls "$(dirname "$(ls -d /tmp/armvirt-*/pids)")"').split() == ["1-brought", "killed", "pids"]
    if before:
        assert lab is not before
        assert before.power.machine.ending() is not None
    process = lab.power.machine.process
    assert isinstance(process, LocalProcess)
    # Labs of other tests may live as long as all tests do.
    assert machines_alive() - lab_bench.others == {process.pid}


KILLED = Loss(kill_its_qemu, "lab: its QEMU was killed by SIGKILL")
PANICKED = Loss(panic, "the kernel of lab says: .*Kernel panic - not syncing: sysrq", KernelFailure, Suspect.KERNEL_L0)
CUT = "lab: the connection was lost"
LOSSES = (
    (KILLED, _stopped_with),
    (KILLED, _running_with),
    (PANICKED, _stopped_with),
    (PANICKED, _running_with),
    (Loss(cut_the_connection, CUT), _running_with),
    (Loss(kill_its_ssh_server, CUT), _stopped_with),
    (Loss(kill_our_session, CUT), _running_with),
)


@pytest.mark.parametrize(("loss", "when"), LOSSES, ids=lambda part: getattr(part, "fault", part).__name__.strip("_"))
def test_a_loss_is_told_at_once(
    loss: Loss, when: Callable[[Fault], Way], new_lab_trial: NewTrial, next_case_passes: NextCase
) -> None:
    came: list[float] = []

    def fault(lab: Lab) -> None:
        came.append(time.monotonic())
        loss.fault(lab)

    fault.__name__ = loss.fault.__name__
    trial = new_lab_trial(when(fault), runs_on_ms=_LONG_MS)
    with caught(trial, loss.error, loss.words) as raised:
        play(trial)
    assert raised.value.suspect is loss.suspect
    lab = lab_of(trial.machines[0])
    trial.close()
    took = time.monotonic() - came[0]
    assert took < trial.ahead_us / 1e6 / 2, "it ended on the loss; the guest's interrupt was still ahead"
    next_case_passes(lab)


def test_a_lab_that_stands_still_is_not_waited_for_long(
    new_lab_trial: NewTrial, next_case_passes: NextCase, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stand_still(lab: Lab) -> None:
        freeze(lab)
        for waits in ("guest.timers.ANSWER", "plugin.trial._ANSWER", "host.ssh.OPEN"):
            patched.setattr(f"harness.{waits}_SECONDS", 5.0)

    trial = new_lab_trial(_running_with(stand_still), runs_on_ms=_SHORT_MS)
    with monkeypatch.context() as patched, caught(trial, HostFailure, "lab: does not answer|lab: it does not answer") as raised:
        play(trial)
    assert raised.value.suspect is Suspect.HOST
    lab = lab_of(trial.machines[0])
    began = time.monotonic()
    trial.close()
    assert time.monotonic() - began < 20, "it is not asked for anything any more"
    next_case_passes(lab)


@pytest.mark.parametrize("lifecycle", ["file", "snapshot"])
def test_a_full_disk_is_named_when_a_guest_is_saved(
    lifecycle: str, new_lab_trial: NewTrial, next_case_passes: NextCase
) -> None:
    def way(passage: Passage, machine: Machine) -> Machine:
        fill_the_disk(lab_of(machine))
        saved: Machine = LIFECYCLES[lifecycle].run(passage, machine)
        return saved

    way.__name__ = f"{lifecycle} with a full disk"
    trial = new_lab_trial(way, runs_on_ms=_LONG_MS)
    with caught(trial, HostFailure, "the disk of lab is full: .*No space left on device") as raised:
        play(trial)
    assert raised.value.suspect is Suspect.HOST
    lab = lab_of(trial.machines[0])
    trial.close()
    next_case_passes(lab)


def test_a_full_disk_is_named_when_a_payload_is_brought(new_lab_trial: NewTrial, next_case_passes: NextCase) -> None:
    trial = new_lab_trial("pause")
    trial.bench.grounds(trial.params)[0].give_up()  # it may have the payload
    lab = trial.bench.grounds(trial.params)[0].workshop.host
    assert isinstance(lab, Lab)
    fill_the_disk(lab)
    with caught(trial, HostFailure, "the disk of lab is full") as raised:
        play(trial)
    assert raised.value.suspect is Suspect.HOST
    trial.close()
    next_case_passes(lab)


def test_a_warning_of_its_kernel_fails_a_good_case(
    new_lab_trial: NewTrial, lab_bench: LabBench, next_case_passes: NextCase
) -> None:
    trial = new_lab_trial(_stopped_with(warn), runs_on_ms=_SHORT_MS)
    with caught(trial, KernelFailure, f"the kernel of lab says: .*{_WARNING.replace('+', '[+]')}") as raised:
        play(trial)
    assert raised.value.suspect is Suspect.KERNEL_L0
    assert trial.tally.interrupts == 1, "but for the warning all was well"
    lab = lab_of(trial.machines[0])
    console = evidence_of(trial, raised.value, lab_bench.bench.out) / "sides" / "host-lab" / "console.log"
    assert _WARNING in console.read_text()
    trial.close()
    next_case_passes(lab)


def test_a_case_passes_that_nothing_happens_to(next_case_passes: NextCase) -> None:
    next_case_passes()


def evidence_of(trial: Trial, error: BaseException, out: Path) -> Path:
    case: Case = conclude("tests::it", "sabotage", "lab", trial.params, error, seconds=0, compared=Compared())
    return out / bundle.write(out, exhibits.evidence(trial, case, (), {}))
