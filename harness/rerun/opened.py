"""A bundle as it comes: a directory, or an archive out of a mail. Of an archive one file is read, and nothing is unpacked."""

from __future__ import annotations

import io
import json
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from harness.errors import UsageError, Verdict
from harness.report.bundle import RECORD, SCHEMA
from harness.rerun import inputs
from harness.rerun.failure import Failure
from harness.rerun.inputs import Input
from harness.rerun.plan import Plan, Value

_LIMIT = 64 << 20
"""Bytes of a case.json; one of the longest cases in a lab has less than one MiB."""
_GIVE = "give the directory of a bundle, or a .tar.gz or .zip of it"
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError),
    *(NotImplementedError, RuntimeError),  # zipfile's, of what it cannot unpack, and of what has a password
)
_OLD = "write it anew with this harness, by running the case again"


@dataclass(frozen=True)
class Opened:
    """What a bundle says: what to run, how it failed, and what it was made of; `name` is where it was, below the results."""

    plan: Plan
    failure: Failure
    inputs: Mapping[str, Input]
    # Digests of scenario and guests (`inputs.sources`).
    sources: Mapping[str, str]
    harness: str
    name: str
    # What the payload was told.
    arguments: Mapping[str, Value]


def read(path: Path) -> Opened:
    """Read a bundle. Raises UsageError in one line for whatever else the path is."""
    where = str(path)
    try:
        data = json.loads(_directory(path) if path.is_dir() else _archive(path))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror or error})", where=where, remedy=_GIVE) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"its {RECORD} is not JSON ({error})", where=where) from error
    except _DAMAGED as error:
        raise UsageError(f"the archive is damaged, or locked ({error})", where=where, remedy=_GIVE) from error
    schema = data.get("schema") if isinstance(data, dict) else None
    if schema != SCHEMA:
        raise UsageError(f"a bundle of schema {schema!r}; this harness reads {SCHEMA}", where=where, remedy=_OLD)
    try:
        opened = Opened(
            Plan.from_data(data["plan"], f"{where}, plan"),
            Failure.from_data(data["failure"], where),
            inputs.from_data(data["inputs"], where),
            {name: str(value) for name, value in data["sources"].items()},
            str(data["provenance"].get("harness", "")),
            str(data["case"]["bundle"]),
            {str(name): value for name, value in data["arguments"].items() if isinstance(value, int | str)},
        )
    except (KeyError, AttributeError, TypeError) as error:
        raise UsageError(f"its {RECORD} is damaged ({type(error).__name__}: {error})", where=where) from error
    if opened.failure.verdict not in (Verdict.FAIL, Verdict.ERROR):
        raise UsageError(f"it is of a case that did not fail: {opened.failure}", where=where)
    return opened


def _directory(path: Path) -> bytes:
    record = path / RECORD
    if not record.is_file():
        raise UsageError(f"a directory, and no bundle: it has no {RECORD}", where=str(path), remedy=_GIVE)
    with record.open("rb") as file:
        return _limited(file, path)


def _archive(path: Path) -> bytes:
    with path.open("rb") as file:
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                return _limited(packed.open(_record(packed.namelist(), path)), path)
        file.seek(0)
        with tarfile.open(fileobj=file) as packed_tar:
            members = {member.name: member for member in packed_tar if member.isfile()}
            content = packed_tar.extractfile(members[_record(members, path)])
            return _limited(content or io.BytesIO(), path)


def _record(names: Iterable[str], path: Path) -> str:
    """Return the one name of a `case.json`, at the top or in one directory."""
    found = [name for name in names if PurePosixPath(name).name == RECORD and len(PurePosixPath(name).parts) <= 3]
    strange = [name for name in found if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]
    if strange:
        raise UsageError(f"the archive names {strange[0]!r}, which is not inside it", where=str(path))
    if len(found) != 1:
        raise UsageError(f"{len(found)} bundles in it, not one", where=str(path), remedy=_GIVE)
    return found[0]


def _limited(file: IO[bytes], path: Path) -> bytes:
    with file:
        data = file.read(_LIMIT + 1)
    if len(data) > _LIMIT:
        raise UsageError(f"its {RECORD} is longer than {_LIMIT} bytes", where=str(path))
    return data
