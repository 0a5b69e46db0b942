"""`harness bisect-step` answers 0, 1 or 125 and nothing else, and git finds the commit by it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.errors import Suspect, Verdict
from harness.rerun import attempt
from harness.rerun.attempt import Ended, Outcome
from harness.rerun.bisect import decide
from harness.rerun.failure import Failure
from tests.rerun.conftest import Rerunner, faulty
from tests.rerun.test_failure import LOST

GOOD, BAD, CANNOT_TELL = 0, 1, 125
PASSED = Failure(Verdict.PASS, None, "")
OTHER = Failure(Verdict.FAIL, Suspect.QEMU, "something else")
SKIPPED = Failure(Verdict.SKIP, None, "no such thing")
BROKEN = Failure(Verdict.ERROR, Suspect.HARNESS, "ZeroDivisionError")


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ([PASSED], GOOD),
        ([PASSED, PASSED], GOOD),
        ([LOST], BAD),
        ([PASSED, LOST, PASSED], BAD),
        ([OTHER, LOST], BAD),
        ([OTHER], CANNOT_TELL),
        ([PASSED, OTHER], CANNOT_TELL),
        ([SKIPPED], CANNOT_TELL),
        ([PASSED, SKIPPED], CANNOT_TELL),
        ([BROKEN], CANNOT_TELL),
        ([], CANNOT_TELL),
    ],
)
def test_what_runs_say(ends: list[Failure], status: int) -> None:
    assert decide(Outcome(LOST, [Ended(end) for end in ends]))[0] == status


@pytest.mark.parametrize(
    ("fault", "status", "words"),
    [
        ("", GOOD, "good: 1 passed"),
        ("refuses", BAD, "bad (1 of 1): destination"),
        ("register", CANNOT_TELL, "cannot tell: 1 fail: cpu0/X1 was"),
        ("exit", CANNOT_TELL, "cannot tell: 1 fail: source: QEMU did not start"),
    ],
)
def test_one_step(refused: Rerunner, fault: str, status: int, words: str) -> None:
    run = refused.harness("bisect-step", qemu=faulty(refused.project.path, fault))
    assert run.exit_code == status
    assert run.stdout.startswith(words.replace("destination", "destination: QEMU exited", 1)) or words in run.stdout


@pytest.mark.parametrize(
    "more", [["--qemu=/nowhere"], ["--no-such-option"], ["--runs=0"], ["--platform=moon"], ["--lab-kernel=/nowhere"]]
)
def test_a_mistake_says_nothing_of_the_commit(refused: Rerunner, more: list[str]) -> None:
    run = refused.harness("bisect-step", f"--qemu={refused.project.qemu}", *more)
    assert run.exit_code == CANNOT_TELL
    assert "Traceback" not in run.output


@pytest.mark.parametrize("words", [[], ["/nowhere"], ["--lab-kernel"]])
def test_a_bundle_that_is_none_says_nothing_of_the_commit(words: list[str]) -> None:
    assert CliRunner().invoke(main, ["bisect-step", *words]).exit_code == CANNOT_TELL


@pytest.mark.parametrize("error", [ZeroDivisionError("it"), KeyboardInterrupt(), SystemExit(1), MemoryError(), OSError("full")])
def test_whatever_breaks_says_nothing_of_the_commit(
    refused: Rerunner, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def broken(*_: object) -> Outcome:
        raise error

    monkeypatch.setattr(attempt, "run_here", broken)
    run = refused.harness("bisect-step", qemu=refused.project.qemu)
    assert run.exit_code == CANNOT_TELL
    assert run.stderr.splitlines()[-1].startswith("cannot tell: ")


@pytest.mark.parametrize("words", [["bisect-step", "/nowhere"], ["bisect-step", "--runs=0"], ["repro", "/nowhere"]])
def test_a_full_disk_does_not_change_the_status(words: list[str]) -> None:
    """Neither of a line that cannot be written, nor of what Python still has to write at its end."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "harness.cli", *words], stdout=full, stderr=full, check=False)
    assert done.returncode == (CANNOT_TELL if words[0] == "bisect-step" else 2)


def test_a_verdict_that_cannot_be_written_says_nothing_of_the_commit(refused: Rerunner) -> None:
    words = ["bisect-step", str(refused.bundle), f"--root={refused.project.path}", f"--qemu={refused.project.qemu}"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "harness.cli", *words], stdout=full, stderr=full, check=False)
    assert done.returncode == CANNOT_TELL


def test_help_is_no_step() -> None:
    run = CliRunner().invoke(main, ["bisect-step", "--help"])
    assert run.exit_code == 0 and "git bisect run" in run.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_says_nothing_of_the_commit(refused: Rerunner, number: int) -> None:
    asked = refused.project.path / "asked"
    os.mkfifo(asked)
    hold = refused.project.path / "hold" / "qemu-system-aarch64"
    hold.parent.mkdir()
    # It tells that it was asked what it is, and does not answer.
    hold.write_text(f"#!/bin/sh\necho $$ >'{asked}'; exec sleep 60\n")
    hold.chmod(0o755)
    program = [sys.executable, "-m", "harness.cli", "bisect-step", str(refused.bundle)]
    argv = [*program, f"--root={refused.project.path}", f"--qemu={hold}"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        held = psutil.Process(int(asked.read_text()))
        process.send_signal(number)
        assert process.wait(20) == CANNOT_TELL
    held.wait(20)  # it has been killed, and may take a moment to be gone


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_git_finds_the_commit(refused: Rerunner, tmp_path: Path) -> None:
    """Six commits, each with a QEMU; that of the third does not start, and from the fifth on it refuses the stream."""
    tree = tmp_path / "tree"
    tree.mkdir()

    def git(*words: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *identity, *words], cwd=tree, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    git("init", "-q")
    for number, fault in enumerate(("", "", "exit", "", "refuses", "refuses"), 1):
        qemu = tree / "qemu-system-aarch64"
        qemu.write_text(faulty(refused.project.path, fault).read_text() + f"# {number}\n")
        qemu.chmod(0o755)
        git("add", ".")
        git("commit", "-q", "-m", f"commit {number}")
    git("bisect", "start", "HEAD", "HEAD~5")
    step = [sys.executable, "-m", "harness.cli", "bisect-step", str(refused.bundle), f"--root={refused.project.path}"]
    said = git("bisect", "run", *step, "--qemu=./qemu-system-aarch64")
    assert "is the first bad commit" in said
    assert git("log", "-1", "--format=%s", "refs/bisect/bad") == "commit 5\n"
    assert "# skip: " in git("bisect", "log")
