"""Unpacks packages of a Debian suite, with their dependencies, into a directory of their own.

mmdebstrap's `extract` variant resolves, downloads, lets apt check the signatures, and unpacks; it runs no maintainer
script. Its `chrootless` mode needs neither root nor namespaces, and is harmless here for the same reason. mmdebstrap
itself knows the mirror and the keyring of each suite. No version is ever pinned: suites move on and old versions
vanish from the mirrors.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from urllib.parse import unquote

from harness.assets import command
from harness.assets.progress import Progress
from harness.errors import MissingError

_REMEDY = "check the network, the mirror and a proxy if you use one, then run `harness setup` again"
_PACKAGES = "packages.txt"


@dataclass(frozen=True)
class Suite:
    """A suite to take packages from; where it is an overlay, `base` is the suite that it lies on."""

    name: str
    base: str


SUITES: Mapping[str, Suite] = MappingProxyType(
    {
        suite.name: suite
        for suite in (
            Suite("bookworm", "bookworm"),
            Suite("bookworm-backports", "bookworm"),
            Suite("trixie", "trixie"),
            Suite("trixie-backports", "trixie"),
            Suite("forky", "forky"),
            Suite("sid", "sid"),
        )
    }
)
"""The suites that can be asked for, by name."""


def extract(
    suite: Suite, packages: Sequence[str], target: Path, progress: Progress, *, log: Path, architecture: str | None = None
) -> tuple[tuple[str, ...], str | None]:
    """Unpack `packages` of `suite` with all they depend on into `target`, which must not exist or be empty.

    `architecture` is Debian's name for one (arm64); without it, that of this computer. Return the names, versions and
    architectures of what was unpacked as in `libc6_2.41-12_amd64`, and the mirror, or None where it was mmdebstrap's own
    default. The mirror that this computer's apt uses comes first, as some networks reach no other; the default follows.
    Raises MissingError with what apt said.
    """
    own = system_mirror()
    for mirror in (own, None) if own else (None,):
        words = argv(suite, packages, target, mirror, architecture)
        try:
            command.run(words, progress, log=log, remedy=_REMEDY, env=_environment())
        except MissingError as error:
            if mirror is None:
                raise
            progress.step(f"{suite.name}: not from the mirror that apt uses here: {error.what}")
            progress.step(f"{suite.name}: trying the default mirror")
            command.run(["find", str(target), "-mindepth", "1", "-delete"], progress, log=log, remedy=_REMEDY)
            continue
        break
    listing = target / _PACKAGES
    names = sorted(unquote(line.removesuffix(".deb")) for line in listing.read_text().splitlines())
    if not names:
        raise MissingError("mmdebstrap unpacked no package", where=str(log), remedy=_REMEDY)
    return tuple(names), mirror


def argv(
    suite: Suite, packages: Sequence[str], target: Path, mirror: str | None, architecture: str | None = None
) -> tuple[str, ...]:
    """Return the mmdebstrap command line. Pure."""
    # The check warns of maintainer scripts that could run outside a chroot; the variant runs none.
    words = ["mmdebstrap", "--mode=chrootless", "--skip=check/chrootless", "--variant=extract"]
    words.append(f"--include={','.join(packages)}")
    if architecture:
        words.append(f"--architectures={architecture}")
    if suite.name != suite.base:
        # The overlay is on the same mirror, so its line is the base's line with another suite in it.
        derive = rf"s/^\(deb .*\) {suite.base} main$/\1 {suite.name} main/p"
        added = '"$1"/etc/apt/sources.list.d/overlay.list'
        words.append(f'--setup-hook=sed -n {shlex.quote(derive)} "$1"/etc/apt/sources.list > {added} && test -s {added}')
        # Without it apt mixes the suites' versions and then finds that they do not fit.
        words.append(f'--aptopt=APT::Default-Release "{suite.name}"')
    words.append(f'--extract-hook=find "$1"/var/cache/apt/archives -name "*.deb" -printf "%f\\n" > "$1"/{_PACKAGES}')
    words += [suite.base, str(target)]
    return (*words, mirror) if mirror else tuple(words)


def system_mirror() -> str | None:
    """Return the mirror of Debian's main archive that this computer's apt uses; None where there is none (Ubuntu).

    The filter words are of apt-get(8), indextargets; Origin and Label are those that Debian's Release files carry.
    """
    query = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    query += ["Created-By: Packages", "Origin: Debian", "Label: Debian", "Component: main"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    mirrors = [line for line in answer.stdout.split() if line.startswith(("http://", "https://"))]
    return mirrors[0] if mirrors else None


def _environment() -> dict[str, str]:
    """Return the environment with messages in English: they are searched for what went wrong."""
    return {**os.environ, "LC_ALL": "C.UTF-8"}
