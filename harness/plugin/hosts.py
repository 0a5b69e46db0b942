"""What a host tells of itself when a case on it has gone wrong, for whoever reads of it elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

from harness.deadline import Deadline
from harness.errors import HarnessError
from harness.lab.ground import Ground

_SECONDS = 20.0
# The size of pages is in the one (proc_pid_smaps(5)), in the other the features that the kernel offers to programs
# (Documentation/arch/arm64/elf_hwcaps.rst).
_FILES = ("/proc/self/smaps", "/proc/cpuinfo")
_PAGES = re.compile(r"^KernelPageSize:\s*(\d+ kB)$", re.MULTILINE)
_FEATURES = re.compile(r"^Features\s*:\s*(.+)$", re.MULTILINE)


def described(ground: Ground) -> Mapping[str, str]:
    """Return name, kernel, CPU, KVM's mode, size of pages and features of the host of a ground, as far as it still tells."""
    host = ground.workshop.host
    facts = {"name": host.name, **ground.facts}
    if ground.accel == "tcg":
        return facts
    try:
        said = host.run(["cat", *_FILES], Deadline.after(_SECONDS)).stdout.decode("utf-8", "replace")
    except HarnessError:
        return facts
    for name, pattern in (("page_size", _PAGES), ("features", _FEATURES)):
        if found := pattern.search(said):
            facts[name] = found[1]
    return facts
