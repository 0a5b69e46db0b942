"""The floor: the QEMU steps of one `file` case with raw sockets and json, and nothing else.

What is left out is what a harness is for: no deadline, no log, no look at a register, no judgement. Its time is what QEMU
and the guest themselves need.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.assets.qemu import QemuBinary
from harness.qemu.spec import MachineSpec, Start, Wiring, arguments

CPU = "cortex-a57"
APPEND = "vcpus=1 timer=cntv instant=expired-masked by=cval ahead_us=20000"
"""What bench/scenarios/test_file.py boots as well."""

_SECONDS = 30.0
"""Longer than this, nothing is waited for: the floor has failed."""


class _Machine:
    def __init__(self, qemu: QemuBinary, spec: MachineSpec, directory: Path, start: Start) -> None:
        qmp, qmp_theirs = socket.socketpair()
        self.console = socket.socket(socket.AF_UNIX)
        self._console = str(directory / start / "console")
        own = directory / start
        own.mkdir(exist_ok=True)
        with qmp_theirs:
            self.process = subprocess.Popen(
                [*qemu.argv, *arguments(spec, Wiring("socket,fd=0", own, start))],
                env={**os.environ, **qemu.env},
                stdin=qmp_theirs.fileno(),
                stdout=subprocess.DEVNULL,
            )
        for ours in (qmp, self.console):
            ours.settimeout(_SECONDS)
        self.qmp = qmp.makefile("rw")
        self._start = start
        qmp.close()

    def __enter__(self) -> Self:
        self.qmp.readline()
        self.console.connect(self._console)
        self.execute("qmp_capabilities")
        self.execute("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        if self._start is Start.RUNNING:
            self.execute("cont")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.console.close()
        self.qmp.close()

    def execute(self, command: str, **arguments: object) -> Any:
        self.qmp.write(json.dumps({"execute": command, "arguments": arguments}))
        self.qmp.flush()
        while "return" not in (message := json.loads(self.qmp.readline())):
            assert "error" not in message, message
        return message["return"]

    def wait_migrated(self) -> None:
        status = None
        while status != "completed":
            message = json.loads(self.qmp.readline())
            status = message["data"]["status"] if message.get("event") == "MIGRATION" else None
            assert status != "failed", message

    def hear(self, word: bytes) -> None:
        heard = b""
        while word not in heard:
            data = self.console.recv(65536)
            assert data, f"the console closed before {word!r}"
            heard += data


def save_and_restore(qemu: QemuBinary, kernel: Path, directory: Path) -> float:
    """Run one case; return its seconds. The stream stays in `directory`. Fails by assertion: there is no excuse here."""
    spec = MachineSpec(kernel=kernel, append=APPEND, cpu=CPU)
    stream = directory / "stream"
    began = time.perf_counter()
    with _Machine(qemu, spec, directory, Start.RUNNING) as source:
        source.hear(b"@1 now\n")
        source.execute("stop")
        source.execute("migrate", uri=f"file:{stream}")
        source.wait_migrated()
        source.execute("quit")
        source.process.wait()
    with _Machine(qemu, spec, directory, Start.INCOMING) as destination:
        destination.execute("migrate-incoming", uri=f"file:{stream}")
        destination.wait_migrated()
        destination.execute("cont")
        destination.console.sendall(b"g")
        destination.hear(b"@1 end\n")
        destination.process.wait()
    return time.perf_counter() - began


def main() -> None:
    """Run as many cases as the first argument says, one after the other."""
    qemu, kernel = assets_qemu.resolve(None), guests.find().path("timers")
    with tempfile.TemporaryDirectory() as directory:
        for _ in range(int(sys.argv[1])):
            save_and_restore(qemu, kernel, Path(directory))


if __name__ == "__main__":
    main()
