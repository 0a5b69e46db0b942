"""One case while it runs: its machines, and how it ends.

The fixtures in `plugin.py` are thin; what they do is here, without pytest.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from harness.assets.guests import Payloads
from harness.deadline import Deadline
from harness.errors import (
    Blocked,
    DeadlineExpired,
    Failure,
    GuestFailure,
    GuestSilent,
    HarnessError,
    HostFailure,
    InstantMissed,
    InterruptLate,
    KernelFailure,
    NoEvidence,
    StateDiffers,
    Suspect,
    TimerFailure,
    Unsupported,
)
from harness.events import Timeline
from harness.guest import timers
from harness.guest.payload import Guest
from harness.host import pressure, slots
from harness.kvm.account import COUNTED_OF, Account
from harness.kvm.machine import KvmMachine
from harness.kvm.sample import Samples
from harness.lab.ground import Ground, Watched
from harness.lifecycle import LIFECYCLES, Lifecycle
from harness.lifecycle.passage import KvmPassage, Passage
from harness.plugin.tally import Tally
from harness.preflight.facts import HostFacts
from harness.qemu.machine import AnyMachine, Machine
from harness.qemu.migration import TransferFailed
from harness.qemu.spec import MachineSpec, Start
from harness.report.model import Scalar
from harness.rerun.plan import Changes
from harness.state.diff import between
from harness.state.model import State
from harness.state.rules import RULES, RUNNING, Rule
from harness.state.stream import decode

# In a lab QEMU needs a second to start, and each of its answers crosses an emulated SSH server: six times what an idle lab
# needs for the slowest, poll-registers with two vCPUs, is a bit more than twice that.
PACE_UNDER_KVM = 6
# How often a guest arranges its instant, each time so many times further ahead, before the computer is given up as too slow.
ARRANGEMENTS = 3
FURTHER = 4
# For a host to show that it is there, and, times the pace, for a process to end that was told to.
_ANSWER_SECONDS = 20.0
# So far apart may two clocks of this computer be by reading one after the other, in s.
_CLOCKS_SECONDS = 0.1


@dataclass(frozen=True)
class Bench:
    """What all cases of one process share: the grounds that machines stand on, payloads, where slots and results are."""

    # Of a case's parameters: where its source and its destination run, in this order.
    grounds: Callable[[Mapping[str, Any]], Sequence[Ground]]
    payloads: Payloads
    slots: Path
    out: Path
    accel: str = "tcg"
    # What hosts said of themselves, by what their grounds are made of (carry.py).
    surveyed: dict[object, HostFacts] = field(default_factory=dict)
    # How many labs' vCPUs there are to each core of this computer, at least one.
    crowd: float = 1.0

    @property
    def pace(self) -> int:
        """How many times longer things take than by TCG on this computer."""
        return 1 if self.accel == "tcg" else round(PACE_UNDER_KVM * self.crowd)


@dataclass
class Trial:
    """One case from its first machine to its verdict."""

    bench: Bench
    params: Mapping[str, Any]
    changes: Changes = field(default_factory=Changes)
    timeline: Timeline = field(default_factory=Timeline)
    machines: list[AnyMachine] = field(default_factory=list)
    guests: list[Guest] = field(default_factory=list)
    passages: list[Passage | KvmPassage] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    # A lifecycle that is tried in place of the one that the parameters name.
    trying: Lifecycle | None = None
    # For a lifecycle through /dev/kvm: registers that the vCPUs of its guest have from the start (`Sample.encoded`).
    written: Mapping[str, str] = field(default_factory=dict)
    # How often the guest has arranged its instant.
    arrangements: int = 1
    # On this computer's clock, in s: when the guest's machine was started, and when the guest was told to go on.
    _booted: float = 0.0
    _went: float = 0.0
    # What `pressure.stalled` and the time of day gave when the guest's machine was started.
    _stalled: float = 0.0
    _time_of_day: float = 0.0
    _spec: MachineSpec | None = None
    _payload: Path | None = None
    # What the machines of the source and of the destination have beside that, fields of MachineSpec by name.
    _varied: Sequence[Mapping[str, Any]] = ({}, {})
    _chosen: Mapping[str, str] = field(default_factory=dict)
    # What the scenario found out, for results and reports beside the parameters.
    found: dict[str, Scalar] = field(default_factory=dict)
    _grounds: Sequence[Ground] = ()
    # The kernels under test, each with how far its log had been read.
    marks: Sequence[tuple[Watched, int]] = ()
    # Whether what happened speaks against a host, or its kernel.
    _spoiled: bool = False
    _open: ExitStack = field(default_factory=ExitStack)

    @property
    def lifecycle(self) -> Lifecycle:
        """The lifecycle of this case."""
        return self.trying or LIFECYCLES[self.params["lifecycle"]]

    @property
    def rules(self) -> Sequence[Rule]:
        """What may differ between two looks, where the guest runs and where it goes on."""
        if self.bench.accel == "tcg":
            return RULES
        way = self.lifecycle.by
        return (*way.under_kvm, *RULES, *(way.between if self._between else ()))

    @property
    def _between(self) -> bool:
        """Whether the guest goes on under another QEMU or kernel."""
        here, there = self.versions[:2], self.versions[2:]
        return any(there) and here != there

    @property
    def ahead_us(self) -> int:
        """How far ahead, in µs, a guest's deadline has to be so that it is still ahead when the lifecycle is over."""
        return timers.ahead_us(self.lifecycle.runs_on_ms, self.bench.pace) * self.further

    @property
    def further(self) -> int:
        """How many times further ahead than at first a deadline is now, after instants that were missed."""
        return int(FURTHER ** (self.arrangements - 1))

    def conduct(self, scenario: Callable[[], object]) -> None:
        """Run a scenario to its end, and once more from its beginning where the computer was too slow for the guest's instant.

        Nothing is known of the system under test when the time of an interrupt came before the lifecycle was over, so this
        hides nothing of it: a guest whose counter got ahead of this computer's clock is told apart. Nor is anything known when
        an interrupt was late under TCG on a computer that lacked a CPU for at least as long, unless it is late each time.
        Registers that differed in any of the tries do so in the end. Raises as `explained`.
        """
        while True:
            try:
                with self.explained():
                    scenario()
                return
            except InstantMissed as missed:
                self._must_have_been_slow(missed)
                if self.arrangements == ARRANGEMENTS:
                    missed.what += f"; the computer was too slow for it {ARRANGEMENTS} times"
                    self.tally.forget_what_came_due()
                    self.raise_differences()
                    raise
                self._begin_anew(f"{missed}; from the beginning, {FURTHER} times further ahead")
            except InterruptLate as late:
                waited = pressure.stalled() - self._stalled
                # Under KVM an interrupt is the kernel's; under TCG it comes from a thread of QEMU, which needs a CPU.
                if self.source.accel != "tcg" or waited < late.seconds or self.arrangements == ARRANGEMENTS:
                    raise
                self._begin_anew(
                    f"{late}; something wanted a CPU for {waited:.2f} s meanwhile and had none; from the beginning"
                )

    def _must_have_been_slow(self, missed: InstantMissed) -> None:
        """Raise TimerFailure where less time has passed on this computer's clock than the guest had, who stood still meanwhile.

        Under TCG its counter is QEMU's virtual clock, which stands still whenever the machine does (system/cpu-timers.c).
        """
        took = self._went - self._booted
        # QEMU's events have the time of day, which somebody may have set.
        if self.source.accel == "tcg" and abs(_time_of_day() - self._time_of_day) < _CLOCKS_SECONDS:
            took -= stood_still(self.machines)
        if took < missed.elapsed:
            words = f"the guest's counter went on by {missed.elapsed * 1000:.1f} ms in {took * 1000:.1f} ms"
            raise TimerFailure(words, suspect=self.source.culprit) from missed

    def _begin_anew(self, why: str) -> None:
        """Forget all that was arranged and counted. What happened stays in the timeline, and registers that differed differ."""
        self.timeline.add("harness", "again", why)
        self._leave_all()
        self.arrangements += 1
        self.tally.begin_anew()

    def begin_again(self) -> None:
        """Forget every machine and what became of it, and be ready for another guest's boot; what was counted stays."""
        self._leave_all()
        self.timeline = Timeline()
        self.tally.forget_differences()

    def _leave_all(self) -> None:
        self.close()
        for each in (self.machines, self.guests, self.passages):
            each.clear()

    def vary(self, source: Mapping[str, Any], destination: Mapping[str, Any], qemu: str = "", dst_qemu: str = "") -> None:
        """Have the machines of each side, from now on, be what the case's parameters do not say: fields of MachineSpec.

        `qemu`, `dst_qemu`: another QEMU than the run's, as the options of these names take it.
        """
        self._varied = (source, destination)
        self._chosen = {"qemu": qemu, "dst_qemu": dst_qemu}

    def boot(self, name: str, **arguments: object) -> Guest:
        """Start a payload on this case's CPU, level and number of vCPUs, and wait until all that it arranges is in place.

        Raises Unsupported where QEMU or the guest says that it cannot be done here, and every error of a guest.
        """
        self._settle_in()
        source = self.source
        level = self.params.get("level", "el1")
        given: dict[str, object] = {"vcpus": self.params.get("vcpus", 1)}
        if level != "el1":
            given["e2h"] = int(level == "vhe")
        # Under KVM, a line by the PL011 is an exit to QEMU for each byte.
        console = "pl011" if source.accel == "tcg" else "virtio"
        if console != "pl011":
            given["console"] = console
            # QEMU moves the counters of a guest at vEL2 by CNTVOFF_EL2 whenever it stops it: a case of its own (known issue
            # kvm-vel2-counter-offset) and not the end of all others.
            given["offset"] = "none"
        given = self.changes.of_payload(given | arguments)
        spec = MachineSpec(
            kernel=source.workshop.host.bring(self.bench.payloads.path(name)),
            append=" ".join(f"{key}={value}" for key, value in given.items()),
            cpu=self.params.get("cpu", "max"),
            vcpus=int(str(given["vcpus"])),
            el2=level != "el1",
            e2h0=level == "nvhe",
            by_offset=self.lifecycle.by_offset,
            written=self.written,
            mte=self.params.get("memory") == "tagged",
            accel=source.accel,
            console=console,
            machine=_machine_type(self._grounds),
        )
        spec = self.changes.of_machine(spec)
        if source.workshop.host is source.workshop.desk:
            # Elsewhere, whoever runs the host has seen to it that there is room.
            self._open.enter_context(slots.held(self.bench.slots, spec.vcpus, slots.capacity()))
        self._spec, self._payload = spec, self.bench.payloads.path(name)
        self._booted, self._stalled, self._time_of_day = time.monotonic(), pressure.stalled(), _time_of_day()
        guest = Guest(name, given, self.start("source", Start.RUNNING))
        self.guests.append(guest)
        guest.reach_now()
        return guest

    def settled(self) -> Sequence[Ground]:
        """Return where both sides run, the source first. Raises Unsupported."""
        if not self._grounds:
            self._settle_in()
        return self._grounds

    def samples(self) -> Samples:
        """Return what makes vCPUs that run nothing, on the source's host. Raises Unsupported, and as `KvmMachine`."""
        self._settle_in()
        ground = self.source
        # What it is to run is never asked for.
        spec = MachineSpec(PurePath("nothing"), accel=ground.accel)
        machine = KvmMachine(spec, ground.qemu, ground.workshop, self.timeline, side="samples", start=Start.INCOMING)
        self.machines.append(machine)
        return Samples(self._open.enter_context(machine))

    def put_through(
        self, guest: Guest, *, compare_streams: bool = False, rewrites: Sequence[Rule] = (), first_entry: bool = True
    ) -> None:
        """Lead the guest through this case's lifecycle, compare what was seen on both sides, and tell the guest to go on.

        `compare_streams`: where a stream is written, save the restored machine once more and compare the two streams, which
        show what the gdb stub does not, the GIC above all. It costs another save and two decodings. `rewrites`: what this guest
        changes by itself while it runs, for a lifecycle that lets it run between two looks. `first_entry`: as `vmm.Vm.restore`,
        for a lifecycle through /dev/kvm.

        The guest is told in any case, so that it can witness what became of it; the comparison's failure is raised by
        `conclude`, after the guest has had its say. Raises QemuFailure, Blocked, Unsupported, DeadlineExpired.
        """
        self.lead(guest, compare_streams=compare_streams, rewrites=rewrites, first_entry=first_entry)
        self.go(guest)

    def lead(
        self, guest: Guest, *, compare_streams: bool = False, rewrites: Sequence[Rule] = (), first_entry: bool = True
    ) -> None:
        """Lead the guest through this case's lifecycle and compare what was seen on both sides; it is told nothing yet.

        Arguments and errors as `put_through`.
        """
        passage = self.lifecycle.by(self.start, compare_streams)
        if isinstance(passage, KvmPassage):
            passage.first_entry = first_entry
        self.passages.append(passage)
        subject = self.source.hypervisor or guest.machine
        self._must_be_possible()
        try:
            machine = self.lifecycle.run(passage, subject)
        except HarnessError as error:
            self.compare(passage, rewrites)  # what had been seen by then
            if isinstance(error, TransferFailed):
                self._explain(error)
            raise
        if self.lifecycle.interrupts and not passage.pairs:
            raise NoEvidence(f"the lifecycle {self.lifecycle.name} compared nothing")
        self.compare(passage, rewrites)
        if self.lifecycle.restarts:
            guest.restart()
        elif subject is guest.machine:
            guest.follow(self.machines[self.machines.index(guest.machine) : self.machines.index(machine) + 1])
            if self.source.accel == "tcg":  # under KVM, counters may go on where the machine stands still
                guest.stopped += [pair.before for pair in passage.pairs if pair.before.view == "gdb"]
        else:
            guest.follow([guest.machine])

    def compare(self, passage: Passage | KvmPassage, rewrites: Sequence[Rule] = ()) -> None:
        """Compare what a passage has looked at; what differs and may not is raised by `conclude`."""
        for pair in passage.pairs:
            rules = (*rewrites, *RUNNING, *self.rules) if pair.ran else self.rules
            self.tally.compare(pair, rules)
        # Under KVM, the gdb stub's ID registers are of a VM of QEMU's own (BETWEEN in harness/state/rules.py).
        if isinstance(passage, Passage) and self.bench.accel == "tcg":
            for seen, written in passage.crossed:
                self.tally.cross(seen, written)

    def go(self, guest: Guest) -> None:
        """Tell the guest that the lifecycle is over."""
        guest.go()
        self.told()

    def told(self) -> None:
        """Note that the guest has been told that the lifecycle is over, where somebody else has done that."""
        self._went = time.monotonic()

    def _explain(self, error: TransferFailed) -> None:
        """Say which registers new machines of the two sides have that differ; nothing where the sides do not.

        What QEMU says of a refusal names registers only since 11.1, and never those that the source lacks.
        """
        if not (self._between or any(self._varied)) or self.lifecycle.by is not Passage:
            return
        new = Passage(self.start)
        try:
            saved = [new.save(self.start(f"{side}-new", Start.PAUSED), f"{side}.new") for side in ("source", "destination")]
            source, destination = (State.from_stream(decode(each.here())) for each in saved)
        except HarnessError as failure:
            error.explain(more=f"; the registers of new machines there could not be compared: {failure}")
        else:
            error.explain(source, destination, between(source, destination))

    def looks(self, view: str) -> list[State]:
        """Return all looks of one view, in order."""
        pairs = [pair for passage in self.passages for pair in passage.pairs]
        return [state for pair in pairs for state in (pair.before, pair.after) if state.view == view]

    def stayed_calm(self) -> None:
        """Say that no vCPU left its guest much more often than one that waits does; of machines that vmm.py runs.

        Raises TimerFailure, NoEvidence where one does not tell.
        """
        if words := self.storm_words():
            raise TimerFailure(words.removeprefix("; "), suspect=Suspect.KERNEL_L0)
        for side, account in self._accounts():
            if account is None:
                raise NoEvidence(f"{side}: it has not told how often its vCPUs left the guest")
            if not account.exits:
                raise NoEvidence(f"{side}: KVM_GET_STATS_FD has no `exits` of each vCPU")

    def storm_words(self) -> str:
        """Return which machine's vCPU left its guest that often, as far as they tell: `; a storm of exits: source: vCPU 0 ...`.

        Nothing of a payload whose exits are not known (`account.COUNTED_OF`).
        """
        if any(guest.name not in COUNTED_OF for guest in self.guests):
            return ""
        told = [f"{side}: {words}" for side, account in self._accounts() if account and (words := account.storm())]
        return f"; a storm of exits: {'; '.join(told)}" if told else ""

    def _accounts(self) -> list[tuple[str, Account | None]]:
        """Return what each machine that vmm.py runs has cost its host, by side."""
        return [(machine.side, machine.account()) for machine in self.machines if isinstance(machine, KvmMachine)]

    def count(self, *, registers: int = 0, interrupts: int = 0) -> None:
        """Add to the evidence that the verdict rests on."""
        self.tally.registers += registers
        self.tally.interrupts += interrupts

    def latencies_us(self) -> list[float]:
        """Return how many µs after CVAL each interrupt of the timers came, as far as the guest can be read."""
        found = []
        for guest in self.guests:
            if guest.name == "timers":
                with suppress(HarnessError):  # a guest that wrote garbage: what it says of time is no measurement
                    found += timers.latencies_us(guest)
        return found

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Run the scenario in the block, and let what the hosts, their kernels and the comparison say be the last word.

        Raises what the block raises, with its suspect and what differs, or what explains that, or as `conclude`.
        """
        try:
            yield
            for machine in self.machines:
                if machine.dismissed:
                    machine.end_well(Deadline.after(_ANSWER_SECONDS * self.bench.pace))
                elif isinstance(machine, Machine):
                    machine.check_end()
        except HarnessError as error:
            self._spoiled = isinstance(error, HostFailure)
            self.check_kernels()  # a complaint of the kernel explains whatever else went wrong
            if isinstance(error, Failure):
                self._check_hosts()
                self.blame(error)
                # What differs belongs to the sentence: whoever excuses the failure has to excuse it too.
                error.what += self.tally.difference_words() + self.storm_words()
            self._end_machines()
            if isinstance(error, (Unsupported, Blocked)):  # which would hide what differed before
                self.raise_differences()
            raise
        except AssertionError as error:  # a scenario's own words: what differs, and what a kernel says, belongs to them as well
            self.check_kernels()
            self._check_hosts()
            error.args = (f"{error}{self.tally.difference_words()}{self.storm_words()}",)
            self._end_machines()
            raise
        self.conclude()

    def _check_hosts(self) -> None:
        """Raise HostFailure where a host is lost, or does not answer any more: that explains whatever else went wrong."""
        for ground in self.distinct_grounds:
            host = ground.workshop.host
            if host is ground.workshop.desk:
                continue
            try:
                host.run(["true"], Deadline.after(_ANSWER_SECONDS))
            except (HostFailure, DeadlineExpired) as error:
                self._spoiled = True
                ground.give_up()
                if isinstance(error, HostFailure):
                    raise
                raise HostFailure(f"it does not answer any more: {error.what}", where=host.name) from error

    def conclude(self) -> None:
        """Raise what the comparison or a kernel's log found, or NoEvidence where the case proved nothing."""
        self.check_kernels()
        self.raise_differences()
        if self.guests and not any(guest.messages for guest in self.guests):
            raise NoEvidence("no guest said a word")
        self.tally.must_prove_something()
        self._end_machines()

    def _end_machines(self) -> None:
        """Where a kernel is under test, end what runs on it: it may complain of that. Raises as `check_kernels`."""
        if self.marks and not self._spoiled:
            self.timeline.add("harness", "end", "every machine that is left")
            self._open.close()
            self.check_kernels()

    def raise_differences(self) -> None:
        """Raise StateDiffers naming what must have survived and did not, where there is any."""
        if words := self.tally.complaint():
            raise StateDiffers(words, suspect=self.source.culprit)

    def check_kernels(self) -> None:
        """Raise KernelFailure quoting what a kernel under test has complained of since the case before this one was over.

        HostFailure where nobody can know whether one has.
        """
        for kernel, mark in self.marks:
            if troubles := kernel.troubles(mark):
                self._spoiled = True
                for each, _ in self.marks:  # another ground's may be the same one, and the rest of this is still to come
                    each.read = None
                raise KernelFailure(f"the kernel of {kernel.name} says: {_of_each_kind(troubles)}", suspect=kernel.suspect)

    def close(self) -> None:
        """Kill every machine that is left, give the slots back, and leave nothing on hosts that others use."""
        self._open.close()
        for ground in self.distinct_grounds:
            if self._spoiled:
                ground.give_up()
            shop = ground.workshop
            places = [str(machine.place) for machine in self.machines if machine.host is shop.host]
            if places and shop.host is not shop.desk:
                with suppress(HostFailure):  # it is gone, and with it what was on it
                    shop.host.run(["rm", "-rf", "--", *places], Deadline.after(20))

    @property
    def distinct_grounds(self) -> list[Ground]:
        """Where both sides run, each once, the source first."""
        return list({id(ground): ground for ground in self._grounds}.values())

    @property
    def source(self) -> Ground:
        """Where the guest begins."""
        return self._grounds[0]

    @property
    def qemu_version(self) -> str:
        """The source's QEMU in its own words, or nothing where there has been none."""
        return self.source.qemu.version_text if self._grounds else ""

    @property
    def kernel_version(self) -> str:
        """The release of the kernel under the source, as `uname -r`; nothing where it is not under test."""
        return self.source.facts.get("kernel", "") if self._grounds else ""

    @property
    def versions(self) -> tuple[str, str, str, str]:
        """QEMU and kernel of the source, and of the destination where it is another ground, as `KnownIssues.judge` has them."""
        far = self._grounds[-1] if len(self.distinct_grounds) > 1 else None
        there = (far.qemu.version_text, far.facts.get("kernel", "")) if far else ("", "")
        return (self.qemu_version, self.kernel_version, *there)

    def blame(self, failure: Failure) -> None:
        """Put what a guest saw, or that it fell silent, and nobody has explained, down to whoever emulates its CPU."""
        if isinstance(failure, (GuestFailure, GuestSilent, TimerFailure, StateDiffers)) and failure.suspect is Suspect.QEMU:
            failure.suspect = self.source.culprit if self._grounds else Suspect.QEMU

    def _settle_in(self) -> None:
        """Find where both sides run, and from where on their kernels' logs are to be read. Raises Unsupported."""
        self._grounds = self.bench.grounds({**self.params, **self._chosen})
        self.marks = [(kernel, kernel.unread()) for ground in self.distinct_grounds for kernel in ground.kernels]
        self._must_be_possible()

    def _must_be_possible(self) -> None:
        """Raise Unsupported where this QEMU has not what the lifecycle needs, or the two sides are too far apart for it."""
        lifecycle, qemu = self.lifecycle, self.source.qemu
        if qemu.version[:2] < lifecycle.since:
            since = ".".join(map(str, lifecycle.since))
            raise Unsupported(f"QEMU {qemu.version_text} is older than {since}, which brought {lifecycle.brought}")
        if lifecycle.one_host and len({id(ground.workshop.host) for ground in self._grounds}) > 1:
            raise Unsupported(f"{lifecycle.name} does not reach from one host to another")

    def start(self, side: str, start: Start, **other: Any) -> Any:
        """Start a machine of what runs them in this lifecycle; `other`: what its spec has that the guest's has not."""
        assert self._spec is not None, "the source is booted first"
        assert self._payload is not None
        far = side.startswith("destination")
        ground = self._grounds[-1 if far else 0]
        if any(machine.side == side for machine in self.machines):
            side = f"{side}-as-{len(self.machines) + 1}"  # where several lifecycles are led through
        spec = replace(self._spec, **{"kernel": ground.workshop.host.bring(self._payload), **self._varied[far], **other})
        machine = self.lifecycle.by.machine(spec, ground.qemu, ground.workshop, self.timeline, side=side, start=start)
        self.machines.append(machine)
        return self._open.enter_context(machine)


def _of_each_kind(troubles: Iterable[str]) -> str:
    """Quote the first line of each kind: an excuse for one must not cover another. Lines of one kind differ in numbers only."""
    kinds: dict[str, list[str]] = {}
    for line in troubles:
        kinds.setdefault(re.sub(r"\d+", "", line), []).append(line)
    return " | ".join(lines[0] + (f" (and {len(lines) - 1} more)" if len(lines) > 1 else "") for lines in kinds.values())


def _time_of_day() -> float:
    """Return when the clock of `_booted` was 0, by the time of day: another number after that was set."""
    return time.time() - time.monotonic()


def stood_still(machines: Iterable[AnyMachine]) -> float:
    """Return for how many seconds, after one had run, none of the machines did, by QEMU's own account: never too long.

    It tells of a stop when that is done, and of going on before that is begun (system/cpus.c, do_vm_stop, vm_prepare_start).
    """
    told = [event for machine in machines if isinstance(machine, Machine) for event in machine.qmp.events]
    running, since, total = 0, None, 0.0
    for event in sorted((event for event in told if event.name in ("STOP", "RESUME")), key=lambda event: event.at):
        if event.name == "RESUME":
            total += event.at - since if since is not None and not running else 0.0
            running += 1
        else:
            running = max(0, running - 1)
            since = event.at
    return total


def _machine_type(grounds: Sequence[Ground]) -> str:
    """Return `virt`, or the oldest QEMU's version of it where the two sides are not of one release."""
    releases = {ground.qemu.version[:2] for ground in grounds}
    major, minor = min(releases)
    return "virt" if len(releases) == 1 else f"virt-{major}.{minor}"
