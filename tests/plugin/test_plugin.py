"""Scenarios on a fake QEMU, through pytest: verdicts, exit status, and what is written."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time
import xml.etree.ElementTree as ET
from contextlib import suppress
from fnmatch import fnmatch

import pytest

from harness.deadline import Deadline
from harness.host import pressure
from harness.plugin import trial
from harness.report import bundle, journal, results
from harness.report.history import History
from harness.report.model import lost
from harness.report.trends import flaky
from harness.rerun import opened
from tests.plugin.conftest import BODY, Project
from tests.report.report_samples import PASSED, run_of

OK, FAILED, INTERRUPTED, USAGE = 0, 1, 2, 4


def test_pass(project: Project) -> None:
    project.scenario("plain", lifecycles=("straight", "pause", "file", "live-unix", "twice"))
    run = project.run()
    assert run.ret == OK
    run.stdout.fnmatch_lines(["*verdicts: 5 pass; report: *report.html"])
    data = project.results()
    assert data["schema"] == 1
    assert data["totals"] == {"pass": 5, "fail": 0, "error": 0, "skip": 0, "known": 0, "fixed": 0, "blocked": 0}
    assert data["provenance"]["qemu"]["version"] == "11.1.3 (fake)"
    case = next(case for case in data["cases"] if case["lifecycle"] == "file")
    assert case["id"] == "scenarios/timers/test_it.py::test_it[tcg-file-plain]"
    assert (case["subject"], case["platform"], case["verdict"], case["suspect"]) == ("timers", "tcg", "pass", None)
    assert case["params"] == {"word": "plain"}
    assert case["compared"] == {"registers": 4 + 4, "interrupts": 0}
    assert case["bundle"] is None and case["message"] == ""
    results.read(project.path / "out")
    assert len(list(ET.parse(project.path / "out" / "junit.xml").iter("testcase"))) == 5
    assert (project.path / "out" / "report.html").read_text().startswith("<!")
    assert project.machines() == []


@pytest.mark.parametrize(
    ("word", "verdict", "suspect", "words"),
    [
        (
            "fault=refuses",
            "fail",
            "QEMU",
            "timers: fault=refuses through file: destination: QEMU exited with status 1: Unknown ramblock*; suspect QEMU",
        ),
        ("fault=register", "fail", "QEMU", "*cpu0/X1* was 0x1234 and is 0xbeef*"),
        ("fault=exit", "fail", "QEMU", "*QEMU did not start: -cpu nonsense*"),
        ("fault=dies-dismissed", "fail", "QEMU", "timers: * through file: source: QEMU was killed by SIGTERM; suspect QEMU"),
        ("fault=dies-off", "fail", "QEMU", "timers: * through file: destination: QEMU was killed by SIGTERM; suspect QEMU"),
        ("says=fail", "fail", "QEMU", "*the guest found: two and two are five*"),
        ("says=panic", "fail", "guest", "*the guest panicked*data abort*"),
        ("says=garbage", "fail", "guest", "*the guest wrote a garbled line*"),
    ],
)
def test_fail(project: Project, word: str, verdict: str, suspect: str, words: str) -> None:
    project.scenario(word)
    run = project.run()
    assert run.ret == FAILED
    run.stdout.fnmatch_lines([f"*verdicts: 1 {verdict}; *", "FAILED *"])
    run.stdout.no_fnmatch_line("*Traceback*")
    case = project.only_case()
    assert (case["verdict"], case["suspect"]) == (verdict, suspect)
    assert fnmatch(case["message"], words)
    bundle = project.path / "out" / case["bundle"]
    assert bundle.is_dir()
    text = "\n".join(path.read_text("utf-8", "replace") for path in bundle.rglob("*") if path.is_file())
    assert "-nodefaults" in text and (word == "fault=exit" or "qmp_capabilities" in text)
    assert project.machines() == []


@pytest.mark.parametrize(
    ("word", "lifecycle", "verdict", "words"),
    [
        ("says=skip", "file", "skip", "timers on max: this CPU has none"),
        ("fault=uncapable", "multifd", "skip", "destination: QEMU refuses return-path, multifd: 'multifd' is not supported*"),
        ("fault=blocked", "file", "blocked", "source: KVM nested virt is enabled; and another"),
    ],
)
def test_not_tried(project: Project, word: str, lifecycle: str, verdict: str, words: str) -> None:
    project.scenario(word, lifecycles=(lifecycle,))
    run = project.run("-rs")
    assert run.ret == OK
    run.stdout.fnmatch_lines([f"*verdicts: 1 {verdict}; *", f"SKIPPED *: {verdict}: {words}"])
    assert project.only_case()["bundle"] is None


LEFT_OVER = """
import pytest
from harness.errors import HarnessBug

@pytest.fixture(autouse=True)
def nothing_left():
    yield
    raise HarnessBug("a thread is left over")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["one-process", "a-worker"])
@pytest.mark.parametrize(
    ("word", "verdict", "suspect", "words", "first"),
    [
        (
            "fault=refuses",
            "fail",
            "QEMU",
            "*Unknown ramblock*; suspect QEMU; in its teardown: a thread is left over",
            "ramblock",
        ),
        ("zero", "error", "harness", "*division by zero; suspect harness; in its teardown: a thread is left over", "division"),
        ("plain", "error", "harness", "timers: plain through file: a thread is left over; suspect harness", "a thread is left"),
    ],
)
def test_what_broke_a_case_first_stays_whatever_comes_of_its_teardown(
    project: Project, workers: tuple[str, ...], word: str, verdict: str, suspect: str, words: str, first: str
) -> None:
    project.scenario(word, body=f"assert case.word != 'zero' or 1 / 0\n    {BODY}")
    (project.path / "scenarios" / "timers" / "conftest.py").write_text(LEFT_OVER)
    run = project.run(*workers)
    assert run.ret == FAILED
    run.stdout.fnmatch_lines(["* ERROR at teardown of *", "*a thread is left over*", f"*verdicts: 1 {verdict}; *"])
    case = project.only_case()
    assert (case["verdict"], case["suspect"]) == (verdict, suspect)
    assert fnmatch(case["message"], words)
    failure = json.loads((project.path / "out" / case["bundle"] / "case.json").read_text())["failure"]
    assert failure["verdict"] == verdict and first in failure["words"]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "stuck",
            "destination: QEMU refuses return-path, having migrated before: There's a migration process in progress; suspect QEMU",
        ),
        ("leaks", "destination: unknown cause: migrate: disallowing migration blocker; suspect QEMU"),
        ("stuck,register", "*in progress; registers differ: cpu0/X#; suspect QEMU"),
    ],
)
def test_what_a_qemu_refuses_after_a_migration_is_no_skip(project: Project, fault: str, words: str) -> None:
    project.scenario(f"fault={fault}", lifecycles=("ping-pong",))
    project.run()
    case = project.only_case()
    assert case["verdict"] == "fail"
    assert fnmatch(case["message"], f"timers: fault={fault} through ping-pong: {words}")


def test_what_differed_before_a_case_is_given_up_is_no_skip(project: Project) -> None:
    body = BODY.replace(
        "put_through(guest)", "put_through(guest); from harness.errors import Unsupported; raise Unsupported('no')"
    )
    project.scenario("fault=register", body=body)
    project.run()
    assert "cpu0/X1 was 0x1234 and is 0xbeef" in project.only_case()["message"]


def test_error_is_the_harness(project: Project) -> None:
    project.scenario("plain", body="1 / 0")
    run = project.run()
    assert run.ret == FAILED
    run.stdout.fnmatch_lines(["E *ZeroDivisionError*"])
    case = project.only_case()
    assert (case["verdict"], case["suspect"]) == ("error", "harness")


@pytest.mark.parametrize(
    ("body", "words"),
    [("guest.go(); guest.finish()", "nothing was compared"), ("guest.messages.clear()", "no guest said a word")],
)
def test_no_evidence(project: Project, body: str, words: str) -> None:
    project.scenario("plain", lifecycles=("straight",), body=body)
    assert project.run().ret == FAILED
    case = project.only_case()
    assert case["verdict"] == "error" and words in case["message"]


def test_a_guest_that_says_nothing(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.guest.payload.BOOT_SECONDS", 0.2)
    project.scenario("says=nothing")
    assert project.run().ret == FAILED
    case = project.only_case()
    assert case["verdict"] == "fail" and "waited 0.2 s for the guest's `now`" in case["message"]
    assert project.machines() == []


def test_what_a_scenario_found_is_in_the_results(project: Project) -> None:
    project.scenario("plain", body=f"trial.found |= {{'outcome': 'accepted', 'silent': True}}\n    {BODY}")
    path = project.path / "scenarios" / "timers" / "test_it.py"
    path.write_text(path.read_text().replace("def test_it(case, ", "def test_it(case, trial, "))
    assert project.run().ret == OK
    assert project.only_case()["params"] == {"word": "plain", "outcome": "accepted", "silent": True}


def test_known(project: Project) -> None:
    project.scenario("fault=refuses")
    project.known("fault=refuses", "Unknown ramblock")
    run = project.run("-rx")
    assert run.ret == OK
    run.stdout.fnmatch_lines(["*verdicts: 1 known; *", "XFAIL *it-is-known*"])
    case = project.only_case()
    assert (case["verdict"], case["known_issue"]) == ("known", "it-is-known")


def test_fixed_fails_the_run(project: Project) -> None:
    project.scenario("plain")
    project.known("plain", "Unknown ramblock")
    run = project.run()
    assert run.ret == FAILED
    run.stdout.fnmatch_lines(["*known issue it-is-known did not fail on QEMU 11.1.3*", "*verdicts: 1 fixed; *"])
    assert project.results()["totals"]["fixed"] == 1


def test_a_matrix_without_a_case(project: Project) -> None:
    project.scenario("plain", lifecycles=("file",))
    run = project.run("--lifecycle", "live-unix")
    assert run.ret in (INTERRUPTED, USAGE)
    assert "no case is left; nothing would be proven" in "\n".join(run.outlines + run.errlines)
    assert not (project.path / "out").exists()


def test_an_unknown_lifecycle(project: Project) -> None:
    project.scenario("plain")
    run = project.run("--lifecycle", "teleport")
    assert run.ret == USAGE
    run.stderr.fnmatch_lines(["*--lifecycle: invalid choice: 'teleport' (choose from *straight*"])


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_qemu_that_is_none(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario("plain", "other", "third")
    project.qemu = project.path / "nowhere"
    run = project.run(*workers)
    assert run.ret == USAGE
    run.stderr.fnmatch_lines(["ERROR: --qemu: there is no *nowhere; give the path of a qemu-system-aarch64 or a suite: *"])
    assert run.outlines == []


def test_a_known_issues_file_that_is_none(project: Project) -> None:
    project.scenario("plain")
    (project.path / "known.toml").write_text("[[issue]]\nid=1\n")
    run = project.run()
    assert run.ret == USAGE
    run.stderr.fnmatch_lines(["ERROR: *known.toml: entry 1: 'id' must be given, in words"])


def test_two_workers_report_each_case_once(project: Project) -> None:
    words = ("plain", "fault=refuses", "says=skip", "other")
    project.scenario(*words, lifecycles=("file", "live-unix"))
    run = project.run("-n", "2", "-q")
    assert run.ret == FAILED
    data = project.results()
    assert sorted((case["lifecycle"], case["params"]["word"]) for case in data["cases"]) == sorted(
        (name, word) for name in ("file", "live-unix") for word in words
    )
    assert data["totals"] == {"pass": 4, "fail": 2, "error": 0, "skip": 2, "known": 0, "fixed": 0, "blocked": 0}
    assert project.machines() == []


def test_a_name_that_is_a_word_of_the_case_leaves_it_whole(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOGNAME", "refuses")
    project.scenario("fault=refuses")
    assert project.run().ret == FAILED
    (case,) = results.read(project.path / "out").cases
    assert (case.id, case.params) == ("scenarios/timers/test_it.py::test_it[tcg-file-fault=refuses]", {"word": "fault=refuses"})
    assert case.bundle == bundle.path_of(case.id)
    opened_again = opened.read(project.path / "out" / case.bundle)
    assert (opened_again.name, opened_again.plan.params["word"]) == (case.bundle, "fault=refuses")
    assert opened_again.arguments["fault"] == "refuses"
    report = (project.path / "out" / "junit.xml").read_text()
    assert case.bundle in report and "tcg-file-fault=refuses" in report


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_a_path_in_the_users_home_is_one_case(
    project: Project, monkeypatch: pytest.MonkeyPatch, workers: tuple[str, ...]
) -> None:
    begun: list[str] = []
    monkeypatch.setattr(journal.Journal, "begun", lambda _self, node, _at: begun.append(node))
    monkeypatch.setenv("HOME", "/home/bob")
    project.scenario("/home/bob/linux/Image", "plain", body=f"{BODY}\n    assert case.word == 'plain', case.word")
    project.run(*workers)
    ids = [f"scenarios/timers/test_it.py::test_it[tcg-file-{word}]" for word in ("$HOME/linux/Image", "plain")]
    cases = {case.id: case for case in results.read(project.path / "out").cases}
    assert sorted(begun) == sorted(cases) == ids and not any(case.missing for case in cases.values())
    assert cases[ids[0]].bundle and not cases[ids[1]].bundle
    for path in (project.path / "out").rglob("*"):
        assert "bob" not in path.name and (path.is_dir() or b"/home/bob" not in path.read_bytes()), path
    chosen = [ids[0] if word == "scenarios" else word for word in project.arguments(*workers)]
    project.pytester.runpytest_inprocess(*chosen)
    assert project.only_case()["id"] == ids[0], "an id that was read can be asked for"


def test_what_a_host_far_away_runs_is_said_of_it_and_not_of_this_computer(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial.Trial, "versions", ("10.0.2", "6.12.9", "", ""))
    project.scenario("plain", body=f'request.config.option.platform = "ssh:thunder"\n    {BODY}')
    assert project.run().ret == OK
    assert project.results()["provenance"]["hosts"] == {"ssh:thunder": {"qemu": "10.0.2", "kernel": "6.12.9"}}
    report = json.loads((project.path / "out" / "kcidb.json").read_text())
    assert [build["comment"] for build in report["builds"]] == ["Linux 6.12.9"]
    assert report["tests"][0]["environment"]["comment"] == "platform ssh:thunder, QEMU 10.0.2 and kernel 6.12.9"


def test_an_earlier_runs_bundles_go(project: Project) -> None:
    project.scenario("fault=refuses")
    project.run()
    assert list((project.path / "out" / "bundles").iterdir())
    project.scenario("plain")
    assert project.run().ret == OK
    assert not list((project.path / "out" / "bundles").iterdir())


# The first case passes; the second boots, says so, and waits for a word of the guest that never comes.
STUCK = f"""if case.word.startswith("stuck"):
        print("stuck", flush=True)
        guest.hear_until("beat", __import__("harness.deadline").deadline.Deadline.after(60))
    {BODY}"""


def _pidfds(project: Project, count: int) -> list[int]:
    """Wait until so many fake QEMUs run and return descriptors that tell of their ends."""
    deadline = Deadline.after(20)
    while len(found := project.machines()) < count and not deadline.expired:
        time.sleep(0.02)  # nobody tells when a process of another process begins
    assert len(found) >= count
    return _opened(found)


def _opened(pids: list[int]) -> list[int]:
    """Return descriptors of those that have not ended yet."""
    pidfds = []
    for pid in pids:
        with suppress(ProcessLookupError):
            pidfds.append(os.pidfd_open(pid))
    return pidfds


def _all_gone(pidfds: list[int]) -> bool:
    deadline = Deadline.after(5)
    gone = all(select.select([each], [], [], deadline.remaining)[0] for each in pidfds)
    for each in pidfds:
        os.close(each)
    return gone


def test_ctrl_c_writes_what_there_is(project: Project) -> None:
    project.scenario("plain", "stuck", body=STUCK)
    process = project.start("-s", "-q")
    assert process.stdout is not None
    line = ""
    while "stuck" not in line:
        line = process.stdout.readline()
        assert line, "pytest ended"
    pidfds = _pidfds(project, 1)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == INTERRUPTED
    assert _all_gone(pidfds)
    cases = {case["params"]["word"]: case["verdict"] for case in project.results()["cases"]}
    assert cases["plain"] == "pass"
    assert cases.get("stuck") != "pass"
    assert "report.html" in said
    assert project.machines() == []


def test_kill_9_of_the_controller_leaves_no_machine(project: Project) -> None:
    project.scenario("stuck", "stuck2", body=STUCK)
    process = project.start("-n", "2", "-q")
    pidfds = _pidfds(project, 2)
    process.kill()
    assert _all_gone(pidfds)
    process.communicate()
    # One that was just being started may end a moment later.
    assert _all_gone(_opened(project.machines()))
    assert project.machines() == []


def test_every_format_is_written(project: Project) -> None:
    project.scenario("plain")
    assert project.run().ret == OK
    assert {path.name for path in (project.path / "out").iterdir()} == {
        *("results.json", "junit.xml", "results.ktap", "kcidb.json", "report.html", "measured.json"),
    }


# -- what was planned and did not end

NO_CASE = """
import pytest
from harness.plugin.matrix import Matrix

@pytest.mark.matrix(Matrix({"lifecycle": ("file",)}, valid=lambda row: False))
def test_it(case, boot):
    pass
"""
DIES = f"""if case.word == "dies":
        __import__("os")._exit(1)
    {BODY}"""


def test_the_case_of_a_worker_that_dies_is_missing(project: Project) -> None:
    project.scenario("plain", "dies", "other", body=DIES)
    run = project.run("-n", "2", "-q")
    assert run.ret == FAILED
    run.stdout.fnmatch_lines(["verdicts: 2 pass, 1 error (1 of them missing: planned, and not heard of); *"])
    cases = {case["params"]["word"]: case for case in project.results()["cases"]}
    assert cases["dies"]["verdict"] == "error"
    assert cases["dies"]["message"].startswith("missing: worker 'gw") and "crashed while running" in cases["dies"]["message"]
    statuses = [test["status"] for test in json.loads((project.path / "out" / "kcidb.json").read_text())["tests"]]
    assert sorted(statuses) == ["MISS", "PASS", "PASS"]


# In the teardown of the cases that are called late.
DIES_LATE = """
import os, pytest

@pytest.fixture(autouse=True)
def dies(request):
    yield
    if "late" in request.node.name:
        os._exit(1)
"""


@pytest.mark.parametrize("options", [(), ("--require", "1")], ids=["each", "required"])
def test_the_case_of_a_worker_that_dies_in_its_teardown_has_not_passed(project: Project, options: tuple[str, ...]) -> None:
    body = f"assert case.word != 'too-late', 'it broke'\n    {BODY}"
    project.scenario("plain", "late", "too-late", body=body)
    (project.path / "scenarios" / "timers" / "conftest.py").write_text(DIES_LATE)
    assert project.run("-n", "2", "-q", *options).ret == FAILED
    cases = {case["params"]["word"]: case for case in project.results()["cases"]}
    assert {word: case["verdict"] for word, case in cases.items()} == {"plain": "pass", "late": "error", "too-late": "fail"}
    died = "worker 'gw[0-9]' crashed while running 'scenarios/timers/test_it.py::test_it.tcg-file-{}.'"
    assert re.fullmatch(f"missing: {died.format('late')}, in its teardown", cases["late"]["message"])
    assert re.fullmatch(f".*: it broke; suspect QEMU; in its teardown: {died.format('too-late')}", cases["too-late"]["message"])
    assert (project.path / "out" / cases["too-late"]["bundle"]).is_dir()


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
@pytest.mark.parametrize(
    ("text", "suspect", "words"),
    [
        ("import nothing_like_it", "harness", "ModuleNotFoundError: No module named 'nothing_like_it'"),
        ("def test_it(:", "harness", "SyntaxError: invalid syntax (test_other.py, line 1)"),
        ("assert 0, 'x'", "harness", "AssertionError: x"),
        (NO_CASE, "configuration", "scenarios/timers/test_other.py::test_it: no case is left; nothing would be proven"),
    ],
    ids=["import", "syntax", "assert", "matrix"],
)
def test_what_cannot_be_collected_is_an_error(
    project: Project, workers: tuple[str, ...], text: str, suspect: str, words: str
) -> None:
    project.scenario("plain").with_name("test_other.py").write_text(text)
    assert project.run(*workers).ret == (FAILED if workers else INTERRUPTED)
    other, case = sorted(project.results()["cases"], key=lambda case: len(case["id"]))
    assert case["verdict"] == "pass" if workers else case["message"] == "missing: the run was ended before it was begun"
    assert (other["id"], other["verdict"], other["suspect"]) == ("scenarios/timers/test_other.py", "error", suspect)
    assert other["message"] == f"timers: test_other.py cannot be collected: {words}; suspect {suspect}"
    assert "test_other.py cannot be collected" in (project.path / "out" / "junit.xml").read_text()
    assert "# ERROR timers: test_other.py cannot be collected" in (project.path / "out" / "results.ktap").read_text()
    assert [test["status"] for test in json.loads((project.path / "out" / "kcidb.json").read_text())["tests"]].count(
        "ERROR"
    ) == 1
    with History(project.path / "cache" / "history.sqlite") as store:
        assert [run.planned for run in store.runs()] == [1]
        assert not [each for each in store.tries() if "test_other" in each.key], "no later run could mend it"


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one-process", "workers"])
def test_other_tests_that_cannot_be_collected_leave_no_results(project: Project, workers: tuple[str, ...]) -> None:
    folder = project.path / "scenarios"
    folder.mkdir()
    (folder / "test_other.py").write_text("def test_other(): pass\n")
    (folder / "test_another.py").write_text("import nothing_like_it\n")
    assert project.run(*workers).ret == (FAILED if workers else INTERRUPTED)
    assert not (project.path / "out").exists()


@pytest.mark.parametrize("workers", [(), ("-n", "1")])
def test_what_x_leaves_out_is_missing(project: Project, workers: tuple[str, ...]) -> None:
    project.scenario("fault=refuses", *(f"w{number}" for number in range(8)))
    assert project.run("-x", *workers).ret != OK
    totals = project.results()["totals"]
    assert totals["fail"] == 1 and totals["error"] >= 5 and sum(totals.values()) == 9


def test_kill_9_of_the_controller_leaves_what_it_heard(project: Project) -> None:
    results.write(project.path / "out", run_of(PASSED))
    project.scenario("plain", "stuck", body=STUCK)
    process = project.start("-s", "-q")
    assert process.stdout is not None
    while "stuck" not in process.stdout.readline():
        pass
    pidfds = _pidfds(project, 1)
    process.kill()
    process.communicate()
    assert _all_gone(pidfds)
    run = journal.read(project.path / "out")
    assert {str(case.params["word"]): case.missing for case in run.cases} == {"plain": False, "stuck": True}
    with History(project.path / "cache" / "history.sqlite") as store:
        assert store.check() == "ok"
        (past,) = store.runs()
        assert (past.ended, past.planned, past.tries) == (None, 2, 1)


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_what_an_earlier_run_left_is_not_taken_for_this_ones(project: Project, workers: tuple[str, ...]) -> None:
    """Nor does a run of other tests leave any results."""
    journal.plan(project.path / "out", [lost(PASSED, "x")])
    folder = project.path / "scenarios"
    folder.mkdir()
    (folder / "test_other.py").write_text("def test_other(): pass\ndef test_another(): pass\n")
    run = project.run(*workers)
    assert run.ret == OK
    assert [path.name for path in (project.path / "out").iterdir()] == [journal.PLANNED]
    run.stdout.no_fnmatch_line("*verdicts:*")
    project.scenario("plain")
    assert project.run(*workers, "-k", "plain or other").ret == OK
    assert project.results()["totals"]["pass"] == sum(project.results()["totals"].values()) == 1


# -- repeats

FLAKY = f"""if case.word == "flaky" and __import__("os").environ["PYTEST_CURRENT_TEST"].count("~2]"):
        __import__("pytest").fail("not this time")
    {BODY}"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
@pytest.mark.parametrize(
    ("options", "status", "verdict", "words"),
    [
        (("--repeat", "3"), FAILED, "error", "*2 of 3 tries went well (95 % interval 0.21 to 0.94)"),
        (("--repeat", "3", "--require", "2"), OK, "pass", "2 of 3 tries went well *, enough for --require 2; one that did not: *not this time*"),
        (("--repeat", "3", "--require", "3"), FAILED, "error", "*2 of 3 tries went well*"),
    ],
)  # fmt: skip
def test_repeats(
    project: Project, workers: tuple[str, ...], options: tuple[str, ...], status: int, verdict: str, words: str
) -> None:
    project.scenario("flaky", "plain", body=FLAKY)
    assert project.run(*options, *workers).ret == status
    cases = {case["params"]["word"]: case for case in project.results()["cases"]}
    assert (cases["plain"]["verdict"], cases["plain"]["message"]) == ("pass", "")
    assert cases["flaky"]["verdict"] == verdict and fnmatch(cases["flaky"]["message"], words)
    assert cases["flaky"]["id"] == "scenarios/timers/test_it.py::test_it[tcg-file-flaky]"
    bundle = project.path / "out" / cases["flaky"]["bundle"]
    assert "test_it[tcg-file-flaky]'" in (bundle / "README.txt").read_text()
    with History(project.path / "cache" / "history.sqlite") as store:
        tries = [each for each in store.tries() if "flaky" in each.key]
        assert sorted(each.verdict for each in tries) == ["error", "pass", "pass"], "each try is remembered"
        (found,) = flaky(store.tries())
        assert (found.rate.broken, found.rate.of) == (1, 3)


@pytest.mark.parametrize("options", [("--repeat", "0"), ("--repeat", "2", "--require", "3"), ("--require", "0")])
def test_repeats_that_cannot_be_meant(project: Project, options: tuple[str, ...]) -> None:
    project.scenario("plain")
    run = project.run(*options)
    assert run.ret == USAGE
    run.stderr.fnmatch_lines([f"ERROR: {' '.join(options[-2:])}: *"])


def test_require_does_not_excuse_another_failure(project: Project) -> None:
    project.scenario("flaky", body=FLAKY)
    (project.path / "scenarios" / "timers" / "test_plain.py").write_text("def test_it(): assert 0\n")
    assert project.run("--repeat", "3", "--require", "2").ret == FAILED


# -- history


def test_each_run_is_remembered(project: Project) -> None:
    project.scenario("plain", "fault=refuses")
    project.run()
    project.run("-n", "2")
    with History(project.path / "cache" / "history.sqlite") as store:
        assert [(run.planned, run.tries, run.ended is not None) for run in store.runs()] == [(2, 2, True)] * 2
        assert {each.versions.qemu for each in store.tries()} == {"11.1.3 (fake)"}
        assert {each.key for each in store.tries()} == {
            "scenarios/timers/test_it.py::test_it[tcg file word=plain]",
            "scenarios/timers/test_it.py::test_it[tcg file word=fault=refuses]",
        }


def test_no_history_is_written_where_none_is_wanted(project: Project) -> None:
    project.scenario("plain")
    project.run("--history", "none")
    assert not (project.path / "cache" / "history.sqlite").exists()
    project.run("--history", "deep/h.sqlite")
    assert (project.path / "deep" / "h.sqlite").exists()


def test_a_history_that_is_none_is_refused_before_anything_runs(project: Project) -> None:
    project.scenario("plain")
    (project.path / "h").write_text("x" * 1000)
    run = project.run("--history", "h")
    assert run.ret == USAGE
    run.stderr.fnmatch_lines(["ERROR: h: *; name another file"])


def test_a_broken_history_in_the_cache_spoils_no_run(project: Project) -> None:
    project.scenario("plain")
    (project.path / "cache" / "history.sqlite").write_text("x" * 1000)
    run = project.run()
    assert run.ret == OK
    run.stdout.fnmatch_lines(["the history was not written: *history.sqlite: *"])


ARRANGES = """put_through(guest)
    trial = boot.__self__
    trial.count(registers=5)
    from harness.errors import InstantMissed
    if trial.arrangements < TIMES:
        raise InstantMissed("it came too soon", elapsed=ELAPSED)
    guest.finish()
    counts(registers=guest.checks())"""


def _arranges(project: Project, *, times: int, elapsed: float, word: str = "plain") -> None:
    project.scenario(word, body=ARRANGES.replace("TIMES", str(times)).replace("ELAPSED", str(elapsed)))


def test_a_missed_instant_is_arranged_anew(project: Project) -> None:
    _arranges(project, times=3, elapsed=0.0)
    run = project.run()
    assert run.ret == OK
    run.stdout.fnmatch_lines(["*verdicts: 1 pass; 1 arranged anew, the computer being too slow; report: *"])
    case = project.only_case()
    assert (case["verdict"], case["arrangements"]) == ("pass", 3)
    assert case["compared"]["registers"] == 4 + 5 + 4, "what was counted before is forgotten"
    assert project.machines() == []


def test_an_instant_that_is_missed_for_ever_is_an_error(project: Project) -> None:
    _arranges(project, times=9, elapsed=0.0)
    assert project.run().ret == FAILED
    case = project.only_case()
    assert (case["verdict"], case["suspect"], case["arrangements"]) == ("error", "host", 3)
    assert "it came too soon; the computer was too slow for it 3 times" in case["message"]


def test_a_guest_whose_time_runs_faster_than_the_computers_is_no_missed_instant(project: Project) -> None:
    _arranges(project, times=2, elapsed=1000.0)
    assert project.run().ret == FAILED
    case = project.only_case()
    assert (case["verdict"], case["suspect"], case["arrangements"]) == ("fail", "QEMU", 1)
    assert "the guest's counter went on by 1000000.0 ms in " in case["message"]


def test_an_instant_that_was_missed_while_the_machine_stood_still_is_its_counters_fault(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "stood_still", lambda _: 1000.0)
    _arranges(project, times=2, elapsed=0.0)
    assert project.run().ret == FAILED
    case = project.only_case()
    assert (case["verdict"], case["suspect"], case["arrangements"]) == ("fail", "QEMU", 1)


IS_LATE = """put_through(guest)
    import harness.host.pressure
    trial = boot.__self__
    from harness.errors import InterruptLate
    trial._stalled, harness.host.pressure.stalled = 0.0, lambda: STALLED  # a difference that nothing rounds
    if trial.arrangements < TIMES:
        raise InterruptLate("it came 600.0 ms late", seconds=0.6)
    guest.finish()
    counts(registers=guest.checks())"""


@pytest.mark.parametrize(
    ("times", "stalled", "verdict", "arrangements"), [(2, 0.6, "pass", 2), (9, 0.6, "fail", 3), (2, 0.59, "fail", 1)]
)
def test_late_on_a_computer_that_lacked_a_cpu_proves_nothing_unless_it_always_is(
    project: Project, monkeypatch: pytest.MonkeyPatch, times: int, stalled: float, verdict: str, arrangements: int
) -> None:
    monkeypatch.setattr(pressure, "stalled", pressure.stalled)  # to be what it was afterwards
    project.scenario("plain", body=IS_LATE.replace("TIMES", str(times)).replace("STALLED", str(stalled)))
    project.run()
    case = project.only_case()
    assert (case["verdict"], case["arrangements"]) == (verdict, arrangements)
    assert ("it came 600.0 ms late; suspect QEMU" in case["message"]) is (verdict == "fail")


@pytest.mark.parametrize(("times", "arrangements"), [(2, 2), (9, 3)], ids=["arranged-anew", "missed-for-ever"])
def test_what_differed_is_not_forgotten_when_an_instant_is_missed(project: Project, times: int, arrangements: int) -> None:
    _arranges(project, times=times, elapsed=0.0, word="fault=register")
    assert project.run().ret == FAILED
    case = project.only_case()
    assert (case["verdict"], case["suspect"], case["arrangements"]) == ("fail", "QEMU", arrangements)
    assert "cpu0/X1 was 0x1234 and is 0xbeef;" in case["message"]
