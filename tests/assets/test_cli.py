from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.assets import doctor, guests, lab, setup
from harness.cli import main
from harness.errors import MissingError
from tests.assets import lab_samples
from tests.assets.conftest import Programs, qemu_script

HEAVY = ("rich", "pytest", "filelock", "psutil", "jinja2", "paramiko")


@pytest.mark.parametrize("command", [[], *([name] for name in main.commands)])
def test_every_help_has_an_example(command: list[str]) -> None:
    answer = CliRunner().invoke(main, [*command, "--help"])
    assert answer.exit_code == 0
    assert "Example" in answer.output


def test_an_error_is_one_line_and_exit_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MissingError("it is not there", where="here", remedy="do this")

    monkeypatch.setattr(setup, "run", fail)
    answer = CliRunner().invoke(main, ["setup"])
    assert (answer.exit_code, answer.stderr) == (2, "harness: here: it is not there; do this\n")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "/here"), "harness: /here: Permission denied\n"),
        (OSError(errno.ENOSPC, "No space left on device"), "harness: No space left on device\n"),
        (TimeoutError(), "harness: TimeoutError\n"),
    ],
)
def test_what_a_disk_refuses_is_one_line_and_exit_2(monkeypatch: pytest.MonkeyPatch, error: OSError, says: str) -> None:
    """1 has a meaning of its own in many commands."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(setup, "run", fail)
    answer = CliRunner().invoke(main, ["setup"])
    assert (answer.exit_code, answer.stderr) == (2, says)


def test_who_closes_the_pipe_has_read_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(setup, "run", fail)
    assert CliRunner().invoke(main, ["setup"]).stderr == ""


def test_what_a_terminal_cannot_show_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "run", lambda *_, **__: click.echo("SHA-256 1234…, \udcff"))
    answer = CliRunner(charset="iso-8859-1").invoke(main, ["setup"])
    assert (answer.exit_code, answer.stdout) == (0, "SHA-256 1234\\u2026, \\udcff\n")


def test_an_unknown_suite_is_refused_with_those_there_are() -> None:
    answer = CliRunner().invoke(main, ["setup", "--qemu", "buster"])
    assert answer.exit_code == 2
    assert "'trixie-backports'" in answer.stderr


def test_a_set_up_with_nothing_to_do_says_nothing_and_loads_nothing_heavy(programs: Programs) -> None:
    programs.add("qemu-system-aarch64", qemu_script())
    programs.add("aarch64-linux-gnu-gcc", "echo gcc 12")
    programs.add("gcc", "echo gcc 12")
    place = guests._place(guests.SOURCES)
    place.mkdir(parents=True)
    (place / "asset.json").write_text("{}")
    lab_samples.set_up()
    lab.resolve()
    code = (
        "import sys\nfrom harness.cli import main\nmain(['setup'], standalone_mode=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_the_doctor_says_what_each_lack_costs(programs: Programs) -> None:
    """Nothing has been set up and the PATH is bare: the doctor reports it instead of failing."""
    findings = {finding.subject: finding for finding in doctor.examine()}
    for subject in ("QEMU", "guests", "lab", "mmdebstrap"):
        assert findings[subject].health is doctor.Health.MISSING
        assert findings[subject].cost
    assert findings["make"].health is doctor.Health.OK
    answer = CliRunner().invoke(main, ["doctor"])
    assert answer.exit_code == 1
    assert "no scenario can run" in answer.output
    assert Path(programs.folder).is_dir()
