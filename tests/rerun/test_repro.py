"""`harness repro` on the fake QEMU: the same failure is reproduced; another one, or none, is not."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import Suspect, Verdict
from harness.rerun.attempt import Ended, Outcome
from harness.rerun.failure import Failure
from tests.host.ssh_server import new_key
from tests.host.test_remote import key_file, known
from tests.plugin.conftest import BODY, Project
from tests.rerun.conftest import Rerunner, faulty
from tests.rerun.test_failure import LOST

REPRODUCED, NOT_REPRODUCED, CANNOT = 0, 1, 2
# Goes wrong each second time: a file beside the scenario counts.
NOW_AND_THEN = """
    from pathlib import Path
    from harness.errors import QemuFailure
    count = Path(__file__).with_name("count")
    count.write_text(count.read_text() + "x" if count.exists() else "x")
    put_through(guest)
    guest.finish()
    counts(registers=1)
    if len(count.read_text()) % 2:
        raise QemuFailure(f"it is lost after {len(count.read_text())} ms")"""


def record(bundle: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads((bundle / "case.json").read_text())
    return data


def test_what_a_bundle_says(refused: Rerunner) -> None:
    said = record(refused.bundle)
    assert said["schema"] == 2
    assert said["plan"]["test"] == "scenarios/timers/test_it.py::test_it"
    assert said["plan"]["params"] == {"lifecycle": "file", "word": "plain"}
    assert said["plan"]["options"]["platform"] == "tcg"
    assert said["failure"]["words"].startswith("destination: QEMU exited with status 1: Unknown ramblock")
    assert said["inputs"]["qemu"]["version"] == "11.1.3 (fake)" and len(said["inputs"]["qemu"]["sha256"]) == 64
    assert len(said["sources"]["scenario"]) == 64 and said["sources"]["guests"]


def test_reproduced(refused: Rerunner) -> None:
    run = refused.harness("repro", "--runs=2", qemu=refused.project.qemu)
    assert run.exit_code == REPRODUCED
    assert run.stdout.startswith("reproduced (2 of 2): destination: QEMU exited with status 1: Unknown ramblock")
    assert run.stdout.count("\n") == 1 and run.stderr == ""
    assert refused.project.machines() == []


def test_from_an_archive_in_another_place(refused: Rerunner, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "case.tar.gz", "w:gz") as packed:
        packed.add(refused.bundle, "case")
    run = refused.harness("repro", qemu=refused.project.qemu, bundle=tmp_path / "case.tar.gz")
    assert run.exit_code == REPRODUCED


def test_a_pass_is_not_reproduced(refused: Rerunner) -> None:
    run = refused.harness("repro", "--runs=2", qemu=faulty(refused.project.path, ""))
    assert run.exit_code == NOT_REPRODUCED
    assert run.stdout.startswith("not reproduced (0 of 2): 2 passed; wanted: destination: QEMU exited")
    assert run.stderr.startswith("note: QEMU is 11.1.3 (fake) (SHA-256 ")


def test_another_failure_is_not_reproduced(refused: Rerunner) -> None:
    run = refused.harness("repro", qemu=faulty(refused.project.path, "register"))
    assert run.exit_code == NOT_REPRODUCED
    assert run.stdout.startswith("not reproduced (0 of 1): 1 fail: cpu0/X1 was 0x1234 and is 0xbeef")


def test_now_and_then(project: Project) -> None:
    project.scenario("plain", body=NOW_AND_THEN)
    project.run()
    flaky = Rerunner(project, project.path / "out" / project.only_case()["bundle"])
    run = flaky.harness("repro", "--runs=4", qemu=project.qemu)
    assert run.exit_code == REPRODUCED
    assert run.stdout.startswith("reproduced (2 of 4): it is lost after 3 ms; suspect QEMU; the others: 2 passed")
    run = flaky.harness("repro", "--runs=4", "--require=3", qemu=project.qemu)
    assert run.exit_code == NOT_REPRODUCED
    assert run.stdout.startswith("not reproduced (2 of 4, where 3 are wanted): 2 passed")


def test_a_known_issue_is_a_failure_all_the_same(project: Project) -> None:
    project.scenario("fault=refuses")
    project.known("fault=refuses", "Unknown ramblock")
    project.run()
    case = project.only_case()
    assert case["verdict"] == "known"
    excused = Rerunner(project, project.path / "out" / case["bundle"])
    assert excused.harness("repro", qemu=project.qemu).exit_code == REPRODUCED


def test_a_program_that_the_bundle_names_is_not_started(refused: Rerunner, monkeypatch: pytest.MonkeyPatch) -> None:
    """However like the one that is wanted: whoever sends a bundle must not choose what runs here."""
    monkeypatch.setenv("HARNESS_QEMU", str(faulty(refused.project.path, "")))
    started = refused.project.path / "started"
    refused.project.qemu.write_text(f"#!/bin/sh\ntouch {started}\n")
    run = refused.harness("repro")
    assert run.exit_code == CANNOT
    assert run.stdout.startswith("cannot: needs QEMU 11.1.3 (fake) (SHA-256 ")
    assert "a file that was called qemu-system-aarch64" in run.stdout and "--qemu PATH|SUITE names it" in run.stdout
    assert run.stdout.count("\n") == 1
    assert not started.exists()


@pytest.mark.parametrize("names", ["qemu", "dst_qemu"])
def test_a_program_of_which_the_bundle_says_nothing_more_is_not_started(
    refused: Rerunner, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then nothing can be asked for: the QEMU that is used here anyway is tried."""
    monkeypatch.setenv("HARNESS_QEMU", str(refused.project.qemu))
    started = refused.project.path / "started"
    theirs = faulty(refused.project.path, "")
    theirs.write_text(f"#!/bin/sh\ntouch {started}\n")
    said = record(refused.bundle)
    said["plan"]["options"] = {"platform": "tcg", names: str(theirs)}
    said["inputs"] = {} if names == "qemu" else said["inputs"]
    (refused.bundle / "case.json").write_text(json.dumps(said))
    run = refused.harness("repro")
    assert run.exit_code == REPRODUCED
    assert f"QEMU is not {theirs}, which only the bundle names; --{names.replace('_', '-')} FILE names it" in run.stderr
    assert run.stderr.count("\n") == 1
    assert not started.exists()


def test_the_qemu_that_is_used_here_will_do_where_it_is_the_same(refused: Rerunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_QEMU", str(refused.project.qemu))
    assert refused.harness("repro").exit_code == REPRODUCED


def test_a_scenario_that_is_not_here(refused: Rerunner) -> None:
    (refused.project.path / "scenarios/timers/test_it.py").unlink()
    run = refused.harness("repro", qemu=refused.project.qemu)
    assert run.exit_code == CANNOT
    assert "needs the scenario scenarios/timers/test_it.py::test_it (the bundle is of harness " in run.stdout


def test_a_scenario_that_is_a_link_to_elsewhere(refused: Rerunner, tmp_path: Path) -> None:
    path = refused.project.path / "scenarios/timers/test_it.py"
    elsewhere = tmp_path.parent / "elsewhere.py"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert refused.harness("repro", qemu=refused.project.qemu).exit_code == CANNOT


def test_a_scenario_that_has_changed(refused: Rerunner) -> None:
    refused.project.scenario("plain", "more")
    run = refused.harness("repro", qemu=refused.project.qemu)
    assert run.exit_code == REPRODUCED
    assert run.stderr.startswith("note: the scenario here is another: the bundle is of harness ")


@pytest.mark.parametrize("words", [("other",), ("other", "more")])
def test_a_scenario_without_the_case(refused: Rerunner, words: tuple[str, ...]) -> None:
    refused.project.scenario(*words)
    run = refused.harness("repro", qemu=refused.project.qemu)
    assert run.exit_code == CANNOT
    assert "cannot: --replay: there is no word plain on tcg" in run.stdout


def test_a_case_that_is_skipped_here(refused: Rerunner) -> None:
    refused.project.scenario("plain", body="from harness.errors import Unsupported; raise Unsupported('no such thing')")
    run = refused.harness("repro", qemu=refused.project.qemu)
    assert run.exit_code == CANNOT
    assert run.stdout.startswith("cannot: needs a place where the case comes to a verdict; 1 skip: no such thing")


def test_a_host_that_cannot_be_reached_says_nothing_of_the_failure(refused: Rerunner, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    key_file(tmp_path / "key")
    known(tmp_path / "known", f"[127.0.0.1]:{port}", new_key())
    lines = ("address = '127.0.0.1'", f"port = {port}", f"key = '{tmp_path / 'key'}'", f"known_hosts = '{tmp_path / 'known'}'")
    (tmp_path / "hosts.toml").write_text("\n".join(("[host.down]", *lines)))
    where = ("--platform=ssh:down", f"--hosts={tmp_path / 'hosts.toml'}")
    run = refused.harness("repro", *where, f"--out={tmp_path / 'kept'}")
    assert run.exit_code == CANNOT
    assert run.stdout.startswith("cannot: needs a place where the case comes to a verdict; 1 fail: down: cannot be reached at ")
    (bundle,) = (tmp_path / "kept" / "bundles").iterdir()
    assert record(bundle)["began"] is False and record(refused.bundle)["began"] is True
    # That it cannot be reached may be what is to be seen.
    assert refused.harness("repro", *where, bundle=bundle).exit_code == REPRODUCED


@pytest.mark.parametrize(
    ("ended", "tried"),
    [
        (Ended(Failure(Verdict.PASS, None, "")), True),
        (Ended(Failure(Verdict.FAIL, Suspect.KERNEL_L0, "its kernel panicked")), True),
        (Ended(Failure(Verdict.FAIL, Suspect.KERNEL_L0, "template: its kernel panicked"), began=False), False),
        (Ended(Failure(Verdict.FAIL, Suspect.HOST, "the connection is lost")), False),
        (Ended(Failure(Verdict.ERROR, Suspect.HARNESS, "ZeroDivisionError")), False),
        (Ended(replace(LOST, suspect=Suspect.HOST), began=False), False),
        (Ended(LOST, began=False), True),
    ],
)
def test_what_says_something_of_a_failure(ended: Ended, tried: bool) -> None:
    assert Outcome(LOST, [ended]).tried is tried


def test_where_nothing_can_be_written_it_cannot_be_tried(refused: Rerunner) -> None:
    run = refused.harness("repro", f"--out={refused.bundle / 'case.json' / 'below'}", qemu=refused.project.qemu)
    assert (run.exit_code, run.stdout) == (CANNOT, "")
    assert run.stderr == f"harness: {refused.bundle / 'case.json' / 'below'}: Not a directory\n"


def test_a_qemu_that_is_none(refused: Rerunner) -> None:
    run = refused.harness("repro", qemu=Path("/nowhere"))
    assert run.exit_code == CANNOT
    assert "there is no /nowhere" in run.stdout + run.stderr


def test_runs_can_be_kept(refused: Rerunner) -> None:
    kept = refused.project.path / "kept"
    refused.harness("repro", f"--out={kept}", qemu=refused.project.qemu)
    (bundle,) = (kept / "bundles").iterdir()
    assert refused.harness("repro", qemu=refused.project.qemu, bundle=bundle).exit_code == REPRODUCED


def test_options_of_the_environment_do_not_matter(refused: Rerunner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_ADDOPTS", "--collect-only")
    assert refused.harness("repro", qemu=refused.project.qemu).exit_code == REPRODUCED


def test_changes_reach_the_machine_and_the_payload(project: Project) -> None:
    project.scenario("fault=refuses")
    project.run()
    bundle = project.path / "out" / project.only_case()["bundle"]
    said = record(bundle)
    said["plan"]["changes"] = {
        "params": {"vcpus": 2}, "machine": {"memory_mib": 16}, "arguments": {"more": 7},
    }  # fmt: skip
    (bundle / "case.json").write_text(json.dumps(said))
    changed, kept = Rerunner(project, bundle), project.path / "kept"
    assert changed.harness("repro", f"--out={kept}", qemu=project.qemu).exit_code == REPRODUCED
    (made,) = (kept / "bundles").iterdir()
    for side in ("source", "destination"):
        words = (made / "sides" / side / "argv.txt").read_text().splitlines()
        assert words[words.index("-m") + 1] == "16M" and words[words.index("-smp") + 1] == "2"
        assert words[words.index("-append") + 1] == "vcpus=2 fault=refuses more=7"
    assert record(made)["plan"] == said["plan"] | {"options": record(made)["plan"]["options"]}


STUCK = f"""if "LATER" in __import__("os").environ:
        guest.hear_until("beat", __import__("harness.deadline").deadline.Deadline.after(60))
    {BODY}"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_when_it_is_ended(project: Project, number: int, tmp_path: Path) -> None:
    project.scenario("fault=refuses", body=STUCK)
    project.run()
    bundle = project.path / "out" / project.only_case()["bundle"]
    private = tmp_path / "private"
    private.mkdir()
    env = {**os.environ, "LATER": "1", "TMPDIR": str(private), "XDG_RUNTIME_DIR": ""}
    argv = [sys.executable, "-m", "harness.cli", "repro", str(bundle), f"--root={project.path}", f"--qemu={project.qemu}"]
    with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: len(project.machines()) == 1)
        process.send_signal(number)
    until(lambda: not project.machines())
    until(lambda: not list(private.iterdir()))


def until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + 20
    while not true():
        assert time.monotonic() < limit
        time.sleep(0.05)
