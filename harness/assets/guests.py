"""The payloads: built from `guests/` once for each state of the sources and of the compiler."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness.assets import cache, command, system
from harness.assets.progress import Progress
from harness.errors import MissingError

SOURCES = Path(__file__).parents[2] / "guests"
_MEGABYTES = 50
_SETUP = "run `harness setup`"


@dataclass(frozen=True)
class Payloads:
    """A directory of built payloads."""

    directory: Path

    def path(self, name: str) -> Path:
        """Return the arm64 Image of a payload. Raises MissingError when there is none of that name."""
        image = self.directory / f"{name}.bin"
        if not image.is_file():
            known = ", ".join(sorted(found.stem for found in self.directory.glob("*.bin")))
            raise MissingError(f"there is no payload {name}", where=str(self.directory), remedy=f"there are: {known}")
        return image


def find(sources: Path = SOURCES) -> Payloads:
    """Return the payloads built from the sources as they are now. Raises MissingError when they have not been built."""
    directory = _place(sources)
    if not cache.ready(directory):
        raise MissingError("the guests have not been built from the present sources", where=str(sources), remedy=_SETUP)
    return Payloads(directory)


def path(name: str) -> Path:
    """Return the Image of one payload; `find` once and ask it when many are wanted. Raises MissingError."""
    return find().path(name)


def build(progress: Progress, sources: Path = SOURCES) -> Payloads:
    """Build all payloads unless that has been done. Raises MissingError with what the compiler said."""
    directory = _place(sources)

    def make(temporary: Path) -> cache.Facts:
        progress.step("guests: building")
        argv = ["make", "-C", str(sources), f"-j{os.cpu_count() or 1}", f"OUT={temporary}"]
        argv.append(f"CROSS={system.compiler_prefix()}")
        # A make that calls us passes its own flags and job server on by these variables; they are not meant for this
        # one.
        env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
        command.run(argv, progress, log=directory.with_name(f"{directory.name}.log"), remedy="see the log", env=env)
        if _place(sources) != directory:
            raise MissingError("the sources changed while they were compiled", where=str(sources), remedy=_SETUP)
        built = sorted(image.stem for image in temporary.glob("*.bin"))
        if not built:
            raise MissingError("no payload came out of the build", where=str(sources))
        if (temporary / "obj").is_dir():
            shutil.rmtree(temporary / "obj")
        return {"payloads": built, "compiler": _compiler()}

    cache.produce(directory, make, progress, megabytes=_MEGABYTES)
    return Payloads(directory)


def _place(sources: Path) -> Path:
    """Return where the payloads of these sources and this compiler belong."""
    digest = hashlib.sha256(_compiler().encode())
    files = sorted(found for found in sources.rglob("*") if found.is_file() and found.suffix != ".md")
    if not files:
        raise MissingError("there are no guest sources", where=str(sources), remedy="run from a complete checkout")
    for file in files:
        content = file.read_bytes()
        digest.update(f"\0{file.relative_to(sources)}\0{len(content)}\0".encode())
        digest.update(content)
    return cache.root() / "guests" / digest.hexdigest()[:20]


def _compiler() -> str:
    """Return the first line of the compiler's version: another compiler makes other payloads."""
    program = f"{system.compiler_prefix()}gcc"
    try:
        run = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingError("the compiler for the guests does not run", where=program, remedy=_SETUP) from error
    return run.stdout.splitlines()[0]
