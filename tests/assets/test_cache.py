from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

import pytest

from harness.assets import cache
from harness.errors import MissingError
from tests.assets.conftest import Told

# A set-up in a process of its own: it notes that it began to make, waits until it may go on, then finishes.
SET_UP = """
import sys, time
from pathlib import Path
from harness.assets import cache
from harness.assets.progress import PlainProgress

asset, began, go = map(Path, sys.argv[1:])

def make(temporary):
    (temporary / "half").write_text("x")
    with began.open("a") as file:
        file.write("began\\n")
    while not go.exists():
        time.sleep(0.01)
    return {"made": True}

print(cache.produce(asset, make, PlainProgress(), megabytes=1))
"""


def start(asset: Path, began: Path, go: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SET_UP, str(asset), str(began), str(go)], stdout=subprocess.PIPE, text=True)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def fill(temporary: Path) -> cache.Facts:
    (temporary / "content").write_text("new")
    return {"what": "new"}


def left_overs(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.name.endswith(".tmp")]


def test_an_asset_is_made_once(tmp_path: Path, told: Told) -> None:
    asset = tmp_path / "place" / "asset"
    assert cache.produce(asset, fill, told, megabytes=1)
    assert not cache.produce(asset, fill, told, megabytes=1)
    assert json.loads((asset / cache.MARKER).read_text()) == {"what": "new"}


def test_a_set_up_killed_half_way_is_taken_up_by_the_next(tmp_path: Path, told: Told) -> None:
    asset, began = tmp_path / "place" / "asset", tmp_path / "began"
    with start(asset, began, tmp_path / "never") as killed:
        wait_for(began)
        killed.send_signal(signal.SIGKILL)
    assert left_overs(asset.parent)
    assert not cache.ready(asset)

    assert cache.produce(asset, fill, told, megabytes=1)

    assert (asset / "content").read_text() == "new"
    assert left_overs(asset.parent) == []


def test_of_two_set_ups_at_once_one_works_and_one_waits(tmp_path: Path) -> None:
    asset, began, go = tmp_path / "place" / "asset", tmp_path / "began", tmp_path / "go"
    with start(asset, began, go) as first:
        wait_for(began)
        with start(asset, began, go) as second:
            assert second.stdout is not None
            assert "another set-up is at work on asset" in second.stdout.readline()
            go.touch()
            assert (first.communicate()[0], second.communicate()[0]) == ("True\n", "False\n")
    assert began.read_text() == "began\n"
    assert left_overs(asset.parent) == []


def test_a_directory_without_a_marker_is_made_anew(tmp_path: Path, told: Told) -> None:
    asset = tmp_path / "asset"
    asset.mkdir()
    (asset / "rubbish").touch()
    assert cache.produce(asset, fill, told, megabytes=1)
    assert not (asset / "rubbish").exists()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_up_is_one_line_and_leaves_what_was_there(tmp_path: Path, told: Told, number: int) -> None:
    asset = tmp_path / "asset"
    cache.produce(asset, fill, told, megabytes=1)

    def overflow(temporary: Path) -> NoReturn:
        (temporary / "half").touch()
        raise OSError(number, os.strerror(number))

    with pytest.raises(MissingError, match="no space left on the disk; free some space there, or set HARNESS_CACHE"):
        cache.produce(asset, overflow, told, megabytes=1, again=True)
    assert (asset / "content").read_text() == "new"
    assert left_overs(tmp_path) == []


def test_too_little_room_is_said_before_anything_is_made(tmp_path: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9 - 10**7, 10**7))
    with pytest.raises(MissingError, match="10 MB are free on the disk and 400 MB are needed"):
        cache.produce(tmp_path / "asset", fill, told, megabytes=400)
    assert not (tmp_path / "asset").exists()


def test_a_cache_that_cannot_be_a_directory_is_one_line(tmp_path: Path, told: Told) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingError, match="the cache cannot be written: .*HARNESS_CACHE"):
        cache.produce(tmp_path / "file" / "place" / "asset", fill, told, megabytes=1)


def test_again_replaces(tmp_path: Path, told: Told) -> None:
    asset = tmp_path / "asset"
    cache.produce(asset, fill, told, megabytes=1)
    (asset / "old").touch()
    assert cache.produce(asset, fill, told, megabytes=1, again=True)
    assert not (asset / "old").exists()


def test_the_cache_is_where_xdg_says_unless_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.delenv("HARNESS_CACHE")
    assert cache.root() == Path("/somewhere/arm64-harness")
    monkeypatch.setenv("HARNESS_CACHE", "/else/where")
    assert cache.root() == Path("/else/where")
