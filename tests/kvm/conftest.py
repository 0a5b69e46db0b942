"""Machines on a stand-in for /dev/kvm."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

import pytest

from harness.assets.qemu import QemuBinary
from harness.events import Timeline
from harness.host.local import LocalHost
from harness.kvm import vmm
from harness.kvm.machine import KvmMachine
from harness.qemu.gdb import TargetCache
from harness.qemu.hub import Hub
from harness.qemu.machine import Workshop
from harness.qemu.spec import MachineSpec, Start

PROGRAM = """
import sys
sys.path[:0] = [{tests!r}, {harness!r}]
import standin
def main(argv):
    standin.main(argv, {fault!r})
"""

Make = Callable[[str, Start], KvmMachine]
NO_QEMU = QemuBinary((), {}, (0, 0, 0), "", "")


@pytest.fixture(scope="module")
def workshop() -> Iterator[Workshop]:
    with LocalHost() as desk, Hub() as hub:
        yield Workshop(desk, desk, hub, TargetCache())


@pytest.fixture
def kind(tmp_path: Path) -> Callable[..., type[KvmMachine]]:
    """`kind(fault)`: machines on a kernel with that fault, which last no longer than `life` seconds."""

    def kind(fault: str = "", life: int = 60) -> type[KvmMachine]:
        program = tmp_path / f"standin_{abs(hash(fault))}.py"
        here = Path(__file__).parent
        program.write_text(PROGRAM.format(tests=str(here), harness=str(Path(vmm.__file__).parent), fault=fault))
        return cast(type[KvmMachine], type("Standing", (KvmMachine,), {"program": program, "life": life}))

    return kind


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    (path := tmp_path / "timers.bin").write_bytes(bytes(64))
    return path


@pytest.fixture
def standing_in(workshop: Workshop, kind: Callable[..., type[KvmMachine]], payload: Path) -> Iterator[Callable[..., Make]]:
    """`standing_in(fault)`: what makes machines on a kernel with that fault; `has`: fields of their MachineSpec."""
    with ExitStack() as opened:

        def standing_in(fault: str = "", life: int = 60, **has: Any) -> Make:
            machine = kind(fault, life)

            def make(side: str, start: Start) -> KvmMachine:
                spec = MachineSpec(payload, **has)
                return opened.enter_context(machine(spec, NO_QEMU, workshop, Timeline(), side=side, start=start))

            return make

        yield standing_in
