from __future__ import annotations

from pathlib import Path

import pytest

from harness.assets import guests, system
from harness.errors import MissingError
from tests.assets.conftest import Programs, Told

MAKEFILE = """
all:
	$(CROSS)gcc one.c > $(OUT)/one.bin
	echo built >> ../builds
"""


@pytest.fixture
def sources(tmp_path: Path, programs: Programs) -> Path:
    """A folder of sources with one payload, and a compiler that copies."""
    folder = tmp_path / "guests"
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "one.c").write_text("one")
    compiler(programs, "12.2")
    return folder


def compiler(programs: Programs, version: str) -> None:
    programs.add(f"{system.compiler_prefix()}gcc", f'case $1 in --version) echo gcc {version} ;; *) cat "$1" ;; esac')


def test_payloads_are_built_once(sources: Path, told: Told) -> None:
    built = guests.build(told, sources)
    assert built.path("one").read_text() == "one"
    assert guests.build(told, sources) == built == guests.find(sources)
    assert (sources.parent / "builds").read_text() == "built\n"


def test_another_source_or_compiler_makes_another_build(sources: Path, told: Told, programs: Programs) -> None:
    first = guests.build(told, sources)
    (sources / "one.c").write_text("two")
    with pytest.raises(MissingError, match="not been built from the present sources; run `harness setup`"):
        guests.find(sources)
    second = guests.build(told, sources)
    compiler(programs, "14.1")
    third = guests.build(told, sources)
    assert len({first.directory, second.directory, third.directory}) == 3
    assert (first.path("one").read_text(), second.path("one").read_text()) == ("one", "two")


def test_a_compile_error_is_quoted_and_leaves_nothing(sources: Path, told: Told, programs: Programs) -> None:
    name = f"{system.compiler_prefix()}gcc"
    programs.add(name, 'case $1 in --version) echo gcc ;; *) echo "one.c:1: error: no such thing" >&2; exit 1 ;; esac')
    with pytest.raises(MissingError, match="make failed .*one.c:1: error: no such thing"):
        guests.build(told, sources)
    with pytest.raises(MissingError, match="not been built"):
        guests.find(sources)


def test_sources_that_change_under_the_compiler_are_not_kept(sources: Path, told: Told) -> None:
    (sources / "Makefile").write_text(MAKEFILE + "\techo changed > two.c\n")
    with pytest.raises(MissingError, match="changed while they were compiled"):
        guests.build(told, sources)


def test_a_build_without_payloads_is_an_error(sources: Path, told: Told) -> None:
    (sources / "Makefile").write_text("all:\n\ttouch $(OUT)/nothing\n")
    with pytest.raises(MissingError, match="no payload came out of the build"):
        guests.build(told, sources)


def test_an_unknown_payload_is_answered_with_those_there_are(sources: Path, told: Told) -> None:
    with pytest.raises(MissingError, match="there is no payload tow; there are: one"):
        guests.build(told, sources).path("tow")


@pytest.mark.usefixtures("programs")
def test_without_a_compiler_set_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="compiler for the guests does not run; run `harness setup`"):
        guests.find(tmp_path)


def test_the_make_that_calls_us_does_not_leak_in(sources: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    (sources / "Makefile").write_text('all:\n\ttest "$(MAKELEVEL)" = 0\n\ttouch $(OUT)/one.bin\n')
    monkeypatch.setenv("MAKELEVEL", "3")
    monkeypatch.setenv("MAKEFLAGS", "n")
    assert guests.build(told, sources).path("one").exists()
