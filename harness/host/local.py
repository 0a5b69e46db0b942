"""This computer as a host: private directories and processes that do not outlive the harness.

Three guards, because each alone leaves a gap:

* every child is started through setpriv(1) with a parent-death signal, so `kill -9` of the harness kills it (prctl(2),
  PR_SET_PDEATHSIG); one whose parent died before the signal was asked for sees that it has another parent, and ends;
* a child talks over descriptors that it inherited, so nothing waits for a socket to appear, and nobody else can connect;
* one tiny shell per run, the keeper, sleeps in read(2) on a pipe that only the harness holds; when the harness is gone, by
  whatever cause, the read ends and the keeper removes the run's private directory.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from harness.errors import MissingError

# $1 is the directory. SIGINT and SIGTERM to the group must not stop the keeper before its work is done.
_KEEPER = 'trap "" INT TERM HUP; read -r _; rm -rf -- "$1"'

# $1 is the parent that the child must still have, the rest the command.
_IF_PARENT_LIVES = 'test "$PPID" = "$1" && shift && exec "$@"'


@dataclass
class LocalHost:
    """This computer. Use it as a context manager: leaving it removes the private directory and all below."""

    root: Path = field(init=False)
    _keeper: subprocess.Popen[bytes] = field(init=False, repr=False)
    _made: int = field(init=False, default=0, repr=False)

    def __enter__(self) -> Self:
        """Make the private directory (mode 0700) and start its keeper."""
        # Unix socket paths end at 108 bytes (unix(7)), so the directory stays near the root.
        base = os.environ.get("XDG_RUNTIME_DIR")
        usable = base if base and len(base) < 40 and os.access(base, os.W_OK) else None
        self.root = Path(tempfile.mkdtemp(prefix="armvirt-", dir=usable))
        self._keeper = subprocess.Popen(
            ["/bin/sh", "-c", _KEEPER, "keeper", str(self.root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the private directory and let the keeper go."""
        shutil.rmtree(self.root, ignore_errors=True)
        self._keeper.communicate()

    def directory(self, name: str) -> Path:
        """Return a new, empty private directory for one case or machine."""
        self._made += 1
        path = self.root / f"{self._made}-{name}"
        path.mkdir()
        return path

    def spawn(
        self, argv: Sequence[str], *, env: Mapping[str, str], stderr: Path, pass_fds: Sequence[int] = ()
    ) -> subprocess.Popen[bytes]:
        """Start `argv` with its stderr in a file; it dies with the harness, and a terminal's Ctrl-C does not reach it.

        Raises MissingError when setpriv is not there; a program that is not there is told on stderr, with exit status 127.
        """
        with stderr.open("wb") as errors:
            try:
                return subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "sh", "-c", _IF_PARENT_LIVES, "start", str(os.getpid()), *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    env={**os.environ, **env},
                    pass_fds=tuple(pass_fds),
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                raise MissingError(
                    "setpriv is not installed", where=str(error.filename), remedy="install util-linux"
                ) from error


def die_with_parent() -> None:
    """Make this process get SIGKILL when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).

    For workers of pytest-xdist, whose controller may be killed while they wait for a guest.
    """
    pr_set_pdeathsig = 1
    ctypes.CDLL(None, use_errno=True).prctl(pr_set_pdeathsig, signal.SIGKILL, 0, 0, 0)
