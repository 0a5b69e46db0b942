"""A machine that `vmm.py` runs on some host: what a lifecycle and a guest need of it, by the same names as of a QEMU machine.

    with KvmMachine(spec, qemu, workshop, timeline, side="source") as machine:
        machine.console.line(deadline, "the guest's first word")
        machine.stop()
        machine.save("state", deadline)

One program on the host, spoken to over its standard input and output; it ends with that, so it never outlives us.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Any, ClassVar, Self

from harness.assets.qemu import QemuBinary
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, HostFailure, KernelFailure, StateDiffers, Suspect, Unsupported
from harness.events import Timeline
from harness.host.protocol import Host, Process, how_it_ended
from harness.kvm.account import Account, as_asked
from harness.kvm.registers import name_of_gic, origin_of, state_of
from harness.qemu.console import Console
from harness.qemu.machine import Workshop
from harness.qemu.spec import MachineSpec, Start
from harness.state import sysregs
from harness.state.kvm_ids import name_of
from harness.state.model import Origin, State

# An order is carried out in milliseconds; Python takes a second to start in a lab, and a busy computer makes it ten.
ORDER_SECONDS = 60.0
# For words that have been said already.
ANSWER_SECONDS = 10.0
_PROGRAM = Path(__file__).with_name("vmm.py")
_RUN = "import sys; sys.path.insert(0, sys.argv[1]); import %s; %s.main(sys.argv[1:])"
_SHOWN = 4  # refused registers that a sentence spells out


@dataclass(frozen=True)
class Refused:
    """A register that KVM did not take on a restore, and what it is called; `kernel`: the one that says beforehand so."""

    name: str
    number: str
    had: int | None
    wanted: int
    errno: int
    kernel: str = ""

    @classmethod
    def of(cls, data: Mapping[str, Any], origin: Origin) -> Refused:
        """Read what `vmm.py` says of one, at a host of which `origin` tells."""
        if "gic" in data:
            name = f"{data['gic']}: {name_of_gic(data['gic'], data['register'])}"
            return cls(name, data["register"], None, int(data["wanted"], 16), data["errno"])
        had = data["had"]
        values = [None if text is None else int.from_bytes(bytes.fromhex(text), "little") for text in (had, data["wanted"])]
        name = f"cpu{data['vcpu']}/{name_of(int(data['register'], 16))}"
        fixed = values[0] is not None and origin.fixed(name, values[0] ^ (values[1] or 0))
        return cls(name, data["register"], values[0], values[1] or 0, data["errno"], origin.release if fixed else "")

    @property
    def changed(self) -> dict[str, tuple[int, int]]:
        """Fields that were to become another value: `REGISTER.FIELD` to what it has, and what was wanted."""
        register = self.name.partition("/")[2]
        pairs = [(part.name, part.of(self.had or 0), part.of(self.wanted)) for part in sysregs.fields_of(register)]
        return {f"{register}.{name}": (had, wanted) for name, had, wanted in pairs if self.had is not None and had != wanted}

    def sentence(self) -> str:
        """Return it in words: `cpu0/ID_AA64MMFR1_EL1.XNX has 0, not 1 (0x603…: EINVAL; not writable on 7.3.4)`."""
        why = errno.errorcode.get(self.errno, str(self.errno))
        if self.had is None:
            return f"{self.name} cannot be {self.wanted:#x} ({self.number}: {why})"
        cpu = self.name.partition("/")[0]
        fields = [f"{cpu}/{name} has {had:#x}, not {wanted:#x}" for name, (had, wanted) in self.changed.items()]
        beside = f"{self.name} has {self.had:#x}, not {self.wanted:#x}"
        fixed = f"; not writable on {self.kernel}" if self.kernel else ""
        return f"{', '.join(fields) or beside} ({self.number}: {why}{fixed})"


class RegistersRefused(StateDiffers):
    """KVM refused registers on a restore; `refused` are all of them."""

    def __init__(self, what: str, refused: list[Refused], *, where: str) -> None:
        words = "; ".join(each.sentence() for each in refused[:_SHOWN])
        more = f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
        super().__init__(f"{what}: {words}{more}", where=where, suspect=Suspect.KERNEL_L0)
        self.refused = refused


class FeaturesLacking(KernelFailure):
    """A saved machine has vCPUs with `features` that the host does not offer: nobody's fault but the choice of hosts."""

    default_suspect = Suspect.CONFIGURATION

    def __init__(self, what: str, features: Sequence[str], *, where: str) -> None:
        super().__init__(what, where=where)
        self.features = features


class KvmMachine:
    """One process of `vmm.py`. `side` names it in logs and messages ("source", "destination", ...)."""

    console: Console
    # What runs in place of `vmm.py`'s own main program, for tests.
    program: ClassVar[Path] = _PROGRAM
    # The longest that a machine may last, in seconds, whatever becomes of us and of the connection to its host.
    life: ClassVar[int] = 600

    def __init__(
        self,
        spec: MachineSpec,
        qemu: QemuBinary,
        workshop: Workshop,
        timeline: Timeline,
        *,
        side: str,
        start: Start = Start.RUNNING,
    ) -> None:
        self.spec = spec
        self.qemu = qemu
        self.side = side
        self.timeline = timeline
        # Where its logs are, on this computer; and where it may write, on its host.
        self.directory = workshop.desk.directory(side)
        self.place: PurePath = self.directory if workshop.host is workshop.desk else workshop.host.directory(side)
        self.host: Host = workshop.host
        self._hub = workshop.hub
        self._start = start
        self._open = ExitStack()
        self.dismissed = False
        self._orders = 0
        self._answers: dict[int, Mapping[str, Any]] = {}
        self._unread = b""
        self._silent = False  # its output has ended, and all of it was taken
        self._word: str | None = None
        self._account: Account | None = None  # as it was when it was last told
        # -I: nothing of the host's own; -S: no site packages, whose search takes half of the start. As a module it is compiled
        # once a host.
        brought = self.host.bring(self.program)
        self.argv = ["python3", "-I", "-S", "-c", _RUN % ((brought.stem,) * 2), str(brought.parent), str(self.life)]
        timeline.add(side, "start", " ".join(self.argv))
        self._log: IO[bytes] = (self.directory / "qmp.log").open("wb", buffering=0)
        self._open.callback(self._log.close)
        self.process: Process = self.host.spawn(self.argv, env={}, stderr=self.directory / "stderr.log")
        self.process.on_exit(self._exited)

    def __enter__(self) -> Self:
        """Listen to it; make its machine, and let the guest run if it should."""
        ours, self._theirs = socket.socketpair()
        self._theirs.setblocking(False)
        self._open.callback(self._theirs.close)
        self.console = Console(self._hub, ours, self.side, self.directory / "console.log", self.timeline)
        self._open.callback(self.console.close)
        self.console.alarmed = self.host.check
        self.console.closed_by_qemu = self._console_closed
        self.process.stdio.setblocking(False)
        for stream, heard in ((self.process.stdio, self._hear), (self._theirs, self._pass_on)):
            self._hub.call(self._hub.loop.add_reader, stream.fileno(), heard)
            self._open.callback(self._hub.call, self._hub.loop.remove_reader, stream.fileno())
        try:
            if self._start is not Start.INCOMING:
                self._create()
            if self._start is Start.RUNNING:
                self.cont()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process if it still runs and close what was opened."""
        self.close()

    # -- what it is asked to do

    def _create(self) -> None:
        spec = self.spec
        self.execute(
            "create",
            kernel=str(spec.kernel),
            append=spec.append,
            vcpus=spec.vcpus,
            memory_mib=spec.memory_mib,
            el2=spec.el2,
            e2h0=spec.e2h0,
            by_offset=spec.by_offset,
            written=dict(spec.written),
        )

    def execute(self, order: str, /, **arguments: object) -> Any:
        """Give an order and return the answer.

        Raises RegistersRefused, FeaturesLacking, Unsupported, KernelFailure with the program's own words, HostFailure,
        DeadlineExpired.
        """
        self._orders += 1
        number = self._orders
        self._send({"id": number, "do": order, "with": arguments})

        def answered() -> Mapping[str, Any] | None:
            if number not in self._answers:
                self.check_alive()
            return self._answers.pop(number, None)

        deadline = Deadline.after(ORDER_SECONDS)
        answer = self._hub.until(answered, deadline, f"{self.side} to answer {order}")
        if "error" not in answer:
            return answer["ok"]
        error = answer["error"]
        if error.get("unsupported"):
            raise Unsupported(error["text"], where=self.host.name)
        if error.get("damaged"):
            raise HostFailure(error["text"], where=self.host.name)
        if error.get("refused"):
            origin = origin_of(error["host"])
            raise RegistersRefused(error["text"], [Refused.of(each, origin) for each in error["refused"]], where=self.side)
        if error.get("lacking"):
            raise FeaturesLacking(f"{order}: {error['text']}", error["lacking"], where=self.side)
        raise KernelFailure(f"{order}: {error['text']}", where=self.side)

    def stop(self) -> None:
        """Take all vCPUs out of the guest; its counters go on."""
        self.execute("stop")

    def cont(self) -> None:
        """Let all vCPUs run; the clock has stood still. Raises StateDiffers where the counters are not as asked."""
        self._judge_counters(self.execute("run"))

    def look(self, deadline: Deadline) -> State:  # noqa: ARG002  # as of a QEMU machine; an order has a deadline of its own
        """Return all state of the stopped machine as KVM shows it."""
        return self._seen("look", self.execute("look"), {})

    def save(self, path: PurePath) -> State:
        """Write the stopped machine to a file of its host, and return what was written."""
        answer = self.execute("save", path=str(path))
        self._account = Account.of(answer["account"])
        return self._seen("save", answer["look"], answer["figures"])

    def restore(self, path: PurePath, *, first_entry: bool = True, e2h0: bool | None = None) -> None:
        """Be the machine that a file of its host describes, with our kind of EL2, still stopped; its clock has stood still.

        `first_entry`: as `vmm.Vm.restore`; `e2h0`: whether it has that, where it is not to be as in our spec. Raises
        RegistersRefused, StateDiffers where the counters are not as asked.
        """
        kinds = {"el2": self.spec.el2, "e2h0": self.spec.e2h0 if e2h0 is None else e2h0}
        came = self.execute("restore", path=str(path), first_entry=first_entry, **kinds)
        self.timeline.add(self.side, "restore", _rounded(came["figures"]).removeprefix(", "))
        self._judge_counters(came["counters"])

    def _judge_counters(self, counters: Mapping[str, Any]) -> None:
        if counters:
            as_asked(counters, where=self.side)
            asked = counters["vcpus"][0].values()
            self.timeline.add(self.side, "counters", f"{counters['by']}: {', '.join(f'{ticks:#x}' for ticks, _ in asked)}")

    def rewrite(self) -> int:
        """Read every register of every vCPU and write it back; return how many. Raises RegistersRefused."""
        return int(self.execute("rewrite")["registers"])

    def account(self) -> Account | None:
        """Return how often its vCPUs have left the guest: now, or when that was last told; None where it never was."""
        with suppress(HarnessError):  # it is stuck, or its host is lost, of which others tell
            if self.process.poll() is None:
                self._account = Account.of(self.execute("account"))
            else:
                self._hear_out()
        return self._account

    def _seen(self, what: str, look: Mapping[str, Any], figures: Mapping[str, float]) -> State:
        state = state_of(look)
        count = sum(len(vcpu["registers"]) for vcpu in look["vcpus"])
        self.timeline.add(self.side, what, f"{count} registers, {len(state.registers)} values in all{_rounded(figures)}")
        return state

    def dismiss(self) -> None:
        """Tell the process to end, without waiting for it: whoever judges the case sees how it did (`dismissed`)."""
        self.dismissed = True
        self._send({"do": "quit"})

    # -- what is heard from it

    def wait_exit(self, deadline: Deadline) -> int:
        """Wait until the process is gone and return its exit status (negative: the signal's number)."""
        return self._hub.until(self.process.poll, deadline, f"{self.side} to exit")

    def end_well(self, deadline: Deadline) -> None:
        """As `AnyMachine.end_well`."""
        if status := self.wait_exit(deadline):
            with suppress(DeadlineExpired):
                self._hear_out()
            raise self._ended(status)

    def check_alive(self) -> None:
        """Raise KernelFailure with its last words if the process is gone and these are heard, HostFailure if its host is."""
        self.host.check()
        if (status := self.process.poll()) is None or not self._silent:
            return
        raise self._ended(status)

    def _ended(self, status: int) -> KernelFailure:
        words = self._word or self.last_words()
        return KernelFailure(f"the VMM {how_it_ended(status)}" + (f": {words}" if words else ""), where=self.side)

    def _hear_out(self) -> None:
        """Wait for the last word of a process that is gone, which may be heard a moment after its end."""
        self._hub.until(lambda: self._silent or None, Deadline.after(ANSWER_SECONDS), f"the last word of {self.side}")

    def _console_closed(self) -> None:
        """Say how the process ended, its output having closed; the exit itself may be heard a moment later."""
        self.process.wait(Deadline.after(ORDER_SECONDS))
        self.check_alive()

    def last_words(self) -> str:
        """Return what it wrote to standard error: its last line."""
        path = self.directory / "stderr.log"
        lines = path.read_text("utf-8", "replace").splitlines() if path.exists() else []
        return lines[-1] if lines else ""

    def on_close(self, callback: Callable[[], object]) -> None:
        """Have something that was opened for this machine closed with it."""
        self._open.callback(callback)

    def _send(self, order: Mapping[str, object]) -> None:
        """Give an order, from any thread; where nobody takes it, the wait for its answer tells why."""
        data = json.dumps(order).encode("ascii") + b"\n"
        if not self._log.closed:
            self._log.write(b"-> " + data)
        with suppress(OSError):
            self._hub.call(self._write, data)

    def _write(self, data: bytes) -> None:
        # An order is far smaller than the socket's buffer, and the next one waits for the answer.
        self.process.stdio.setblocking(True)
        try:
            self.process.stdio.sendall(data)
        finally:
            self.process.stdio.setblocking(False)

    def _hear(self) -> None:
        """Take what the program says. Called by the I/O thread, which reads everything in order: a word before an answer."""
        try:
            data = self.process.stdio.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._hub.loop.remove_reader(self.process.stdio.fileno())
            self._theirs.shutdown(socket.SHUT_WR)
        *lines, self._unread = (self._unread + data).split(b"\n")
        for line in lines:
            self._take(line)
        self._silent = not data
        self._hub.heard()

    def _take(self, line: bytes) -> None:
        self._log.write(b"<- " + line[:2000] + b"\n")
        message = json.loads(line)
        match message.get("event"):
            case None:
                self._answers[message["id"]] = message
            case "console":
                self.console.heard(message["text"].encode("latin-1"))
            case "broken":
                self._word = message["text"]
            case event:
                self._account = Account.of(message["account"])
                self.timeline.add(self.side, "event", f"{event}, {self._account.sentence()}")

    def _pass_on(self) -> None:
        """Take what is said to the console to the program."""
        try:
            data = self._theirs.recv(4096)
        except (BlockingIOError, ConnectionResetError):
            return
        if not data:
            self._hub.loop.remove_reader(self._theirs.fileno())
            return
        order = json.dumps({"do": "input", "with": {"text": data.decode("latin-1")}}).encode("ascii") + b"\n"
        self._log.write(b"-> " + order)
        with suppress(OSError):  # it has gone, of which whoever hears the guest tells
            self._write(order)

    # -- its end

    def close(self) -> None:
        """Kill the process if it runs, reap it, and close every connection. May be called twice."""
        with suppress(HostFailure):  # lost, and the process with it
            self.process.kill()
            self.process.wait(Deadline.after(ORDER_SECONDS))
        self._open.close()
        self.process.close()

    def _exited(self) -> None:
        self.timeline.add(self.side, "exit", "the process is gone")
        self._hub.heard()


def _rounded(figures: Mapping[str, float]) -> str:
    return "".join(f", {name} {value:.0f}" for name, value in figures.items())
