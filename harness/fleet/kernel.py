"""The kernel of a night: a Debian suite's, an Image on disk, or one at an address with its SHA-256."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from harness.assets.debian import SUITES
from harness.assets.kernels import read_image
from harness.assets.progress import Progress
from harness.errors import MissingError, UsageError

STALL_SECONDS = 60.0
"""A server that sends nothing for so long has failed."""
_CHUNK = 1 << 20
_LIMIT = 1 << 30
"""Bytes of the largest file that is taken for a kernel."""
_IMAGE = "Image"


def fetch(source: str, sha256: str | None, into: Path, progress: Progress) -> str:
    """Return what `--lab-kernel` is to say: the suite, the path, or where in the directory `into` the download is.

    The same name every night, so that the ids of cases do not change. Raises UsageError for what cannot be meant, and for a
    file that is no kernel or another than `sha256` says; MissingError where it cannot be had.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise UsageError("is no SHA-256: 64 hexadecimal digits in small letters", where=f"--sha256 {sha256}")
    if source in SUITES:
        if sha256:
            raise UsageError("apt checks what a suite has", where="--sha256", remedy="leave it out")
        return source
    if "://" not in source:
        _check(hashlib.sha256(_bytes_of(Path(source))).hexdigest(), sha256, source)
        read_image(Path(source))
        return source
    if not source.startswith(("https://", "http://")):
        raise UsageError("only https:// and http:// are known", where=source)
    if sha256 is None:
        raise UsageError("what comes from an address needs its --sha256", where=source)
    progress.step(f"kernel: {source}")
    path = into / _IMAGE
    _download(source, sha256, path)
    read_image(path)
    return str(path)


def _download(address: str, sha256: str, path: Path) -> None:
    """Put what is at the address there, whole and checked, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as file, urllib.request.urlopen(address, timeout=STALL_SECONDS) as answer:  # noqa: S310
            while block := answer.read(_CHUNK):
                digest.update(block)
                file.write(block)
                size += len(block)
                if size > _LIMIT:
                    raise UsageError(f"is more than {_LIMIT} bytes, which no kernel is", where=address)
        _check(digest.hexdigest(), sha256, address)
        Path(name).replace(path)
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise MissingError(f"cannot be fetched: {reason}", where=address, remedy="check the address and the network") from error
    finally:
        Path(name).unlink(missing_ok=True)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}", where=str(path), remedy="give a suite, a file or an address"
        ) from error


def _check(found: str, sha256: str | None, where: str) -> None:
    if sha256 is not None and found != sha256:
        raise UsageError(f"is another file: its SHA-256 is {found}", where=where, remedy=f"{sha256} was asked for")
