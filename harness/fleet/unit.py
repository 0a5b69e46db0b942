"""One part of the cases on one host: pytest is run there, its journal comes here line by line, and what it leaves is fetched.

So when the host is lost, what had ended is known, and so is what had begun.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Protocol, Self

from harness.deadline import Deadline
from harness.errors import DeadlineExpired, HarnessError, HostFailure, Suspect, UsageError, Verdict
from harness.host.protocol import Host, how_it_ended
from harness.report import journal, results
from harness.report.files import write_text
from harness.report.model import BROKEN, Case
from harness.report.repeats import base

SILENCE_SECONDS = 900.0
"""A host of which nothing is heard for so long is given up: three times what any case may take (pyproject.toml, timeout)."""
COPY_SECONDS = 600.0
_FAILED, _WRONG, _NO_CASES, _ENDED = 1, (2, 3, 4), 5, (0, 1, 2, 5)
"""Of pytest's exit statuses (pytest.ExitCode): something failed; it could not begin, on any host; of what was chosen, nothing
was there; it came to its end, be it by somebody's wish (2)."""

# $1: the checkout, then a command. What it says on its descriptor 3 is our standard output, all else our standard error.
_RUN = 'cd "$1" && shift && exec "$@" 3>&1 >&2'


class Connection(Host, Protocol):
    """A host that has been entered, can be lost, and given up."""

    def __exit__(self, *_: object) -> None:
        """End what runs there, disconnect."""

    def lose(self, why: HarnessError) -> None:
        """Have everything raise `why` from now on, and whoever waits be woken."""


@dataclass(frozen=True)
class Unit:
    """A part of the cases: a shard as pytest is told of it, or what is left of one by node id. `name` is a file's."""

    name: str
    shard: str = ""
    nodes: tuple[str, ...] = ()


@dataclass
class Heard:
    """What was heard of a unit: the planned cases by id (None: not a word), those that had begun, how many had ended."""

    planned: list[str] | None = None
    begun: set[str] = field(default_factory=set)
    ended: int = 0

    def left(self, unit: Unit) -> Unit | None:
        """Return what had not begun, for another host; None where nothing is left.

        The tries of a case stay together: those that are left would hide that one was lost.
        """
        if self.planned is None:
            return unit
        begun = {base(node) for node in self.begun}
        nodes = tuple(node for node in self.planned if base(node) not in begun)
        return Unit(f"{unit.name}-rest", nodes=nodes) if nodes else None


@dataclass
class Station:
    """A host of the fleet: where its harness is, what pytest is told on every host. At its end the connection is closed."""

    name: str
    host: Connection
    directory: PurePath
    arguments: tuple[str, ...]
    times: Path | None
    # Is told in words of what a reader at a terminal wants to know.
    say: Callable[[str], None]
    # Reaches the host anew; raises HarnessError where it cannot be reached.
    again: Callable[[], Connection]
    # Of its harness, as `version` gives it.
    commit: str = ""
    # Of units, one after the other.
    failures: int = 0

    def __enter__(self) -> Self:
        """Return it: its host has been entered."""
        return self

    def __exit__(self, *_: object) -> None:
        """End what runs there, disconnect."""
        self.host.__exit__(None, None, None)

    def recover(self) -> bool:
        """Reach the host anew after a failure, and say whether it serves on. One that fails twice in a row is given up.

        A connection is lost sooner than a computer, and whatever else was wrong with it, a fresh one begins with nothing.
        """
        if self.failures > 1:
            self.say("given up: it failed twice in a row")
            return False
        self.host.__exit__(None, None, None)
        try:
            self.host = self.again()
            if (commit := self.version()) != self.commit:
                raise HostFailure(f"it has another version of the harness now, {commit}", where=self.name)
        except HarnessError as error:
            self.say(f"given up: {error}")
            return False
        self.say("reached again")
        return True

    def run(self, unit: Unit, into: Path) -> tuple[Heard, HarnessError | None]:
        """Run a unit and leave in `into` what it left, or what was heard of it; the error is what made the host be lost.

        Raises UsageError where pytest was called wrongly.
        """
        heard = Heard()
        log = into.parent / f"{unit.name}.{self.name}.log"
        try:
            out = self.host.directory("out")
            status = self._listen(unit, out, into, heard, log)
            if status in _WRONG and heard.planned is None:
                raise UsageError(_last_words(log), where=self.name)
            if status not in _ENDED or (status != _NO_CASES and heard.planned is None):
                how = "did not end" if status is None else how_it_ended(status)
                raise HostFailure(f"pytest {how}: {_last_words(log)}", where=self.name)
            self._fetch(out, into)
            if status == _FAILED:
                self._tell_of_failure(unit, into, log)
        except (HostFailure, DeadlineExpired) as error:
            self.failures += 1
            if heard.planned is not None:
                _append(into / journal.NAME, {"lost": str(error)})
            return heard, error
        self.failures = 0
        return heard, None

    def version(self) -> str:
        """Return the commit of the host's harness, nothing where that cannot be told. Raises HostFailure, UsageError."""
        python = str(self.directory / ".venv" / "bin" / "python")
        if self.host.run([python, "-c", "import harness"], Deadline.after(60)).status != 0:
            remedy = "check it out there and run `make setup` in it"
            raise UsageError(f"there is no harness in {self.directory}", where=self.name, remedy=remedy)
        argv = ["git", "-C", str(self.directory), "describe", "--always", "--dirty"]
        return self.host.run(argv, Deadline.after(60)).stdout.decode("utf-8", "replace").strip()

    def _listen(self, unit: Unit, out: PurePath, into: Path, heard: Heard, log: Path) -> int | None:
        """Run pytest to its end, and note its journal. Return its exit status; raises HostFailure."""
        command = [str(self.directory / ".venv" / "bin" / "python"), "-m", "pytest", *self._words(unit), "--out", str(out)]
        process = self.host.spawn(["sh", "-c", _RUN, "unit", str(self.directory), *command], env={}, stderr=log)
        try:
            process.stdio.settimeout(SILENCE_SECONDS)
            with process.stdio.makefile("rb") as lines:
                for line in lines:
                    self._note(line, into, heard)
            return process.wait(Deadline.after(60))
        except TimeoutError:
            why = HostFailure(f"nothing was heard for {SILENCE_SECONDS:.0f} s", where=self.name)
            self.host.lose(why)
            raise why from None
        finally:
            process.close()

    def _words(self, unit: Unit) -> list[str]:
        """Return what pytest is told. Raises HostFailure."""
        own = ["--journal-fd", "3", "--history", "none", *self.arguments]
        if unit.shard:
            times = ["--times", str(self.host.bring(self.times))] if self.times else []
            return ["scenarios", *own, "--shard", unit.shard, *times]
        chosen = self.host.directory("chosen") / "nodes.txt"
        text = "".join(f"{node}\n" for node in unit.nodes)
        self.host.run(["tee", str(chosen)], Deadline.after(60), stdin=text.encode())
        return [f"@{chosen}", *own]

    def _note(self, line: bytes, into: Path, heard: Heard) -> None:
        """Keep a line of the journal as if the run had been killed here. Raises HostFailure where it is none."""
        try:
            data = json.loads(line)
            if "planned" in data:
                heard.planned = [str(case["id"]) for case in data["planned"]]
                write_text(into / journal.PLANNED, json.dumps(data["planned"], ensure_ascii=False))
                return
        except (ValueError, KeyError, TypeError) as error:
            raise HostFailure(f"garbled: {line[:80]!r}", where=self.name) from error
        _append(into / journal.NAME, data)
        if "begun" in data:
            heard.begun.add(data["begun"])
        elif "case" in data:
            heard.ended += 1
            if data["case"]["verdict"] in ("fail", "error", "fixed"):
                self.say(f"{data['case']['verdict']}: {data['case']['message']}")

    def _tell_of_failure(self, unit: Unit, into: Path, log: Path) -> None:
        """Add an error to what a unit has left, which has failed, where no case of it says why. Raises UsageError."""
        run = journal.read(into)
        if run.having(*BROKEN):
            return
        message = f"pytest on {self.name} ended with status {_FAILED}, and no case says why; its words are in parts/{log.name}"
        case = Case(f"part::{unit.name}", "part", "not known", "not known", {}, Verdict.ERROR, Suspect.HARNESS, message=message)
        results.write(into, replace(run, cases=(*run.cases, case)))
        self.say(f"{case.verdict}: {message}")

    def _fetch(self, out: PurePath, into: Path) -> None:
        """Replace what was heard by what the run has left. Raises HostFailure."""
        packed = out.parent / f"{out.name}.tar"
        done = self.host.run(["tar", "-cf", str(packed), "-C", str(out), "."], Deadline.after(COPY_SECONDS))
        if done.status != 0:
            raise HostFailure(f"cannot pack the results: {done.stderr.decode(errors='replace').strip()}", where=self.name)
        here = into.parent / f"{into.name}.tar"
        self.host.get(packed, here)
        for name in (journal.PLANNED, journal.NAME):
            (into / name).unlink(missing_ok=True)
        _unpack(here, into)
        here.unlink()
        self.host.run(["rm", "-rf", "--", str(out), str(packed)], Deadline.after(60))


def _unpack(packed: Path, into: Path) -> None:
    """Unpack plain files and folders, and nothing that leads out of `into` (`filter="data"` came with Python 3.11.4)."""
    top = into.resolve()
    with tarfile.open(packed) as archive:
        for member in archive:
            target = (top / member.name).resolve()
            if not target.is_relative_to(top):
                raise HostFailure(f"{member.name!r} leads out of the results", where=packed.name)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            elif (content := archive.extractfile(member) if member.isfile() else None) is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                with content, target.open("wb") as file:
                    shutil.copyfileobj(content, file)


def _append(path: Path, data: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(json.dumps(data, ensure_ascii=False) + "\n")


def _last_words(log: Path) -> str:
    """Return the last line that pytest wrote that tells of an error, or the last."""
    lines: Sequence[str] = log.read_text("utf-8", "replace").split("\n") if log.exists() else ()
    told = [line for line in lines if line.strip()]
    # pytest's own complaint of an option follows its usage, which begins with ERROR too.
    errors = [line for line in told if line.startswith("ERROR: ") and not line.startswith("ERROR: usage: ")]
    errors += [line.partition(": error: ")[2] for line in told if ": error: " in line]
    return (errors or told or ["it said nothing"])[-1].removeprefix("ERROR: ")
