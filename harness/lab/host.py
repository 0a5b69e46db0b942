"""A lab as a host: reached by SSH like any other, with a power button that is a QEMU machine on this computer.

    with Lab(LabSpec.of(assets), qemu, workshop, timeline, progress) as lab:
        lab.run(["uname", "-r"], deadline)

A warm lab and a cold one go the same way from init's READY on, so nobody can tell which one it is.
"""

from __future__ import annotations

import secrets
import string
import time
from typing import Self

from harness.assets.progress import Progress
from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import HarnessBug, HostFailure, Unsupported
from harness.events import Timeline
from harness.host.ssh import SshHost
from harness.lab import keys, template
from harness.lab.boot import Kvm, LabSpec, Powered, cold, find_kvm
from harness.lab.console_log import ConsoleLog
from harness.qemu.machine import Workshop

_WELCOME_SECONDS = 60.0
# What stands for itself in the format of printf between single quotes.
_PLAIN = frozenset(f"{string.ascii_letters}{string.digits}+-*/.,:;=?@_~^()[]{{}}<>|&#!")
# Whoever connects to the port `ssh` talks with the SSH server (see boot.py). The port stays closed for longer than the second
# for which QEMU holds back that it was closed, so that this is told whenever a connection ends.
_BRIDGE = '{ while :; do nc 127.0.0.1 22 <>"$SSH_PORT" >&0; sleep 1.5; done & }'


class Lab(SshHost):
    """An emulated arm64 computer with its own kernel and `/dev/kvm`. `workshop` is this computer's."""

    kvm: Kvm
    kernel_log: ConsoleLog

    def __init__(
        self,
        spec: LabSpec,
        qemu: QemuBinary,
        workshop: Workshop,
        timeline: Timeline,
        progress: Progress,
        *,
        name: str = "lab",
        warm: bool = True,
    ) -> None:
        self.spec = spec
        self.keys = keys.make()
        super().__init__(name, lambda: self.power.ssh, self.keys.login, cause=self._why_lost)
        self._qemu = qemu
        self._workshop = workshop
        self._timeline = timeline
        self._progress = progress
        self._warm = warm
        self._powered: Powered | None = None

    def __enter__(self) -> Self:
        """Switch it on and log in.

        Raises HostFailure where its kernel or QEMU failed, UsageError where the CPU cannot be a lab's, DeadlineExpired,
        MissingError when the disk is full.
        """
        self._powered = self._start_warm() if self._warm else self._start_cold()
        self.kernel_log = self._powered.log
        self._powered.machine.on_event(self._powered.hang_up)
        try:
            with self._powered.explained():
                # The SSH server is up before the line is done.
                super().__enter__()
                self._powered.control.done(Deadline.after(_WELCOME_SECONDS))
        except BaseException:
            self._powered.machine.close()
            raise
        self._timeline.add(self.name, "lab", "logged in")
        return self

    def __exit__(self, *_: object) -> None:
        """Switch it off. It is not asked to shut down: nothing in it is kept."""
        self.lose(HostFailure("it was switched off", where=self.name))
        self.power.machine.close()
        super().__exit__()

    @property
    def power(self) -> Powered:
        """The machine that it is, and its init."""
        if self._powered is None:
            raise HarnessBug(f"{self.name} was used before it was entered")
        return self._powered

    def require_nested(self) -> None:
        """Raise Unsupported with the reason where KVM in it runs no guest hypervisors."""
        if self.kvm.nested_refused:
            raise Unsupported(self.kvm.nested_refused, where=self.name, remedy="choose another --lab-cpu or --lab-kernel")

    def _why_lost(self) -> HostFailure | None:
        return self.power.cause()

    def _start_warm(self) -> Powered:
        with template.held(self.spec, self._qemu, self._workshop, self._timeline, self._progress) as made:
            self.kvm = made.kvm
            powered = template.warm(made, self.spec, self._qemu, self._workshop, self._timeline, name=self.name)
        try:
            with powered.explained():
                template.wake_up(powered, _welcome(self.keys))
        except BaseException:
            powered.machine.close()
            raise
        return powered

    def _start_cold(self) -> Powered:
        powered = cold(self.spec, self._qemu, self._workshop, self._timeline, name=self.name)
        try:
            with powered.explained():
                self.kvm = find_kvm(powered, self.spec)
                powered.control.send(_welcome(self.keys))
        except BaseException:
            powered.machine.close()
            raise
        return powered


def _welcome(made: keys.LabKeys) -> str:
    """Return the line that makes a started lab a lab of this run: keys, SSH server, randomness, and the time, which is now."""
    # Init reads byte by byte, so what need not be escaped is not.
    host_key = "".join(chr(byte) if chr(byte) in _PLAIN else f"\\{byte:03o}" for byte in made.host_key_file)
    words = [
        f"printf '{host_key}' >/etc/dropbear/dropbear_ed25519_host_key",
        f"echo {made.user_public} >/root/.ssh/authorized_keys",
        _BRIDGE,
        # Labs from one template would draw the same numbers.
        f"echo {secrets.token_hex(32)} >/dev/urandom",
        f"date -s @{round(time.time())} >/dev/null",
    ]
    return " && ".join(words)
