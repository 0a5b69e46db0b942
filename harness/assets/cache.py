"""The cache: things that take long to get, each made once, and whole or not at all.

An asset is a directory. It is made under a temporary name beside its place, its marker is written last, and a rename
puts it there; so a directory with a marker is complete, whatever happened to earlier set-ups. A lock per asset lets
two set-ups run at once: the second waits and finds the work done. Whoever holds the lock may remove what a dead
set-up left.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from harness.assets.progress import Progress
from harness.errors import MissingError

MARKER = "asset.json"
"""What was got, and from where; its presence says that the directory around it is complete."""

Facts = Mapping[str, object]

_SPACE = "free some space there, or set HARNESS_CACHE to a directory on another disk, then run `harness setup` again"


def root() -> Path:
    """Return the directory of the cache: $HARNESS_CACHE, else `arm64-harness` in the user's cache directory (XDG)."""
    override = os.environ.get("HARNESS_CACHE")
    if override:
        return Path(override).absolute()
    return user_cache_path("arm64-harness", appauthor=False)


def ready(asset: Path) -> bool:
    """True when the asset is there and complete."""
    return (asset / MARKER).is_file()


def produce(asset: Path, make: Callable[[Path], Facts], progress: Progress, *, megabytes: int, again: bool = False) -> bool:
    """Have `make` fill a directory and put it at `asset`; return False when it was there already.

    `make` gets an empty directory and returns the facts to record. `megabytes` of free disk are checked for first.
    `again` replaces what is there. Raises MissingError when the disk is full or the cache cannot be written; errors of
    `make` pass through. Whatever is raised, the place holds what it held before.
    """
    if ready(asset) and not again:
        return False
    with writable(asset.parent):
        asset.parent.mkdir(parents=True, exist_ok=True)
        with locked(asset, progress):
            if ready(asset) and not again:
                return False
            sweep(asset)
            _require_space(asset.parent, megabytes)
            temporary = Path(tempfile.mkdtemp(prefix=f".{asset.name}.", suffix=".tmp", dir=asset.parent))
            try:
                record = make(temporary)
                temporary.chmod(0o755)
                (temporary / MARKER).write_text(json.dumps(record, indent=1) + "\n")
                remove(asset)
                temporary.rename(asset)
            finally:
                if temporary.exists():
                    remove(temporary)
    return True


@contextmanager
def locked(asset: Path, progress: Progress) -> Iterator[None]:
    """Hold the asset's lock; say so when another set-up holds it. The kernel frees the lock of a process that died."""
    from filelock import FileLock, Timeout

    lock = FileLock(asset.parent / f".{asset.name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.step(f"another set-up is at work on {asset.name}: waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def sweep(asset: Path) -> None:
    """Remove the temporary directories that dead set-ups of this asset left. The caller holds the asset's lock."""
    for left_over in asset.parent.glob(f".{asset.name}.*.tmp"):
        remove(left_over)


def remove(directory: Path) -> None:
    """Remove a directory and all below: first out of sight by a rename, so that no half of it is taken for whole."""
    if not directory.exists():
        return
    if not directory.name.endswith(".tmp"):
        hidden = directory.with_name(f".{directory.name}.{os.getpid()}.tmp")
        directory.rename(hidden)
        directory = hidden
    shutil.rmtree(directory)


@contextmanager
def writable(where: Path) -> Iterator[None]:
    """Turn a full disk or a forbidden write below `where` into one line that says what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(where) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
            raise MissingError(
                f"the cache cannot be written: {error.strerror}",
                where=str(error.filename or where),
                remedy="set HARNESS_CACHE to a directory that you may write",
            ) from error
        raise


def disk_full(where: Path) -> MissingError:
    """Return the error for a disk without room."""
    return MissingError("no space left on the disk", where=str(where), remedy=_SPACE)


def _require_space(where: Path, megabytes: int) -> None:
    free = shutil.disk_usage(where).free // 1_000_000
    if free < megabytes:
        raise MissingError(f"{free} MB are free on the disk and {megabytes} MB are needed", where=str(where), remedy=_SPACE)
