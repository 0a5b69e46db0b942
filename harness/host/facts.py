"""What a host says of itself: one small shell script, the same on every host, and how to read its answer."""

from __future__ import annotations

import re

from harness.errors import HostFailure
from harness.host.protocol import Completed, Facts

# Needs a POSIX shell, uname and cat. The kernel says in its log how KVM works (arch/arm64/kvm/arm.c, kvm_arm_init); there is no
# file in /sys for it on arm64. Nobody but root may read the log on many hosts, and on a host that is long up the line is gone.
SCRIPT = """
echo machine "$(uname -m)"
echo kernel "$(uname -r)"
echo online "$(cat /sys/devices/system/cpu/online)"
while read -r key value _; do [ "$key" != MemTotal: ] || echo memory "$value"; done </proc/meminfo
if [ -r /dev/kvm ] && [ -w /dev/kvm ]; then
    echo kvm unknown
    dmesg 2>/dev/null | while read -r line; do case $line in *kvm*' mode initialized'*) echo kvm "$line"; esac; done
fi
"""
_MODE = re.compile(r"kvm \[\d+\]: (?:Hyp |hyp )?(?P<mode>\S.*?) mode initialized")


def read(answer: Completed, host: str) -> Facts:
    """Return the facts that `SCRIPT` printed. Raises HostFailure where they are not all there."""
    said: dict[str, str] = {}
    for line in answer.stdout.decode("utf-8", "replace").splitlines():
        key, _, value = line.partition(" ")
        said[key] = value.strip()
    try:
        return Facts(
            said["machine"], said["kernel"], _count(said["online"]), int(said["memory"]) // 1024, _kvm(said.get("kvm"))
        )
    except (KeyError, ValueError) as error:
        words = answer.stderr.decode("utf-8", "replace").strip()
        raise HostFailure(f"does not say what it is ({words or error})", where=host) from None


def _kvm(said: str | None) -> str:
    """Return KVM's mode ("VHE+NV2", "nVHE"), "unknown" where the log does not tell, "" where there is no KVM."""
    if said is None:
        return ""
    found = _MODE.search(said)
    return found["mode"] if found else "unknown"


def _count(ranges: str) -> int:
    """Return how many CPUs a list such as "0-3,6" names."""
    ends = [part.split("-") for part in ranges.split(",")]
    return sum(int(end[-1]) - int(end[0]) + 1 for end in ends)
