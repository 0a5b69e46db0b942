"""The scenarios on many hosts at once: each takes the next part when it has done one.

A host that is lost costs the cases that ran on it, which are missing then; what it had not begun goes to the others, and to it
where it can be reached again. Why this is not pytest-xdist over SSH gateways, see docs/decisions.md.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from harness.errors import HarnessError, HostFailure, UsageError
from harness.fleet.unit import Station, Unit
from harness.host.inventory import RemoteHost
from harness.host.remote import remote_host
from harness.host.ssh import SshHost
from harness.report.merge import holds_results, merge
from harness.report.model import Run

END_SECONDS = 30.0
"""A thread whose host was given up is woken at once; its last calls may still have to fail."""
AGAIN_SECONDS = 10.0
"""A host that answered before does so at once, or is dead."""
PARTS_PER_HOST = 4
"""So many shards to each host: one that is twice as fast does twice as many, and the start of pytest is still a small part."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Order:
    """What is to be run: pytest's own arguments, how many shards (None: as many as are good), a run or history with times."""

    arguments: tuple[str, ...] = ()
    shards: int | None = None
    times: Path | None = None


class Work:
    """The units that are to be done, and how many are being done: what becomes of one may bring another."""

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units = deque(units)
        self._running = 0
        self._changed = threading.Condition()
        self.error: BaseException | None = None

    def take(self) -> Unit | None:
        """Return the next unit, waiting while others may still bring one; None where all is done, or was given up."""
        with self._changed:
            self._changed.wait_for(lambda: self._units or not self._running or self.error)
            if self.error or not self._units:
                return None
            self._running += 1
            return self._units.popleft()

    def done(self, left: Unit | None) -> None:
        """Say that a unit has ended, and what is left of it for another host."""
        with self._changed:
            self._running -= 1
            if left:
                self._units.appendleft(left)
            self._changed.notify_all()

    def give_up(self, error: BaseException) -> None:
        """Have nobody take another unit."""
        with self._changed:
            self.error = self.error or error
            self._changed.notify_all()

    @property
    def goes_on(self) -> bool:
        """Say whether there is a unit, or one that may bring another."""
        with self._changed:
            return self.error is None and bool(self._units or self._running)

    @property
    def waiting(self) -> list[Unit]:
        """The units that nobody took."""
        return list(self._units)


@dataclass(frozen=True)
class Ended:
    """The merged results, and the exit status of the signal that ended the run early, if any."""

    run: Run
    signalled: int | None


def run(entries: Sequence[RemoteHost], order: Order, out: Path, pieces: Path, say: Say) -> Ended:
    """Run the scenarios on these hosts and merge the results; bundles go to `out`, parts and logs to `pieces`.

    A signal (SystemExit, by `ended_by_signals`) ends what runs there, and the rest is missing. Raises UsageError where the
    user's mistake is, HostFailure where no host can be reached, or none has begun a case.
    """
    count = order.shards or PARTS_PER_HOST * len(entries)
    units = [Unit(f"shard-{number}", shard=f"{number}/{count}") for number in range(1, count + 1)]
    work = Work(units)
    pieces.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        stations = _stations(entries, order, stack, say)
        threads = [threading.Thread(target=_serve, args=(each, stations, work, pieces), daemon=True) for each in stations]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except SystemExit as signalled:
            work.give_up(signalled)
            _end(stations, threads)
    status = work.error.code if isinstance(work.error, SystemExit) else None
    if work.error and status is None:
        raise work.error
    if work.waiting:
        say(f"no host is left for {', '.join(unit.name for unit in work.waiting)}")
    names = dict.fromkeys([*(unit.name for unit in units), *(path.name for path in sorted(pieces.iterdir()) if path.is_dir())])
    parts = [pieces / name for name in names]
    if not any(map(holds_results, parts)):
        raise work.error or HostFailure("no host has begun a case", where=", ".join(station.name for station in stations))
    return Ended(merge(parts, out), int(status) if isinstance(status, int) else None)


def _serve(station: Station, stations: Sequence[Station], work: Work, pieces: Path) -> None:
    """Have a host do units until none is left, or it is given up. What no host could do ends the work of all."""
    lost: HarnessError | None = None
    while (lost is None or (work.goes_on and station.recover())) and (unit := work.take()):
        left: Unit | None = None
        try:
            station.say(f"{unit.name} begins")
            heard, lost = station.run(unit, pieces / unit.name)
            left = heard.left(unit) if lost else None
            station.say(f"lost in {unit.name}: {lost}" if lost else f"{unit.name} has ended, {heard.ended} cases")
        except BaseException as error:  # noqa: BLE001  # of a thread: whoever joins it raises it
            work.give_up(error)
            _lose(stations, "another host ended the run")
        finally:
            work.done(left)


def _end(stations: Sequence[Station], threads: Sequence[threading.Thread]) -> None:
    """Give all hosts up: what runs there ends with the connection, and so do our threads."""
    _lose(stations, "the run was interrupted")
    for thread in threads:
        thread.join(END_SECONDS)


def _lose(stations: Sequence[Station], why: str) -> None:
    for station in stations:
        station.host.lose(HostFailure(why, where=station.name))


def _stations(entries: Sequence[RemoteHost], order: Order, stack: ExitStack, say: Say) -> list[Station]:
    """Connect to all hosts at once. One that cannot be reached is told of and left out. Raises UsageError, HostFailure."""
    with ThreadPoolExecutor(len(entries)) as pool:
        tried = list(pool.map(_connected, [remote_host(entry) for entry in entries]))
    stations = []
    for entry, host in zip(entries, tried, strict=True):
        if isinstance(host, HostFailure):
            say(f"{entry.name}: left out: {host}")
            continue
        assert entry.harness is not None
        ours = (order.arguments, order.times, _named(entry.name, say), partial(_again, entry))
        stations.append(stack.enter_context(Station(entry.name, host, entry.harness, *ours)))
    if not stations:
        raise HostFailure("none of the hosts can be reached", where=", ".join(entry.name for entry in entries))
    for station in stations:
        station.commit = station.version()
    if len({station.commit for station in stations}) > 1:
        said = ", ".join(f"{station.name} has {station.commit or 'none known'}" for station in stations)
        raise UsageError(f"the hosts have different versions of the harness: {said}", remedy="check out one commit on all")
    return stations


def _connected(host: SshHost) -> SshHost | HostFailure:
    """Enter a host; give why it cannot be reached. Raises UsageError."""
    try:
        return host.__enter__()
    except HostFailure as error:
        return error


def _again(entry: RemoteHost) -> SshHost:
    """Reach a host that was reached before. Raises HarnessError."""
    return remote_host(entry, AGAIN_SECONDS).__enter__()


def _named(name: str, say: Say) -> Say:
    return lambda words: say(f"{name}: {words}")
