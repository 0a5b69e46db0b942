"""The history loses nothing: not with many writers at once, not when a writer is killed; and nothing else is taken for one."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import Suspect, UsageError, Verdict
from harness.report import history
from harness.report.history import History
from harness.report.versions import Versions
from tests.report.report_samples import FAILED, LOST, PASSED

ROOT = Path(__file__).parents[2]
NEW = Versions("11.1.3", "7.3.4")

# Waits for a line, so that all writers begin at once; says when it has begun.
WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from harness.report.history import History
from harness.report.versions import Versions
from tests.report.report_samples import PASSED
path, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
with History(path) as store:
    run = store.begin(f"2026-11-20T01:02:{int(name):02}Z", {"harness": name}, count)
    print(run, flush=True)
    for number in range(count):
        store.add(run, [(replace(PASSED, id=f"a.py::t[{name}-{number}]", params={"n": number, "w": name}), Versions(name))])
        if number == 50:
            print("fifty", flush=True)
    store.finish(run, 1.5)
"""


def writer(path: Path, name: int, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), str(name), str(count)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def said(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    with History(tmp_path / "deep" / "h.sqlite") as store:
        first = store.begin("2026-11-20T01:02:03Z", {"harness": "v1"}, 2)
        store.add(first, [(PASSED, Versions("11.1.3")), (FAILED, Versions("11.1.3"))])
        store.finish(first, 93.1)
        second = store.begin("2026-11-21T01:02:03Z", {"harness": "v2"})
        store.add(second, [(replace(FAILED, id=f"{FAILED.id[:-1]}~2]", seconds=0.5), NEW)])
        runs = store.runs()
        assert [(run.id, run.seconds, run.planned, run.tries) for run in runs] == [(first, 93.1, 2, 2), (second, None, None, 1)]
        assert runs[0].provenance == {"harness": "v1"} and runs[1].ended is None
        (last,) = store.tries(run=second)
        assert (last.key, last.verdict, last.suspect, last.message) == (FAILED.key, Verdict.FAIL, Suspect.QEMU, LOST)
        assert last.versions == NEW
        assert [each.run for each in store.tries(keys=[FAILED.key])] == [first, second]
        assert store.seconds() == {PASSED.key: 0.21, FAILED.key: pytest.approx(0.355)}
        assert store.check() == "ok"


def test_the_key_is_the_same_on_every_kernel() -> None:
    one = replace(PASSED, id="a.py::t[lab-new-cntv]", platform="lab", params={"lab_kernel": "new", "timer": "cntv"})
    other = replace(PASSED, id="a.py::t[lab-old-cntv~2]", platform="lab", params={"lab_kernel": "old", "timer": "cntv"})
    assert one.key == other.key == "a.py::t[lab file timer=cntv]"
    assert one.key != replace(one, params={"lab_kernel": "new", "timer": "cntp"}).key


def test_it_names_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    with History(tmp_path / "h") as store:
        run = store.begin("2026-11-20T01:02:03Z", {"options": "--qemu /home/alice/q"})
        store.add(run, [(replace(FAILED, message="no /home/alice/x \ud800"), NEW)])
    for file in tmp_path.iterdir():
        assert b"alice" not in file.read_bytes()


def test_eight_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"  # not there yet: they make it at once, too
    writers = [writer(path, name, 100) for name in range(8)]
    for process in writers:
        go(process)
    numbers = {int(said(process)) for process in writers}
    assert [process.wait(120) for process in writers] == [0] * 8
    assert len(numbers) == 8
    with History(path) as store:
        assert store.check() == "ok"
        found = {(each.run, each.versions.qemu, each.key) for each in store.tries()}
        assert len(found) == len(store.tries()) == 800
        assert all(run.ended and run.tries == 100 for run in store.runs())
    assert {file.name.removeprefix("h.sqlite") for file in tmp_path.iterdir()} <= {"", "-wal", "-shm"}


def test_a_writer_that_is_killed_leaves_what_it_had_written(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite"
    victims, survivor = [writer(path, name, 100_000) for name in range(2)], writer(path, 9, 200)
    for process in (*victims, survivor):
        go(process)
    for process in victims:
        said(process)
        assert said(process) == "fifty"
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    assert survivor.wait(120) == 0
    with History(path) as store:
        assert store.check() == "ok"
        by_name = {run.provenance["harness"]: run for run in store.runs()}
        assert all(by_name[name].ended is None and by_name[name].tries > 50 for name in ("0", "1"))
        assert by_name["9"].tries == 200 and by_name["9"].ended
        store.add(store.begin("2026-11-22T00:00:00Z", {}), [(PASSED, NEW)])


def test_a_transaction_is_all_or_nothing(tmp_path: Path) -> None:
    with History(tmp_path / "h") as store:
        run = store.begin("2026-11-20T01:02:03Z", {})
        with pytest.raises(sqlite3.Error):
            store.add(run, [(PASSED, NEW), (replace(FAILED, seconds=None), NEW)])  # type: ignore[arg-type]
        assert store.tries() == []
        with pytest.raises(sqlite3.IntegrityError):
            store.add(run + 7, [(PASSED, NEW)])


@pytest.mark.parametrize("text", ["", "no database", "other", "newer"])
def test_what_is_no_history_is_refused_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "h"
    if text == "other":
        sqlite3.connect(path).execute("CREATE TABLE x (y)")
    elif text == "newer":
        with History(path):
            pass
        sqlite3.connect(path).execute(f"PRAGMA user_version = {history.SCHEMA + 1}")
    else:
        path.write_text(text * 100)
    before = path.read_bytes()
    with pytest.raises(UsageError, match=str(path)):
        History(path)
    assert path.read_bytes() == before


def test_where_nothing_can_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no history can be kept there"):
        History(tmp_path / "file" / "h")
