"""The history: what every run found, in one SQLite file that many runs may write to at once.

A run is a row, written when it begins; each try of a case is a row, written when it ends, in a transaction of its own. So what
a killed run found until then is kept, and its row has no end. The file is in WAL mode: readers and the one writer do not wait
for each other, writers for each other at most `WAIT_SECONDS`. SQLite's WAL needs shared memory: not for a network file system.
"""

from __future__ import annotations

import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import Suspect, UsageError, Verdict
from harness.report.model import Case, Provenance
from harness.report.privacy import Redactor
from harness.report.versions import Versions

NAME = "history.sqlite"
WAIT_SECONDS = 60.0
"""How long a writer waits for others; each of them takes a few ms, and a slow disk some hundred."""
SCHEMA = 1
THIS_RUN = 0
"""The number of a run that is not in the history, or not yet known to be; SQLite's own begin at 1."""
_APPLICATION = 0x61363468
"""What SQLite keeps in the file's head (PRAGMA application_id) to tell whose it is: `a64h`."""

_TABLES = f"""
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {SCHEMA};
CREATE TABLE run (
    id INTEGER PRIMARY KEY, started TEXT NOT NULL, ended TEXT, seconds REAL, planned INTEGER, provenance TEXT NOT NULL);
CREATE TABLE scenario (
    id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, subject TEXT NOT NULL, platform TEXT NOT NULL, lifecycle TEXT NOT NULL);
CREATE TABLE versions (
    id INTEGER PRIMARY KEY, qemu TEXT NOT NULL, kernel TEXT NOT NULL, dst_qemu TEXT NOT NULL, dst_kernel TEXT NOT NULL,
    UNIQUE (qemu, kernel, dst_qemu, dst_kernel));
CREATE TABLE try (
    run INTEGER NOT NULL REFERENCES run (id), scenario INTEGER NOT NULL REFERENCES scenario (id),
    versions INTEGER NOT NULL REFERENCES versions (id), node TEXT NOT NULL, verdict TEXT NOT NULL, suspect TEXT,
    known_issue TEXT, seconds REAL NOT NULL, message TEXT NOT NULL);
CREATE INDEX try_by_scenario ON try (scenario, run);
CREATE INDEX try_by_run ON try (run);
"""


@dataclass(frozen=True)
class PastRun:
    """A run as the history has it: `ended` is None where it was killed, `planned` the number of tries that it meant to have."""

    id: int
    started: str
    ended: str | None
    seconds: float | None
    planned: int | None
    provenance: Provenance
    tries: int


@dataclass(frozen=True)
class Try:
    """One end of one case. `key` is the same on every kernel and QEMU (`Case.key`), `node` the pytest id of that time."""

    run: int
    started: str
    key: str
    node: str
    verdict: Verdict
    suspect: Suspect | None
    known_issue: str | None
    seconds: float
    message: str
    versions: Versions

    @property
    def broken(self) -> bool:
        """True where it made its run fail, or would have."""
        return self.verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.FIXED)

    @property
    def misbehaved(self) -> bool:
        """True where what was under test did not do what it should, excused or not, or could not be tried."""
        return self.verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.KNOWN)

    @property
    def tried(self) -> bool:
        """True where it says something of what was under test."""
        return self.verdict in (Verdict.PASS, Verdict.FAIL, Verdict.KNOWN, Verdict.FIXED)

    @property
    def failed(self) -> bool:
        """True where it is broken and says so of what was under test: an error says nothing of it."""
        return self.broken and self.tried

    @property
    def harm(self) -> int:
        """How bad it is: 2 where it failed, 1 where it is an error, else 0."""
        return self.broken + self.failed


class History:
    """An open history; a context manager."""

    def __init__(self, path: Path) -> None:
        """Open it, making it where it is not there; raises UsageError where it is something else."""
        self.path = path
        self._redactor = Redactor.here()
        try:
            if not path.exists():
                _create(path)
            self._database = sqlite3.connect(path, timeout=WAIT_SECONDS, isolation_level=None)
            self._database.execute("PRAGMA foreign_keys = ON")
            # Of a killed process nothing is lost by it, of a computer that loses power perhaps the last cases.
            self._database.execute("PRAGMA synchronous = NORMAL")
            (application,) = self._database.execute("PRAGMA application_id").fetchone()
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise UsageError(f"no history can be kept there ({error})", where=str(path), remedy="name another file") from error
        if (application, version) != (_APPLICATION, SCHEMA):
            self._database.close()
            raise UsageError("is not a history, or one of another version", where=str(path), remedy="name another file")

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it. Raises UsageError, which names the file, where SQLite could not do what was asked of it."""
        self.close()
        if isinstance(error, sqlite3.Error):
            raise UsageError(
                f"cannot be read or written ({error})", where=str(self.path), remedy="name another file"
            ) from error

    def close(self) -> None:
        """Close it."""
        self._database.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Have all in the block written or nothing. IMMEDIATE: whoever reads first and writes then could not wait."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield self._database
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    # -- written

    def begin(self, started: str, provenance: Provenance, planned: int | None = None) -> int:
        """Add a run and return its number; raises sqlite3.Error."""
        said = json.dumps(self._redactor.data(dict(provenance)), ensure_ascii=False)
        with self._transaction() as database:
            done = database.execute(
                "INSERT INTO run (started, planned, provenance) VALUES (?, ?, ?)", (started, planned, _plain(said))
            )
        assert done.lastrowid is not None
        return done.lastrowid

    def add(self, run: int, ended: Sequence[tuple[Case, Versions]]) -> None:
        """Add tries that ended, all or none; raises sqlite3.Error."""
        with self._transaction() as database:
            for case, versions in ended:
                scenario = (case.key, case.subject, case.platform, case.lifecycle)
                database.execute(
                    "INSERT OR IGNORE INTO scenario (key, subject, platform, lifecycle) VALUES (?, ?, ?, ?)",
                    tuple(map(_plain, scenario)),
                )
                database.execute(
                    "INSERT OR IGNORE INTO versions (qemu, kernel, dst_qemu, dst_kernel) VALUES (?, ?, ?, ?)", _four(versions)
                )
                database.execute(
                    "INSERT INTO try (run, scenario, versions, node, verdict, suspect, known_issue, seconds, message)"
                    " VALUES (?, (SELECT id FROM scenario WHERE key = ?),"
                    " (SELECT id FROM versions WHERE (qemu, kernel, dst_qemu, dst_kernel) = (?, ?, ?, ?)), ?, ?, ?, ?, ?, ?)",
                    (
                        *(run, _plain(case.key), *_four(versions), _plain(case.id), case.verdict, case.suspect),
                        *(case.known_issue, case.seconds, _plain(self._redactor.text(case.message))),
                    ),
                )

    def finish(self, run: int, seconds: float) -> None:
        """Say that a run has ended, after `seconds`; raises sqlite3.Error."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        with self._transaction() as database:
            database.execute("UPDATE run SET ended = ?, seconds = ? WHERE id = ?", (now, seconds, run))

    # -- read

    def runs(self) -> list[PastRun]:
        """Return all runs, the oldest first."""
        rows = self._database.execute(
            "SELECT id, started, ended, seconds, planned, provenance, (SELECT count(*) FROM try WHERE run = run.id)"
            " FROM run ORDER BY started, id"
        )
        return [PastRun(row[0], row[1], row[2], row[3], row[4], json.loads(row[5]), row[6]) for row in rows]

    def tries(self, *, run: int | None = None, keys: Sequence[str] | None = None) -> list[Try]:
        """Return tries in the order of their runs: all, or those of one run, or those of some cases."""
        rows = self._database.execute(
            "SELECT run.id, run.started, scenario.key, node, verdict, suspect, known_issue, try.seconds, message,"
            " qemu, kernel, dst_qemu, dst_kernel FROM try"
            " JOIN run ON run.id = try.run JOIN scenario ON scenario.id = try.scenario"
            " JOIN versions ON versions.id = try.versions"
            " WHERE (?1 IS NULL OR run.id = ?1) AND (?2 IS NULL OR scenario.key IN (SELECT value FROM json_each(?2)))"
            " ORDER BY run.started, run.id, try.rowid",
            (run, None if keys is None else json.dumps(list(keys))),
        )
        return [_try(row) for row in rows]

    def seconds(self) -> dict[str, float]:
        """Return how long each case took on average, in the last runs that had it: what may be expected of it."""
        rows = self._database.execute(
            "SELECT key, avg(seconds) FROM (SELECT scenario, try.seconds, row_number() OVER"
            " (PARTITION BY scenario ORDER BY try.rowid DESC) AS age FROM try) JOIN scenario ON scenario.id = scenario"
            " WHERE age <= 5 GROUP BY key"
        )
        return dict(rows.fetchall())

    def check(self) -> str:
        """Return what SQLite's own check of the file finds; `ok` where all is well."""
        return "; ".join(row[0] for row in self._database.execute("PRAGMA integrity_check"))


def _create(path: Path) -> None:
    """Put an empty history there: made beside it and linked, so that of many processes one wins and none sees it half made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as scratch:
        fresh = Path(scratch) / NAME
        with closing(sqlite3.connect(fresh)) as database:
            database.execute("PRAGMA journal_mode = WAL")  # it is a property of the file from now on
            database.executescript(_TABLES)
        with suppress(FileExistsError):
            os.link(fresh, path)


def _try(row: Sequence[object]) -> Try:
    run, started, key, node, verdict, suspect, known_issue, seconds, message, *versions = row
    assert isinstance(run, int)
    assert isinstance(seconds, float)
    return Try(
        run=run,
        started=str(started),
        key=str(key),
        node=str(node),
        verdict=Verdict(str(verdict)),
        suspect=None if suspect is None else Suspect(str(suspect)),
        known_issue=None if known_issue is None else str(known_issue),
        seconds=seconds,
        message=str(message),
        versions=Versions(*map(str, versions)),
    )


def _four(versions: Versions) -> tuple[str, str, str, str]:
    return (versions.qemu, versions.kernel, versions.dst_qemu, versions.dst_kernel)


def _plain(text: str) -> str:
    """Return a text that has a form in UTF-8; a guest may have said anything."""
    return text.encode("utf-8", "backslashreplace").decode()
