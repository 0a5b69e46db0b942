"""`harness lab` and `harness boot`, as a user types them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import termios
from collections.abc import Iterator, Sequence
from pathlib import Path

import pexpect
import pytest
from click.testing import CliRunner

from harness.assets import guests
from harness.cli import main
from harness.errors import MissingError, UsageError
from harness.guest.session import Order, arguments_of
from harness.lab.boot import LabSpec
from harness.lab.session import command_line

HARNESS = (sys.executable, "-m", "harness.cli")
SECONDS = 120


def harness(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*HARNESS, *words], input=stdin, capture_output=True, timeout=SECONDS, check=False)


@pytest.fixture(scope="module")
def payloads() -> None:
    try:
        guests.find()
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def kept(spec: LabSpec) -> Iterator[str]:  # noqa: ARG001  # skips where nothing has been set up
    """What `harness lab --keep` says; the lab is ended afterwards, and nothing is left of it."""
    done = harness("lab", "--keep")
    assert done.returncode == 0, done.stderr
    words = done.stdout.decode()
    yield words
    stopped = harness("lab", "--stop", name_of(words))
    assert (stopped.returncode, stopped.stderr) == (0, b"")
    assert not inventory_of(words).parent.exists()
    assert name_of(words) not in harness("lab", "--list").stdout.decode()


def name_of(words: str) -> str:
    return words.partition(" ")[0]


def inventory_of(words: str) -> Path:
    return Path(re.findall(r"--hosts (\S+)", words)[0])


# -- what a user may say


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dmesg | grep kvm"], "dmesg | grep kvm"),
        (["cat", "/a b", "$HOME"], "exec cat '/a b' '$HOME'"),
    ],
)
def test_one_word_is_a_line_of_shell_and_several_are_a_program_with_arguments(words: Sequence[str], line: str) -> None:
    assert command_line(words) == line


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["lab", "--keep", "--", "true"], "exclude each other"),
        (["lab", "--stop", "lab-99999"], "harness: harness lab: no lab lab-99999 is kept"),
        (["lab", "--kernel", "/no/such/Image"], "there is no /no/such/Image"),
        (["boot", "timers", "timer"], "'timer' is not an argument of a payload; write key=value"),
        (["boot", "timers", "vcpus=2", "--vcpus", "1"], "contradict each other"),
        (["boot", "timers", "--lab-cpu", "max"], "--lab-cpu is for --platform lab"),
        (["boot", "timers", "--platform", "lba"], "there is no platform lba; use tcg, lab, kvm or ssh:NAME"),
        (["boot", "timres"], "there is no payload timres; there are: "),
    ],
)
@pytest.mark.usefixtures("payloads", "spec")
def test_a_mistake_is_one_line_and_exit_2(words: list[str], says: str) -> None:
    answer = CliRunner().invoke(main, words)
    assert answer.exit_code == 2
    assert says in answer.stderr
    assert answer.stdout == ""


def test_arguments_go_to_the_payload_and_say_how_many_vcpus_the_machine_has() -> None:
    order = Order(Path("timers.bin"), arguments_of(["timer=cntp"], 2), el2=True)
    under_tcg, under_kvm = order.machine(Path("there"), "tcg"), order.machine(Path("there"), "kvm")
    assert (under_tcg.append, under_tcg.cpu, under_tcg.vcpus) == ("timer=cntp vcpus=2", "max", 2)
    # QEMU has no switch for a guest with E2H = 0 there.
    assert (under_kvm.append, under_kvm.cpu) == ("timer=cntp vcpus=2 e2h=1", "host")
    with pytest.raises(UsageError, match="is not a number of vCPUs"):
        Order(Path("timers.bin"), {"vcpus": "two"}).machine(Path("there"), "tcg")


# -- a lab


@pytest.mark.usefixtures("spec")
def test_a_command_has_our_streams_as_bytes_and_its_exit_status_is_ours() -> None:
    data = bytes(range(256)) * 4000
    done = harness("lab", "--", "cat; echo words >&2; exit 7", stdin=data)
    assert (done.returncode, done.stdout == data) == (7, True)
    # Before it, where there is no template yet, what is said of its making.
    assert done.stderr.splitlines()[-1] == b"words"


@pytest.mark.usefixtures("spec")
def test_a_script_comes_from_standard_input_and_a_signal_is_told_as_shells_do() -> None:
    done = harness("lab", stdin=b"cat /proc/cmdline\nkill -9 $$\n")
    assert done.returncode == 137
    assert b"kvm-arm.mode=nested" in done.stdout


@pytest.mark.usefixtures("spec")
def test_a_cpu_that_qemu_does_not_know_is_told_in_its_words() -> None:
    done = harness("lab", "--cpu", "abacus", "--", "true")
    assert done.returncode == 2
    assert done.stderr.decode().splitlines()[-1].startswith("harness: ")
    assert "unable to find CPU model 'abacus'" in done.stderr.decode()


@pytest.mark.usefixtures("spec")
def test_a_shell_has_a_terminal_that_follows_ours_and_leaves_ours_as_it_was() -> None:
    child = pexpect.spawn(HARNESS[0], [*HARNESS[1:], "lab"], timeout=SECONDS, dimensions=(33, 101))
    try:
        child.expect("# ")
        assert not termios.tcgetattr(child.child_fd)[3] & termios.ICANON
        child.sendline("stty size")
        child.expect("33 101")
        child.setwinsize(40, 120)
        child.sendline("sleep 1; stty size")
        child.expect("40 120")
        child.sendline("sh -c 'echo begun; exec sleep 1000'")  # said by what has the terminal then
        child.expect("\r\nbegun\r\n")
        child.sendcontrol("c")
        child.sendline("exit 5")
        child.expect(pexpect.EOF)
        assert termios.tcgetattr(child.child_fd)[3] & termios.ICANON
    finally:
        child.close()
    assert child.exitstatus == 5


# -- a lab that is kept


def test_a_kept_lab_is_listed_with_what_it_is(kept: str, spec: LabSpec) -> None:
    (line,) = [line for line in harness("lab", "--list").stdout.decode().splitlines() if line.startswith(f"{name_of(kept)} ")]
    assert spec.cpu in line


@pytest.mark.skipif(shutil.which("ssh") is None, reason="there is no ssh(1)")
def test_openssh_logs_in_as_told_again_and_again_and_at_the_same_time(kept: str) -> None:
    (line,) = [line for line in kept.splitlines() if line.startswith("ssh ")]
    for number in range(3):
        done = subprocess.run(
            ["sh", "-c", f"{line} 'echo {number}'"], capture_output=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{number}\n".encode(), b"")
    with subprocess.Popen(["sh", "-c", f"{line} cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        second = subprocess.run(["sh", "-c", f"{line} uname -m"], capture_output=True, timeout=SECONDS, check=False)
        assert second.stdout == b"aarch64\n"
        assert first.communicate(b"still here", SECONDS)[0] == b"still here"


@pytest.mark.usefixtures("payloads")
def test_a_guest_boots_on_its_kvm_as_on_any_host(kept: str) -> None:
    done = harness("boot", "timers", "--platform", f"ssh:{name_of(kept)}", "--hosts", str(inventory_of(kept)), "--go")
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert lines[0].startswith("@1 hello guest=timers el=1")
    assert lines[-1] == "@1 end"


# -- a guest


@pytest.mark.usefixtures("payloads", "spec")
@pytest.mark.parametrize("how", ["--go", "input"])
def test_a_guest_that_nobody_attends_is_told_to_go_on_and_to_end(how: str) -> None:
    done = harness("boot", "timers", "sabotage=never-arms", *(["--go"] if how == "--go" else []))
    lines = done.stdout.decode().splitlines()
    assert lines[-1] == "@1 end"
    assert done.returncode == 0  # it makes no check of what it sabotages


@pytest.mark.usefixtures("payloads", "spec")
def test_a_guest_whose_checks_do_not_hold_is_exit_1() -> None:
    done = harness("boot", "memory", "sabotage=flip", "--go")
    assert done.returncode == 1
    assert done.stderr.decode().startswith("harness: the guest found: ")


@pytest.mark.usefixtures("payloads", "spec")
def test_keys_of_a_terminal_go_to_the_guest_without_return() -> None:
    child = pexpect.spawn(HARNESS[0], [*HARNESS[1:], "boot", "timers", "instant=disabled"], timeout=SECONDS)
    try:
        child.expect("@1 now")
        child.send("xg")  # the payload would take x for an error
        child.expect("@1 end")
        child.expect(pexpect.EOF)
    finally:
        child.close()
    assert child.exitstatus == 0
