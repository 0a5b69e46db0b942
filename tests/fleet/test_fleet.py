"""The scenarios on two hosts reached by SSH, one of which dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.deadline import Deadline
from harness.errors import HostFailure, Suspect, UsageError, Verdict
from harness.fleet.run import Order, Work, run
from harness.fleet.unit import Heard, Unit
from harness.host import inventory
from harness.report import journal, results
from harness.report.merge import merge
from harness.report.model import Case, Run
from harness.report.repeats import fold, marked
from tests.fleet.ssh_hosts import SshComputer, ssh_computers
from tests.plugin.conftest import BODY, ROOT, Project

WORDS = tuple(f"word{number:02}" for number in range(24))
# Each case notes on which host it ran; on host `two` none ends that is one of STUCK there, counted from 1, and DOES what it is told.
NOTED = f"""import os, time, pathlib
    ran = pathlib.Path(os.environ["IN"]) / f"ran-{{os.environ['HOST']}}"
    with ran.open("a") as file:
        file.write(case.word + "\\n")
    if os.environ["HOST"] == "two" and len(ran.read_text().split()) in STUCK:
        DOES
        time.sleep(250)
    {BODY}"""

FROM_THE_THIRD = range(3, len(WORDS) + 1)


class Fleet:
    """The project, on two hosts that share its folder."""

    def __init__(self, project: Project, hosts: dict[str, SshComputer]) -> None:
        self.project = project
        self.hosts = hosts
        self.inventory = project.path / "hosts.toml"
        self.inventory.write_text("\n".join(host.entry(project.path) for host in hosts.values()))

    @property
    def entries(self) -> list[inventory.RemoteHost]:
        return list(inventory.load(self.inventory).values())

    def scenario(self, *, stuck: Sequence[int] = (), does: str = "pass") -> None:
        self.project.scenario(*WORDS, body=NOTED.replace("STUCK", repr(stuck)).replace("DOES", does))

    def arguments(self, *more: str) -> tuple[str, ...]:
        chosen = self.project.arguments(*more)
        return tuple(word for word in chosen if word != "scenarios")

    def ran(self, host: str) -> list[str]:
        """Return which cases a host has begun, in order."""
        path = self.project.path / f"ran-{host}"
        return path.read_text().split() if path.exists() else []

    def knows_of(self, words: Sequence[str]) -> bool:
        """Say whether the controller has heard that these cases were begun, and so how those before them ended."""
        heard = "".join(path.read_text() for path in self.project.path.rglob("journal.jsonl"))
        begun = "".join(line for line in heard.splitlines() if '"begun"' in line)
        return all(word in begun for word in words)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start the command."""
        command = [sys.executable, "-m", "harness.cli", "fleet", "--hosts", str(self.inventory), "--out", "merged", *words]
        return subprocess.Popen(
            command,
            cwd=self.project.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def results(self) -> list[dict[str, Any]]:
        data = json.loads((self.project.path / "merged" / "results.json").read_text())
        cases: list[dict[str, Any]] = data["cases"]
        return cases


@pytest.fixture
def fleet(project: Project) -> Iterator[Fleet]:
    (project.path / ".venv").symlink_to(Path(sys.prefix))
    env = {"HARNESS_CACHE": os.environ["HARNESS_CACHE"], "IN": str(project.path), "LANG": "C.UTF-8"}
    with ssh_computers("one", "two", env=env) as hosts:
        yield Fleet(project, hosts)


def test_a_host_that_dies_costs_what_ran_on_it(fleet: Fleet) -> None:
    workers = 2
    fleet.scenario(stuck=FROM_THE_THIRD)
    process = fleet.start("--shards", "2", "--", "-n", str(workers), *fleet.arguments())
    deadline = Deadline.after(100)
    while len(fleet.ran("two")) < 2 + workers or not fleet.knows_of(fleet.ran("two")):
        assert not deadline.expired and process.poll() is None, process.communicate()
        with_patience()
    fleet.hosts["two"].die()
    said, told = process.communicate(timeout=150)
    assert process.returncode == 1, told
    cases = fleet.results()
    assert sorted(case["params"]["word"] for case in cases) == list(WORDS), "each once"
    stuck = fleet.ran("two")[2:]
    assert len(stuck) == workers
    missing = [case for case in cases if case["verdict"] != "pass"]
    ends = {case["params"]["word"]: (case["verdict"], case["suspect"], case["message"]) for case in missing}
    lost = ("error", "host", "missing: it ran when its host was lost: two: the connection was lost")
    assert ends == dict.fromkeys(stuck, lost), told
    assert sorted(fleet.ran("one") + fleet.ran("two")) == list(WORDS), "nothing that had begun is run again"
    assert f"({workers} of them missing)" in said
    assert "two: lost in shard-" in told
    assert "two: given up: two: cannot be reached at " in told
    kcidb = json.loads((fleet.project.path / "merged" / "kcidb.json").read_text())
    assert [test.get("status") for test in kcidb["tests"]].count("MISS") == workers
    assert fleet.project.machines() == []


@pytest.mark.parametrize(
    ("does", "why"),
    [
        ("pass", "the connection was lost"),
        # Descriptor 3 is the journal.
        (r'os.write(3, b"pardon?\n")', r"garbled: b'pardon?\n'"),
        ("os.kill(os.getpid(), 9)", "pytest was killed by SIGKILL: "),
    ],
    ids=["lost", "garbled", "killed"],
)
def test_a_host_that_can_be_reached_again_goes_on(fleet: Fleet, does: str, why: str) -> None:
    fleet.scenario(stuck=(3,), does=does)
    process = fleet.start("--host", "two", "--shards", "1", "--", "-n", "0", *fleet.arguments())
    if does == "pass":
        deadline = Deadline.after(100)
        while len(fleet.ran("two")) < 3 or not fleet.knows_of(fleet.ran("two")):
            assert not deadline.expired and process.poll() is None, process.communicate()
            with_patience()
        fleet.hosts["two"].hang_up()
    _, told = process.communicate(timeout=150)
    assert process.returncode == 1, told
    assert fleet.ran("two") == list(WORDS), "each once"
    [missing] = [case for case in fleet.results() if case["verdict"] != "pass"]
    assert (missing["params"]["word"], missing["verdict"]) == (WORDS[2], "error")
    assert missing["message"].startswith(f"missing: it ran when its host was lost: two: {why}")
    assert f"two: lost in shard-1: two: {why}" in told and "\ntwo: reached again\n" in told
    assert fleet.project.machines() == []


def with_patience() -> None:
    """Let a moment pass: no event tells of a line in a file that another computer writes."""
    time.sleep(0.05)


def test_two_hosts_share_the_cases(fleet: Fleet) -> None:
    fleet.scenario()
    process = fleet.start("--shards", "3", "--", "-n", "1", *fleet.arguments())
    said, told = process.communicate(timeout=150)
    assert process.returncode == 0, told
    cases = fleet.results()
    assert sorted(case["params"]["word"] for case in cases) == list(WORDS)
    assert {case["verdict"] for case in cases} == {"pass"}
    assert fleet.ran("one") and fleet.ran("two")
    assert "verdicts: 24 pass; report: " in said
    assert sorted(path.name for path in (fleet.project.path / "merged").iterdir() if path.is_file()) == [
        *("junit.xml", "kcidb.json", "measured.json", "report.html", "results.json", "results.ktap")
    ]


def test_ctrl_c_ends_it_on_the_hosts_and_tells_what_there_is(fleet: Fleet) -> None:
    fleet.scenario(stuck=FROM_THE_THIRD)
    process = fleet.start("--shards", "2", "--", "-n", "0", *fleet.arguments())
    deadline = Deadline.after(100)
    while len(fleet.ran("two")) < 3 or not fleet.ran("one") or not fleet.knows_of([*fleet.ran("one"), *fleet.ran("two")]):
        assert not deadline.expired and process.poll() is None, process.communicate()
        with_patience()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130, told
    cases = {case["params"]["word"]: case for case in fleet.results()}
    assert sorted(cases) == list(WORDS)
    first, second, third = fleet.ran("two")[:3]
    assert cases[first]["verdict"] == cases[second]["verdict"] == "pass"
    assert cases[third]["message"] == "missing: it ran when its host was lost: two: the run was interrupted"
    deadline = Deadline.after(20)
    while fleet.project.machines() and not deadline.expired:
        with_patience()
    assert fleet.project.machines() == []


def test_bundles_come_along(fleet: Fleet) -> None:
    fleet.project.scenario("plain", "fault=refuses")
    fleet.project.run("-q")
    process = fleet.start("--shards", "2", "--times", "out", "--", "-n", "0", *fleet.arguments())
    _, told = process.communicate(timeout=150)
    assert process.returncode == 1, told
    bundle = next(case["bundle"] for case in fleet.results() if case["verdict"] == "fail")
    assert (fleet.project.path / "merged" / bundle / "README.txt").exists()
    assert "fail: timers: fault=refuses through file: " in told, "at once"


def test_no_host_is_left(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.host.remote._DEAD_SECONDS", 2)
    fleet.hosts["one"].die()
    fleet.scenario(stuck=FROM_THE_THIRD)
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words)
        if words == "two: shard-1 has ended, 2 cases":
            fleet.hosts["two"].die()

    entries = fleet.entries
    monkeypatch.setattr("harness.host.remote.CONNECT_SECONDS", 2.0)
    merged = fleet.project.path / "merged"
    order = Order(("-n", "0", *fleet.arguments()), shards=12)
    found = run(entries, order, merged, fleet.project.path / "parts", say).run
    assert [words for words in said if words.startswith("one: left out: ")]
    assert sorted(str(case.params["word"]) for case in found.cases) == list(WORDS)
    assert found.totals[Verdict.PASS] == 2
    missing = [case for case in found.cases if case.missing]
    assert len(missing) == 22 and {case.message.split(" ", 2)[1] for case in missing} == {"shard"}


def test_a_mistake_is_told_once(fleet: Fleet) -> None:
    fleet.scenario()
    process = fleet.start("--", "--lifecycle", "teleport")
    _, told = process.communicate(timeout=100)
    assert process.returncode == 2
    assert told.splitlines()[-1].startswith("harness: ") and "invalid choice: 'teleport'" in told.splitlines()[-1]


def test_a_host_without_the_harness(fleet: Fleet) -> None:
    (fleet.project.path / ".venv").unlink()
    with pytest.raises(UsageError, match="there is no harness in .*; check it out there and run `make setup` in it"):
        run(fleet.entries, Order(), fleet.project.path / "merged", fleet.project.path / "parts", print)


@pytest.mark.parametrize(
    ("harness_too", "ends"),
    [
        (False, ("reached again", "shard-1 begins", "lost in shard-1: ", "given up: it failed twice in a row")),
        (True, ("given up: two: there is no harness in ",)),
    ],
)
def test_a_host_that_can_do_no_more_is_given_up(fleet: Fleet, harness_too: bool, ends: tuple[str, ...]) -> None:
    fleet.scenario()
    said: list[str] = []

    def say(words: str) -> None:
        said.append(words.removeprefix("two: "))
        if words.endswith(" begins"):
            fleet.hosts["two"].hang_up()
            if harness_too:
                (fleet.project.path / ".venv").unlink()

    order = Order(("-n", "0", *fleet.arguments()), shards=1)
    with pytest.raises(HostFailure, match=r"^two: no host has begun a case$"):
        run(fleet.entries[1:], order, fleet.project.path / "merged", fleet.project.path / "parts", say)
    expected = ("shard-1 begins", "lost in shard-1: ", *ends, "no host is left for shard-1")
    assert len(said) == len(expected) and all(words.startswith(begin) for words, begin in zip(said, expected, strict=True)), (
        said
    )


def test_what_no_case_says_of_a_part_that_failed_is_an_error(fleet: Fleet) -> None:
    fleet.project.scenario("plain").with_name("test_other.py").write_text("def test_it(): assert 0\n")
    process = fleet.start("--host", "one", "--shards", "1", "--", "-n", "0", *fleet.arguments())
    said, told = process.communicate(timeout=150)
    assert process.returncode == 1, told
    assert "verdicts: 1 pass, 1 error; " in said
    _, case = fleet.results()
    assert (case["id"], case["verdict"]) == ("part::shard-1", "error")
    words = "pytest on one ended with status 1, and no case says why; its words are in parts/shard-1.one.log"
    assert case["message"] == words and f"one: error: {words}\n" in told
    assert (fleet.project.path / "merged" / "parts" / "shard-1.one.log").exists()


# -- without hosts


def test_what_is_left_of_a_unit() -> None:
    unit = Unit("shard-1", shard="1/2")
    assert Heard().left(unit) == unit, "nobody knows what was in it"
    heard = Heard(planned=["a", "b", "c"], begun={"a"})
    assert heard.left(unit) == Unit("shard-1-rest", nodes=("b", "c"))
    assert Heard(planned=["a"], begun={"a"}).left(unit) is None


def _tries(word: str, count: int) -> list[Case]:
    """Return the tries of a case, as planned."""
    ids = [f"t/test_it.py::test_it[{marked(word, number)}]" for number in range(1, count + 1)]
    return [Case(node, "t", "tcg", "file", {"word": word}, Verdict.PASS) for node in ids]


def test_a_case_of_which_one_try_has_begun_is_not_left() -> None:
    done, ran, not_begun = (_tries(word, 3) for word in ("done", "ran", "not-begun"))
    planned = [case.id for case in (*done, *ran, *not_begun)]
    begun = {case.id for case in (*done, *ran[:2])}
    assert Heard(planned, begun).left(Unit("shard-1")) == Unit("shard-1-rest", nodes=tuple(case.id for case in not_begun))


def test_a_try_that_was_lost_with_its_host_is_not_hidden_by_those_after_it(tmp_path: Path) -> None:
    tries = [*_tries("ran", 4), *_tries("not-begun", 4)]
    journal.plan(tmp_path / "lost", tries)
    heard = Heard([case.id for case in tries])
    told = journal.Journal(tmp_path / "lost", "2026-11-01T00:00:00Z", {})
    for number, case in enumerate(tries[:2]):
        told.begun(case.id, 1.0)
        heard.begun.add(case.id)
        if not number:
            told.add(case, 2.0)
    with (tmp_path / "lost" / journal.NAME).open("a") as file:
        file.write('{"lost": "it is dead"}\n')

    rest = heard.left(Unit("lost"))
    assert rest
    ended = fold(case for case in tries if case.id in rest.nodes)
    results.write(tmp_path / "rest", Run("2026-11-01T00:01:00Z", 1.0, {}, tuple(ended)))
    cases = {case.params["word"]: case for case in merge([tmp_path / "lost", tmp_path / "rest"], tmp_path / "all").cases}
    assert cases["ran"].missing and cases["ran"].suspect is Suspect.HOST
    assert cases["ran"].message.startswith("missing: it ran when its host was lost: it is dead; 1 of 4 tries went well")
    assert cases["not-begun"].verdict is Verdict.PASS


def test_work_that_comes_back_is_given_to_others() -> None:
    work = Work([Unit("a")])
    taken = work.take()
    assert taken == Unit("a")
    work.done(Unit("a-rest", nodes=("x",)))
    assert work.take() == Unit("a-rest", nodes=("x",))
    work.done(None)
    assert work.take() is None


def test_work_that_was_given_up() -> None:
    work = Work([Unit("a")])
    work.give_up(HostFailure("gone"))
    assert work.take() is None and work.waiting == [Unit("a")]
