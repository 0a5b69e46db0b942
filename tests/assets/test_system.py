from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness.assets import system
from harness.errors import MissingError
from tests.assets.conftest import Programs, Told

TOOL = system.Tool(("the-tool",), "the-package", "nothing works")
OTHER = system.Tool(("/nowhere/at-all", "other-tool"), "another-package", "nothing works")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    return tmp_path / "calls"


def as_user(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: number)


def apt(programs: Programs, calls: Path, *, works_after_update: bool = False) -> None:
    refuse = f'grep -q update {calls} || {{ echo "E: Unable to locate package"; exit 100; }}' if works_after_update else ""
    install = f"touch {programs.folder}/the-tool; chmod 755 {programs.folder}/the-tool"
    programs.add("apt-get", f'echo "$*" >> {calls}\ncase "$*" in *install*) {refuse}\n{install} ;; esac')
    programs.add("grep", f"while read -r l; do case $l in *update*) exit 0 ;; esac; done < {calls}; exit 1")


def test_what_is_there_is_not_installed(programs: Programs, told: Told, calls: Path) -> None:
    apt(programs, calls)
    programs.add("the-tool", "")
    system.provide([TOOL], told)
    assert not calls.exists() and told.steps == []


def test_root_installs_what_is_missing(programs: Programs, told: Told, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    apt(programs, calls)
    system.provide([TOOL], told)
    assert calls.read_text().split()[-3:] == ["install", "--no-install-recommends", "the-package"]


def test_package_lists_that_are_empty_are_got_first(
    programs: Programs, told: Told, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    apt(programs, calls, works_after_update=True)
    system.provide([TOOL], told)
    verbs = [next(word for word in line.split() if word in ("install", "update")) for line in calls.open()]
    assert verbs == ["install", "update", "install"]


def test_sudo_without_a_password_is_used(programs: Programs, told: Told, calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 1000)
    apt(programs, calls)
    programs.add("sudo", f'echo "sudo $*" >> {calls}; [ "$1" = -n ] || exit 1; shift; [ "$1" = true ] || exec "$@"')
    system.provide([TOOL], told)
    assert "sudo -n env DEBIAN_FRONTEND=noninteractive apt-get" in calls.read_text()


@pytest.mark.parametrize("sudo", [None, "exit 1"])
def test_without_root_one_line_lists_all_that_is_missing(
    sudo: str | None, programs: Programs, told: Told, calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 1000)
    apt(programs, calls)
    if sudo:
        programs.add("sudo", sudo)
    with pytest.raises(MissingError) as caught:
        system.provide([TOOL, OTHER], told)
    assert str(caught.value) == (
        "these system packages are missing: another-package the-package; "
        "install them, for example: sudo apt-get install another-package the-package"
    )
    assert not calls.exists()


def test_an_installation_that_fails_is_quoted(programs: Programs, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    as_user(monkeypatch, 0)
    programs.add("apt-get", "echo 'E: Unable to locate package the-package'; exit 100")
    with pytest.raises(MissingError, match="Unable to locate package the-package; install them"):
        system.provide([TOOL], told)


def test_an_installation_that_brings_nothing_is_an_error(
    programs: Programs, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_user(monkeypatch, 0)
    programs.add("apt-get", "exit 0")
    with pytest.raises(MissingError, match="yet the-tool cannot be found"):
        system.provide([TOOL], told)


def test_any_probe_is_enough(programs: Programs) -> None:
    assert OTHER.found() is None
    assert OTHER.found() != str(programs.add("other-tool", ""))
    assert OTHER.found() == str(programs.folder / "other-tool")
