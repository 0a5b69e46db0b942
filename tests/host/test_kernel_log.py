"""Which lines of a kernel's log are troubles, and which are its everyday talk."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.errors import HostFailure, UsageError, Verdict
from harness.host.kernel_log import KernelLog, troubles, watch_kernel_log
from harness.host.protocol import Host
from harness.host.ssh import SshHost
from tests.host.ssh_server import SshServer
from tests.host.test_every_host import soon

TROUBLES = """\
[   12.345678] Internal error: Oops: 0000000096000004 [#1]  SMP
[   12.345678] Unable to handle kernel NULL pointer dereference at virtual address 0000000000000010
[   12.345678] Unable to handle kernel paging request at virtual address ffff8000deadbeef
[    1.000000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000009
[    1.000000] WARNING: CPU: 1 PID: 123 at arch/arm64/kvm/arch_timer.c:459 kvm_timer_update_irq+0x12c/0x140
[    1.000000] WARNING: arch/arm64/kvm/nested.c:1204 at kvm_map_l1_vncr+0x12c/0x140, CPU#1: qemu/77
[    1.000000] WARNING: possible circular locking dependency detected
[    1.000000] WARNING: possible recursive locking detected
[    1.000000] WARNING: possible irq lock inversion dependency detected
[    1.000000] WARNING: HARDIRQ-safe -> HARDIRQ-unsafe lock order detected
[    1.000000] WARNING: inconsistent lock state
[    1.000000] WARNING: bad unlock balance detected!
[    1.000000] WARNING: bad contention detected!
[    1.000000] WARNING: held lock freed!
[    1.000000] WARNING: Nested lock was not taken
[    1.000000] WARNING: lock held when returning to user space!
[    1.000000][  T312] WARNING: qemu-system-aar/312 still has locks held!
[    1.000000] WARNING: suspicious RCU usage
[    1.000000] INFO: trying to register non-static key.
[    1.000000] UBSAN: array-index-out-of-bounds in arch/arm64/kvm/vgic/vgic-its.c:270:7
[    1.000000] BUG: KCSAN: data-race in kvm_vcpu_kick / vcpu_enter_guest
[    1.000000] BUG: spinlock bad magic on CPU#0, swapper/0/1
[    1.000000] BUG: KASAN: slab-out-of-bounds in kvm_vcpu_ioctl+0x1/0x2
[    1.000000] kernel BUG at mm/slub.c:448!
[   48.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [qemu-system-aar:312]
[   48.000000] watchdog: CPU0: Watchdog detected hard LOCKUP on cpu 1
[   21.000000] rcu: INFO: rcu_sched self-detected stall on CPU
[   21.000000] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:
[   21.000000] rcu: INFO: rcu_preempt detected expedited stalls on CPUs/tasks: { 1-... } 21 jiffies
[   21.000000] rcu: rcu_preempt kthread starved for 5250 jiffies! g-1195 f0x0 RCU_GP_WAIT_FQS(5)
[  242.000000] INFO: task kworker/1:2:88 blocked for more than 120 seconds.
[    3.000000] Bad mode in Synchronous Abort handler detected on CPU1, code 0x86000006
[    3.000000] SError Interrupt on CPU1, code 0x00000000be000011 -- SError
[   99.000000] Out of memory: Killed process 200 (qemu-system-aar) total-vm:2000kB
[   10.000000] kvm [312]: Unsupported guest sys_reg access at: 40080000 [600003c5]
[   10.000000] kvm [312]: Unexpected exception: esr=0x2000000
[    0.500000] kvm [1]: nVHE hyp BUG at: [<ffff800080a0>] __kvm_nvhe_x+0x0/0x10!
[    0.500000] kvm [1]: error initializing Hyp mode: -12"""
HARMLESS = """\
[    0.100000] kvm [1]: nv: 570 coarse grained trap handlers
[    0.100000] kvm [1]: IPA Size Limit: 48 bits
[    0.100000] kvm [1]: GICv3 with broken locally generated SEI
[    0.100000] kvm [1]: GICv3: no GICV resource entry
[    0.100000] kvm [1]: disabling GICv2 emulation
[    0.100000] kvm [1]: GIC system register CPU interface enabled
[    0.100000] kvm [1]: vgic interrupt IRQ18
[    0.100000] kvm [1]: VHE+NV2 mode initialized successfully
[    0.100000] kvm [1]: HYP mode not available
[    0.000000] Kernel command line: console=ttyAMA0 kvm-arm.mode=nested panic=-1 oops=panic
[    0.000000] rcu: Hierarchical RCU implementation.
[    0.000000] rcu: RCU calculated value of scheduler-enlistment delay is 25 jiffies.
[    0.000000] Spectre-BHB: WARNING mitigation missing
[    1.000000] DEBUG: debugging enabled
[    0.300000] ACPI: Interpreter disabled.
WARNING: no guest said a word
[    0.000000] Running RCU self tests
[    0.000000] Lock dependency validator: Copyright (c) 2006 Red Hat, Inc., Ingo Molnar
[    0.000000]  memory used by lock dependency info: 11633 kB
[    0.000000] rcu: \tRCU lockdep checking is enabled.
[    0.200000] kcsan: enabled early
[    0.200000] random: crng init done"""


@pytest.mark.parametrize("line", TROUBLES.splitlines())
def test_a_trouble(line: str) -> None:
    assert troubles([line]) == [line]


@pytest.mark.parametrize("line", HARMLESS.splitlines())
def test_everyday_talk(line: str) -> None:
    assert troubles([line]) == []


def test_troubles_keep_their_order() -> None:
    assert troubles([*HARMLESS.splitlines()[:3], *TROUBLES.splitlines()]) == TROUBLES.splitlines()


def follow(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Have this run in place of what follows /dev/kmsg; $1 is the mark."""
    monkeypatch.setattr("harness.host.kernel_log._FOLLOW", script)


def until_ended(log: KernelLog) -> None:
    deadline = soon()
    while not log.ended:
        assert not deadline.expired
        time.sleep(0.01)


def test_the_log_from_now_on(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file stands in for /dev/kmsg; what was in it before is not heard."""
    kmsg = tmp_path / "kmsg"
    kmsg.write_text("4,1,1000,-;BUG: old\n")
    follow(
        monkeypatch,
        f'printf "6,2,2000000,-;%s\\n" "$1" >>{kmsg}; echo "4,3,12345678,-;BUG: new" >>{kmsg}; '
        f'echo " DEVICE=+x" >>{kmsg}; cat {kmsg}; sleep 1000',
    )
    log = watch_kernel_log(host, tmp_path / "stderr.log")
    deadline = soon()
    while not log.mark():
        assert not deadline.expired
        time.sleep(0.01)
    log.check()
    log.close()
    assert log.since(0) == log.troubles(0) == ["[   12.345678] BUG: new"]


def test_a_log_that_is_followed_no_more_says_so(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel has overwritten what cat was to read next, or has killed cat for want of memory."""
    for words, why in (("echo 'cat: /dev/kmsg: Broken pipe' >&2", "Broken pipe"), ("true", "its reader ended without a word")):
        follow(monkeypatch, f'printf "6,2,2000000,-;%s\\n6,3,3000000,-;all is well\\n" "$1"; {words}; exit 1')
        log = watch_kernel_log(host, tmp_path / "stderr.log")
        until_ended(log)
        with pytest.raises(HostFailure, match=f"{host.name}: its kernel log is followed no more: .*{why}"):
            log.check()
        log.close()


def test_a_log_of_a_host_that_is_lost_says_that(server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(monkeypatch, 'printf "6,2,2000000,-;%s\\n" "$1"; sleep 1000')
    with SshHost("far", server.dial, server.login()) as far:
        log = watch_kernel_log(far, tmp_path / "stderr.log")
        server.cut()
        until_ended(log)
        with pytest.raises(HostFailure, match="far: the connection was lost"):
            log.check()
        log.close()


def test_a_log_that_may_not_be_read(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    follow(monkeypatch, "echo 'cannot create /dev/kmsg: Permission denied' >&2; exit 1")
    with pytest.raises(UsageError, match="the kernel log cannot be followed: .*Permission denied; be root there") as caught:
        watch_kernel_log(host, tmp_path / "stderr.log")
    assert caught.value.verdict is Verdict.ERROR


@pytest.mark.parametrize("script", ["sleep 1000", "exit 1", "echo warning >&2; sleep 1000"])
def test_a_log_that_gives_nothing(host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr("harness.host.kernel_log._SECONDS", 1.0)
    follow(monkeypatch, script)
    with pytest.raises(HostFailure, match=f"{host.name}: the kernel log cannot be followed: /dev/kmsg gave nothing"):
        watch_kernel_log(host, tmp_path / "stderr.log")
