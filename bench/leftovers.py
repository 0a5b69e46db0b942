"""What is left of the runs: processes that they started, and files and sockets in the folder that they were given."""

from __future__ import annotations

import os
from pathlib import Path

import psutil


def count(folder: Path) -> dict[str, int]:
    """Count what is left, `folder` having been TMPDIR of everything that was started."""
    left = list(folder.rglob("*"))
    return {
        "processes": sum(_ours(process, folder) for process in psutil.process_iter()),
        "sockets": sum(path.is_socket() for path in left),
        "files": sum(not path.is_socket() for path in left),
    }


def _ours(process: psutil.Process, folder: Path) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get("TMPDIR") == str(folder) or any(str(folder) in word for word in process.cmdline())
    except psutil.Error:  # gone meanwhile, or another user's
        return False
