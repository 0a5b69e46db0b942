"""Files and directories that are either wholly there or not at all."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_text(path: Path, text: str) -> None:
    """Replace `path` by `text` in UTF-8 in one step, making the folders above it; what has no UTF-8 form is escaped.

    Raises OSError where the disk or the permissions do not allow it; the old file then stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


@contextmanager
def replaced_directory(path: Path) -> Iterator[Path]:
    """Give an empty directory to fill, which takes the place of `path` when the block ends well.

    Raises OSError from the file system. When the block raises, `path` stays as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        yield fresh
        if path.exists():
            path.rename(Path(scratch) / "old")
        fresh.rename(path)


def copy_limited(source: Path, target: Path, limit: int) -> int | None:
    """Compress `source` into `target` with gzip; give the bytes written, or None and no file when above `limit`.

    Raises OSError where either cannot be read or written.
    """
    with source.open("rb") as read, target.open("wb") as raw:
        with gzip.GzipFile("", "wb", 1, raw, mtime=0) as packed:
            while raw.tell() <= limit and (block := read.read(1 << 20)):
                packed.write(block)
        size = raw.tell()
    if size > limit:
        target.unlink()
        return None
    return size
