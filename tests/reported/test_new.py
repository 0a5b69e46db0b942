"""`harness new-report`: what it writes runs as it is, and a mistake leaves nothing behind."""

from __future__ import annotations

import importlib.util
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.errors import UsageError
from harness.plugin.matrix import Params
from harness.plugin.trial import Bench, Trial
from harness.report import new
from scenarios.reported import page

REPORT = new.New("guest-hangs", 'it "hangs"', "QEMU 11", ("https://example.org/1",))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(page.CATALOGUE, tmp_path)
    return tmp_path


def loaded(path: Path) -> Any:
    """Return the module that was written."""
    spec = importlib.util.spec_from_file_location("skeleton", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_skeleton_runs_as_it_is(folder: Path, bench: Bench) -> None:
    test = loaded(new.write(REPORT, folder)).test_guest_hangs
    (report,) = next(mark.args for mark in test.pytestmark if mark.name == "report")
    trial = Trial(bench, Params(report.place))
    try:
        with trial.explained():
            test(trial)
        assert trial.tally.interrupts == 1
    finally:
        trial.close()


def test_the_entry_holds_what_was_said(folder: Path) -> None:
    new.write(REPORT, folder)
    *others, entry = tomllib.loads((folder / "catalogue.toml").read_text("utf-8"))["entry"]
    assert len(others) == len(page.entries())
    assert entry == {"id": "guest-hangs", "title": 'it "hangs"', "affected": "QEMU 11", "links": ["https://example.org/1"]}
    assert page.Entry(**{**entry, "links": tuple(entry["links"])}).id == "guest-hangs"


@pytest.mark.parametrize(
    ("name", "links", "says"),
    [
        ("Guest hangs", (), "'Guest hangs' is no name for a report"),
        ("../x", (), "is no name for a report"),
        ("guest-hangs", ("example.org",), "'example.org' is no link"),
        ("T1", (), "is no name"),
    ],
)
def test_a_mistake_writes_nothing(folder: Path, name: str, links: tuple[str, ...], says: str) -> None:
    before = (folder / "catalogue.toml").read_bytes()
    with pytest.raises(UsageError, match=says):
        new.write(new.New(name, "", "", links), folder)
    assert [path.name for path in folder.iterdir()] == ["catalogue.toml"]
    assert (folder / "catalogue.toml").read_bytes() == before


def test_a_second_of_the_same_name_is_refused(folder: Path) -> None:
    new.write(REPORT, folder)
    with pytest.raises(UsageError, match="there is a report 'guest-hangs' already; choose another name"):
        new.write(REPORT, folder)


def test_no_catalogue_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no catalogue of reports; run it in a checkout"):
        new.write(REPORT, tmp_path)


def test_the_command_says_what_to_do_next(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new, "FOLDER", folder)
    answer = CliRunner().invoke(main, ["new-report", "guest-hangs"])
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[1:] == [
        "run it:    pytest scenarios/reported -k guest-hangs",
        "its page:  python -m scenarios.reported.page",
    ]
