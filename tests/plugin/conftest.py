"""A small project of scenarios that runs on the fake QEMU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.assets import cache, guests
from tests.qemu.fakes import script

SCENARIO = """
import pytest
from harness.plugin.matrix import Matrix

@pytest.mark.matrix(Matrix({"lifecycle": LIFECYCLES, "word": WORDS}))
def test_it(case, boot, put_through, counts, request):
    guest = boot("timers", **dict([case.word.split("=")] if "=" in case.word else []))
    BODY
"""
BODY = """put_through(guest)
    guest.finish()
    counts(registers=guest.checks())"""
ROOT = Path(__file__).parents[2]


class Project:
    """A folder with scenarios, and pytest runs in it. `words` become arguments of the fake, such as `fault=refuses`."""

    def __init__(self, pytester: pytest.Pytester, qemu: Path) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.qemu = qemu
        (self.path / "pytest.ini").write_text("[pytest]\naddopts = -p no:hypothesispytest\n")
        (self.path / "known.toml").write_text("")

    def scenario(self, *words: str, lifecycles: tuple[str, ...] = ("file",), body: str = BODY, name: str = "it") -> Path:
        """Write scenarios/timers/test_NAME.py."""
        folder = self.path / "scenarios" / "timers"
        folder.mkdir(parents=True, exist_ok=True)
        text = SCENARIO.replace("LIFECYCLES", repr(lifecycles)).replace("WORDS", repr(words)).replace("BODY", body)
        path = folder / f"test_{name}.py"
        path.write_text(text)
        return path

    def known(self, word: str, message: str) -> None:
        """List a known issue of the cases with that word."""
        (self.path / "known.toml").write_text(
            f"[[issue]]\nid='it-is-known'\nwhat='it'\nsuspect='QEMU'\nqemu='>=11'\nseen=['11.1.3']\nmessage='{message}'\n"
            f"reason='because'\nevidence='this'\n[issue.when]\nword=['{word}']\n"
        )

    def arguments(self, *more: str) -> list[str]:
        known = f"--known-issues={self.path / 'known.toml'}"
        # pytest's own cache and coverage of terminals are not what is tried here.
        return ["-p", "no:cacheprovider", f"--qemu={self.qemu}", known, "scenarios", *more]

    def run(self, *more: str) -> pytest.RunResult:
        """Run pytest in this process."""
        return self.pytester.runpytest_inprocess(*self.arguments(*more))

    def start(self, *more: str) -> subprocess.Popen[str]:
        """Start pytest in a process and a group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "pytest", *self.arguments(*more)],
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def results(self) -> dict[str, Any]:
        """Return results.json."""
        data: dict[str, Any] = json.loads((self.path / "out" / "results.json").read_text())
        return data

    def only_case(self) -> dict[str, Any]:
        """Return the one case of results.json."""
        (case,) = self.results()["cases"]
        assert isinstance(case, dict)
        return case

    def machines(self) -> list[int]:
        """Return the processes of this project's fake QEMUs."""
        return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/cmdline") if _is_fake(path, self.path)]


def _is_fake(path: Path, project: Path) -> bool:
    try:
        return b"fake_qemu.py" in path.read_bytes() and f"IN={project}".encode() in (path.parent / "environ").read_bytes()
    except OSError:
        return False  # gone meanwhile


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, payloads: Path) -> Project:
    # pytester gives another home, and so another cache: one with the guests of the real one and nobody else's slots.
    own = pytester.path / "cache"
    own.mkdir()
    (own / "guests").symlink_to(payloads)
    monkeypatch.setenv("HARNESS_CACHE", str(own))
    monkeypatch.delenv("HARNESS_QEMU", raising=False)
    monkeypatch.setenv("IN", str(pytester.path))
    return Project(pytester, script(pytester.path))


@pytest.fixture(scope="session")
def payloads() -> Path:
    """Where the built guests are, found before anybody changes the environment."""
    guests.find()
    return cache.root() / "guests"
