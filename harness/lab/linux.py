"""A Linux at vEL2: a guest hypervisor with its own `/dev/kvm`, in a lab.

It boots the lab's own kernel and user space, so it is a lab in a lab: a host reached by SSH, whose power button is a QEMU
machine, which here runs on KVM. Guests that are started on it are L2.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from harness.assets.progress import NoProgress
from harness.assets.qemu import QemuBinary
from harness.assets.userland import KERNEL
from harness.deadline import Deadline
from harness.errors import HostFailure
from harness.events import Timeline
from harness.lab.boot import LabSpec
from harness.lab.host import Lab
from harness.qemu.machine import Workshop

_MEMORY_MIB = 1024
_PACK_SECONDS = 120.0
# When QEMU lets a stopped machine go on, it gives it the virtual counter that it had; in KVM that moves all counters of a
# machine at vEL2 by CNTVOFF_EL2, which is its guest's while one runs (known issue kvm-vel2-counter-offset). A Linux whose clock
# goes back by half a minute waits that long for its own timers. So its counters go on while it is stopped.
_CPU = "host,kvm-no-adjvtime=on"
# $1 is the archive. What is mounted over the root, and its /dev/console above all, shows under a second mount of it. The
# kernel and Python are not wanted in there, and the lab's keys are its own.
_PACK = r"""
set -e
mkdir -p /run/root && mount --bind / /run/root && cd /run/root
find . \( -path ./boot -o -path './usr/lib/python3*' -o -path '*/dropbear/*' -o -path '*/.ssh/*' \) -prune -o -print |
    cpio -o -H newc >"$1" 2>/dev/null
cd / && umount /run/root
"""


def guest_hypervisor(lab: Lab, qemu: QemuBinary, workshop: Workshop) -> Lab:
    """Return the guest hypervisor of a lab, switched off; `workshop` is the lab's. It boots when it is entered.

    Raises HostFailure where its initramfs cannot be made.
    """
    initramfs = lab.directory("linux") / "initramfs.cpio"
    done = lab.run(["sh", "-c", _PACK, "pack", str(initramfs)], Deadline.after(_PACK_SECONDS))
    if done.status:
        words = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.status}"
        raise HostFailure(f"the initramfs of the guest hypervisor could not be made: {words}", where=lab.name)
    spec = LabSpec(
        PurePosixPath("/", KERNEL),
        initramfs,
        content="",
        accel="kvm",
        cpu=_CPU,
        vcpus=1,
        memory_mib=_MEMORY_MIB,
    )
    return Lab(spec, qemu, workshop, Timeline(), NoProgress(), name="L1", warm=False)
