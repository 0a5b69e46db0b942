"""Labs of the default assets. Nobody can tell a warm one from a cold one, and one that is lost says why at once."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import pytest
from paramiko import Ed25519Key

from harness.deadline import Deadline
from harness.errors import HarnessError, HostFailure, Suspect
from harness.host.local import LocalProcess
from harness.lab.host import Lab

SECONDS = 60.0
BOTH = pytest.mark.parametrize("kind", ["warm", "cold"])


@pytest.fixture
def lab(kind: str, request: pytest.FixtureRequest) -> Lab:
    found: Lab = request.getfixturevalue(kind)
    return found


def said(lab: Lab, script: str) -> list[str]:
    done = lab.run(["sh", "-c", script], Deadline.after(SECONDS))
    assert (done.status, done.stderr) == (0, b"")
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize(
    "script",
    [
        "uname -a",
        "cat /proc/cmdline",
        "cat /proc/cpuinfo",
        "cat /sys/devices/system/cpu/online",
        "grep MemTotal /proc/meminfo",
        "cat /proc/mounts",
        "ls /dev /sys/class",
        "cat /sys/devices/system/clocksource/clocksource0/current_clocksource /sys/module/kvm*/parameters/* 2>&1 | sort",
        "dmesg | grep -o 'kvm \\[.*'",
        "cut -d' ' -f1,2,4,5 /proc/modules | sort; echo end",
        "find / -xdev | grep -v '^/tmp/' | sort",
    ],
)
def test_a_warm_lab_is_what_a_cold_one_is(warm: Lab, cold: Lab, script: str) -> None:
    expected = said(cold, script)
    assert expected
    assert said(warm, script) == expected


def test_both_know_the_same_of_themselves(warm: Lab, cold: Lab) -> None:
    assert warm.facts() == cold.facts()
    assert warm.kvm == cold.kvm
    assert warm.kvm.mode in warm.facts().kvm or warm.facts().kvm


@BOTH
def test_the_timers_of_all_cpus_tick(lab: Lab) -> None:
    spin = "taskset {} timeout 0.5 sh -c 'while :; do :; done'"
    count = "grep arch_timer /proc/interrupts"
    before, after = said(lab, f"exec 2>/dev/null; {count}; {spin.format(1)}; {spin.format(2)}; {count}")
    cpus = lab.spec.vcpus
    ticks = [int(b) - int(a) for a, b in zip(before.split()[1 : cpus + 1], after.split()[1 : cpus + 1], strict=True)]
    assert len(ticks) == cpus
    # A tick each 4 ms while it spins (CONFIG_HZ=250), and none of them would come from a timer that is lost.
    assert min(ticks) > 20


@BOTH
def test_a_second_is_a_second(lab: Lab) -> None:
    for mask in range(1, lab.spec.vcpus + 1):
        began, ended = (
            float(line.split()[0]) for line in said(lab, f"taskset {mask} sh -c 'cat /proc/uptime; sleep 1; cat /proc/uptime'")
        )
        assert 0.9 < ended - began < 5


@BOTH
def test_the_clock_is_right(lab: Lab) -> None:
    before = time.time()
    (now,) = said(lab, "date +%s")
    # Set to the nearest second when it was switched on; asking takes time too, and `date` cuts off.
    assert before - 2.5 < int(now) < time.time() + 1.5


@BOTH
def test_kvm_makes_a_machine(lab: Lab) -> None:
    script = (
        "import fcntl, os; kvm = os.open('/dev/kvm', os.O_RDWR); print(fcntl.ioctl(kvm, 0xAE00), fcntl.ioctl(kvm, 0xAE01) > 0)"
    )
    done = lab.run(["python3", "-c", script], Deadline.after(SECONDS))
    assert done.stdout == b"12 True\n"  # KVM_API_VERSION; a descriptor from KVM_CREATE_VM


@BOTH
def test_its_kernel_has_no_complaints(lab: Lab) -> None:
    lab.require_nested()
    assert lab.kernel_log.troubles() == []
    assert [line for line in said(lab, "dmesg") if "rcu" in line and "stall" in line] == []


def test_two_labs_of_one_template_draw_different_numbers(new_lab: Callable[..., Lab], warm: Lab) -> None:
    draw = "head -c 16 /dev/urandom | od -An -tx1"
    with new_lab(name="second") as second:
        assert said(warm, draw) != said(second, draw)
        assert warm.keys.host_public != second.keys.host_public


def test_a_lab_with_another_host_key_is_refused(new_lab: Callable[..., Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    lab, other = new_lab(), new_lab()
    shown = tuple(key for key in other.keys.login.host_keys if isinstance(key, Ed25519Key))
    monkeypatch.setattr(lab, "_login", type(lab.keys.login)("root", lab.keys.login.keys, shown, lab.keys.login.algorithms))
    with pytest.raises(HarnessError, match="not the known one"):
        lab.__enter__()
    with pytest.raises(HarnessError):
        lab.run(["true"], Deadline.after(1))


def test_a_panic_ends_every_use_at_once_and_is_quoted(new_lab: Callable[..., Lab]) -> None:
    with new_lab() as lab:
        mark = lab.kernel_log.mark()
        began = time.monotonic()
        with pytest.raises(HostFailure, match="its kernel panicked: Kernel panic - not syncing: sysrq") as caught:
            lab.run(["sh", "-c", "echo c >/proc/sysrq-trigger; sleep 100"], Deadline.after(100))
        assert time.monotonic() - began < 20
        assert caught.value.suspect is Suspect.KERNEL_L0
        assert any("Kernel panic" in line for line in lab.kernel_log.troubles(mark))
        with pytest.raises(HostFailure, match="its kernel panicked"):
            lab.check()
        with pytest.raises(HostFailure, match="its kernel panicked"):
            lab.run(["true"], Deadline.after(100))


def test_a_killed_qemu_is_said_to_be(new_lab: Callable[..., Lab]) -> None:
    with new_lab() as lab:
        process = lab.power.machine.process
        assert isinstance(process, LocalProcess)
        lab.power.machine.kill()
        with pytest.raises(HostFailure, match=signal.Signals(signal.SIGKILL).name):
            lab.run(["sleep", "100"], Deadline.after(100))


def test_a_lab_that_powers_itself_off_says_so(new_lab: Callable[..., Lab]) -> None:
    with new_lab() as lab, pytest.raises(HostFailure, match="powered off or reset from inside"):
        lab.run(["sh", "-c", "poweroff -f; sleep 100"], Deadline.after(100))


def test_a_lab_that_is_switched_off_is_gone(new_lab: Callable[..., Lab]) -> None:
    with new_lab() as lab:
        machine = lab.power.machine
    assert machine.ending() is not None
    with pytest.raises(HostFailure, match="switched off"):
        lab.run(["true"], Deadline.after(5))
