"""Projects on the fake QEMU, bundles of their cases, and QEMUs that go wrong in one way each."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.cli import main
from tests.plugin.conftest import Project, payloads, project
from tests.qemu.fakes import ENV, PROGRAM

__all__ = ["payloads", "project"]


@dataclass(frozen=True)
class Rerunner:
    """A project whose one case failed on a QEMU that refuses the stream; its bundle is at `bundle`."""

    project: Project
    bundle: Path

    def harness(self, command: str, *words: str, qemu: Path | None = None, bundle: Path | None = None) -> Result:
        """Run a command on the bundle, with a QEMU of this project."""
        own = [str(bundle or self.bundle), f"--root={self.project.path}", *([f"--qemu={qemu}"] if qemu else []), *words]
        return CliRunner().invoke(main, [command, *own], catch_exceptions=False)


def faulty(folder: Path, fault: str) -> Path:
    """Return a QEMU, another program for each fault (none: ``), that goes wrong whatever its guest was told."""
    path = folder / f"qemu-{fault or 'good'}" / "qemu-system-aarch64"
    path.parent.mkdir(exist_ok=True)
    more = f" -append fault={fault}" if fault else ""
    path.write_text(f'#!/bin/sh\nPYTHONPATH="{ENV["PYTHONPATH"]}" exec "{sys.executable}" -S "{PROGRAM}" "$@"{more}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def refused(project: Project) -> Rerunner:
    """A case that failed for its QEMU refused the stream."""
    project.scenario("plain")
    project.qemu = faulty(project.path, "refuses")
    project.run()
    return Rerunner(project, project.path / "out" / project.only_case()["bundle"])
