"""Programs of Debian packages that are for tests only: unpacked, never installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from harness.assets import cache


def unpacked(*packages: str) -> Path:
    """Return where packages of this computer's own suite are unpacked, got the first time; skips where they cannot be had."""
    place = cache.root() / "tests" / "-".join(packages)
    if place.exists():
        return place
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        pytest.skip(f"{packages[0]} comes as a Debian package, and there is no apt")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as name:
        scratch = Path(name)
        argv = ["apt-get", "-qq", "download", *packages]
        got = subprocess.run(argv, cwd=scratch, capture_output=True, text=True, check=False)
        if got.returncode:
            pytest.skip(f"{packages[0]} cannot be had: {got.stderr.strip().partition(os.linesep)[0]}")
        for package in scratch.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", package, scratch / "tree"], check=True)
        try:
            (scratch / "tree").rename(place)
        except OSError:
            assert place.exists(), "another process was quicker"
    return place
