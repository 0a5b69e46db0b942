"""Runs the programs that set-up needs: output into a log, the last words of a failed one into the error."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.assets.cache import disk_full
from harness.assets.progress import Progress
from harness.errors import MissingError

_CAUSE = re.compile(r"^E: |\berror:|undefined reference|multiple definition", re.IGNORECASE)
_DISK_FULL = re.compile(r"No space left on device|You don't have enough free space", re.IGNORECASE)


def run(argv: Sequence[str], progress: Progress, *, log: Path, remedy: str, env: Mapping[str, str] | None = None) -> None:
    """Run `argv` to its end with its output going to `log`, each line also to `progress`.

    The program is told to end when the harness dies, so that it cannot write on into a directory that the next set-up
    removes. `env` replaces the environment. Raises MissingError with what the program said when it fails.
    """
    guard = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
    last: deque[str] = deque(maxlen=50)
    with log.open("w") as log_file:
        try:
            process = subprocess.Popen(
                [*guard, *argv],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=dict(os.environ if env is None else env),
            )
        except FileNotFoundError as error:
            raise MissingError("the program is not installed", where=argv[0], remedy=remedy) from error
        with process:
            assert process.stdout is not None
            try:
                for line in process.stdout:
                    log_file.write(line)
                    last.append(line.rstrip())
                    progress.detail(line.rstrip())
            except BaseException:
                process.terminate()
                raise
    if process.returncode == 0:
        return
    if any(_DISK_FULL.search(line) for line in last):
        raise disk_full(log.parent)
    raise MissingError(
        f"{Path(argv[0]).name} failed (exit status {process.returncode}): {_telling(last)}",
        where=str(log),
        remedy=remedy,
    )


def _telling(lines: Iterable[str]) -> str:
    """Return the first two lines that name a cause, the last two where none does: later errors follow from earlier."""
    spoken = [line.strip() for line in lines if line.strip()]
    causes = [line for line in spoken if _CAUSE.search(line)]
    return " | ".join(causes[:2] or spoken[-2:]) or "it said nothing"
