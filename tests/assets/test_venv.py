"""The script that makes .venv, with a Python that only pretends."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "harness/assets/venv.sh"

# Stands for the system's Python and for the one in .venv. CALLS gets each call; FAIL is a word of the call that fails.
PYTHON = """#!/bin/sh
echo "$*" >> "$CALLS"
[ -z "$FAIL" ] || case "$*" in *"$FAIL"*) echo "error: $FAIL" >&2; exit 1 ;; esac
case "$*" in
*-m\\ venv*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
*print*) echo python3.12-venv ;;
--version) echo Python 3.12.0 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "requirements.lock").write_text("a==1\n")
    (folder / "pyproject.toml").touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return folder


def run(checkout: Path, *, fail: str = "", python: str | None = None, path: str = "") -> subprocess.CompletedProcess[str]:
    env = {
        "PATH": path or os.environ["PATH"],
        "CALLS": str(checkout / "calls"),
        "FAIL": fail,
        "PYTHON": python or str(checkout.parent / "python"),
    }
    return subprocess.run([SCRIPT], cwd=checkout, env=env, capture_output=True, text=True, check=False)


def calls(checkout: Path) -> list[str]:
    log = checkout / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def test_it_installs_the_lock_with_hashes_once(checkout: Path) -> None:
    assert run(checkout).returncode == 0
    made = calls(checkout)
    assert any("--require-hashes" in call and "requirements.lock" in call for call in made)
    again = run(checkout)
    assert (again.returncode, again.stdout, again.stderr, calls(checkout)) == (0, "", "", [])


@pytest.mark.parametrize("change", ["requirements.lock", "pyproject.toml"])
def test_another_lock_makes_another_environment(checkout: Path, change: str) -> None:
    run(checkout)
    (checkout / ".venv/old").touch()
    (checkout / change).write_text("b==1\n")
    assert run(checkout).returncode == 0
    assert not (checkout / ".venv/old").exists()


def test_a_checkout_that_moved_is_set_up_anew(checkout: Path) -> None:
    run(checkout)
    calls(checkout)
    moved = checkout.rename(checkout.with_name("moved"))
    assert run(moved).returncode == 0
    assert calls(moved)


@pytest.mark.parametrize("fail", ["-m venv", "--require-hashes", "--editable"])
def test_after_a_failure_the_next_run_recovers(checkout: Path, fail: str) -> None:
    broken = run(checkout, fail=fail)
    assert broken.returncode == 1
    assert broken.stderr.splitlines()[-1].startswith("setup: ")
    assert not (checkout / ".venv/ready").exists()
    assert run(checkout).returncode == 0
    assert (checkout / ".venv/ready").exists()


def test_an_environment_whose_python_vanished_is_made_anew(checkout: Path) -> None:
    run(checkout)
    (checkout / ".venv/bin/python").unlink()
    assert run(checkout).returncode == 0
    assert (checkout / ".venv/bin/python").exists()


def test_of_two_at_once_one_works_and_one_waits(checkout: Path) -> None:
    slow = checkout.parent / "slow"
    slow.write_text(PYTHON.replace("*-m\\ venv*)", "*-m\\ venv*) sleep 1;"))
    slow.chmod(0o755)
    env = {"PATH": os.environ["PATH"], "CALLS": str(checkout / "calls"), "FAIL": "", "PYTHON": str(slow)}
    pair = [subprocess.Popen([SCRIPT], cwd=checkout, env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    answers = sorted(process.communicate()[0] for process in pair)
    assert [process.returncode for process in pair] == [0, 0]
    assert sum("-m venv" in call for call in calls(checkout)) == 1
    assert any("another set-up is making .venv" in answer for answer in answers)


def bare_path(folder: Path) -> str:
    """Return a PATH with the basic tools but neither a Python nor apt-get."""
    folder.mkdir()
    for name in ("sh", "cat", "sha256sum", "df", "awk", "flock", "id", "rm", "mkdir", "cp", "mv"):
        (folder / name).symlink_to(shutil.which(name) or name)
    return str(folder)


def test_no_python_is_one_line_that_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    answer = run(checkout, python="no-such-python", path=bare_path(tmp_path / "bin"))
    assert answer.returncode == 1
    assert answer.stderr == (
        "setup: no Python 3.11 to 3.14 found; install one, for example: sudo apt-get install python3 python3-venv\n"
    )


def test_no_venv_module_is_one_line_that_says_what_to_install(checkout: Path, tmp_path: Path) -> None:
    answer = run(checkout, fail="ensurepip", path=bare_path(tmp_path / "bin"))
    assert answer.returncode == 1
    assert answer.stderr.splitlines()[-1] == (
        "setup: Python's venv module is missing; install it, for example: sudo apt-get install python3.12-venv"
    )
