from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from harness.assets import cache, guests, probe, qemu, setup
from harness.errors import MissingError, UsageError
from harness.host.signals import ended_by_signals
from tests.assets import lab_samples
from tests.assets.conftest import Programs, Told, qemu_script


@pytest.fixture
def private(fake_debian: Callable[[str], None], told: Told) -> Path:
    """Make the private tree of trixie-backports with the fakes."""
    fake_debian("")
    assert qemu.install(qemu.DEFAULT_SUITE, told)
    return qemu.tree(qemu.DEFAULT_SUITE)


def test_a_private_tree_keeps_what_qemu_needs_and_nothing_else(private: Path) -> None:
    kept = {str(path.relative_to(private)) for path in private.rglob("*") if path.is_file()}
    assert kept == {"bin/qemu-system-aarch64", "lib/libc.so.6", "lib/ld-linux-fake.so.1", "asset.json"}
    recorded = json.loads((private / cache.MARKER).read_text())
    assert recorded["packages"] == ["libc6_2.41-12_amd64", "qemu-system-arm_1:11.1_amd64"]
    assert recorded["qemu"] == "11.1.3 (fake)"


def test_a_private_qemu_runs_through_its_own_loader_with_its_own_modules(private: Path) -> None:
    found = qemu.resolve()
    assert found.argv[0] == str(private / "lib/ld-linux-fake.so.1")
    assert found.argv[1:4] == ("--library-path", str(private / "lib"), str(private / "bin/qemu-system-aarch64"))
    assert found.env == {"QEMU_MODULE_DIR": str(private / "lib/qemu")}
    assert (found.version, found.origin) == ((11, 1, 3), "Debian trixie-backports")


@pytest.mark.usefixtures("private")
def test_who_wins(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    assert qemu.resolve().origin == "Debian trixie-backports"
    programs.add("qemu-system-aarch64", qemu_script((10, 2, 9)))
    assert qemu.resolve().origin == "Debian trixie-backports", "a system QEMU that is too old is passed over"
    programs.add("qemu-system-aarch64", "exit 1")
    assert qemu.resolve().origin == "Debian trixie-backports", "a broken one too"
    programs.add("qemu-system-aarch64", qemu_script((11, 0, 0)))
    assert qemu.resolve().origin == "system"
    assert qemu.suites_wanted() == ()
    by_environment = programs.add("mine", qemu_script((7, 2, 0)))
    monkeypatch.setenv("HARNESS_QEMU", str(by_environment))
    assert qemu.resolve().origin == "HARNESS_QEMU"
    by_option = programs.add("other", qemu_script((9, 0, 0)))
    found = qemu.resolve(str(by_option))
    assert (found.origin, found.version, found.version_text) == ("--qemu", (9, 0, 0), "9.0.0 (fake)")
    assert qemu.resolve("trixie-backports").origin == "Debian trixie-backports"


@pytest.mark.usefixtures("programs")
def test_a_suite_that_was_not_set_up_names_the_command() -> None:
    with pytest.raises(MissingError, match="bookworm-backports has not been set up; run `harness setup --qemu bookworm-b"):
        qemu.resolve("bookworm-backports")
    with pytest.raises(MissingError, match="trixie-backports has not been set up; run `harness setup`$"):
        qemu.resolve()


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo usage; exit 1", r"--qemu: .*mine is not a QEMU that runs here \(usage\); name a qemu-system-aarch64"),
        ("echo 'libfdt.so.1 missing' >&2; exit 127", r"not a QEMU that runs here \(libfdt.so.1 missing\)"),
        ("echo '[]'; echo 3", "not a QEMU that runs here"),
        ("exit 3", r"\(exit status 3\)"),
        (qemu_script(arch="x86_64"), "mine is a QEMU for x86_64, not for aarch64"),
    ],
)
def test_what_is_no_qemu_for_arm64_is_refused(script: str, says: str, programs: Programs) -> None:
    path = programs.add("mine", script)
    with pytest.raises(UsageError, match=says):
        qemu.resolve(str(path))


def test_one_that_does_not_answer_is_not_waited_for(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "SECONDS", 0.2)
    with pytest.raises(UsageError, match="did not answer as a QEMU"):
        qemu.resolve(str(programs.add("mine", "exec sleep 60")))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_one_is_being_started_leaves_nothing_running(
    number: signal.Signals, programs: Programs, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[str]] = []
    popen = subprocess.Popen

    def disturbed(*arguments: Any, **options: Any) -> subprocess.Popen[str]:
        started.append(popen(*arguments, **options))
        signal.raise_signal(number)  # as when a busy computer lets us go on only after the program has begun
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", disturbed)
    with pytest.raises((KeyboardInterrupt, SystemExit)), ended_by_signals() if number == signal.SIGTERM else nullcontext():
        qemu.resolve(str(programs.add("mine", "exec sleep 60")))
    assert started[0].poll() == -signal.SIGKILL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_paths_that_cannot_be_meant(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.touch()
    with pytest.raises(UsageError, match="is a directory; name the program"):
        qemu.resolve(str(tmp_path))
    with pytest.raises(UsageError, match="is not executable"):
        qemu.resolve(str(plain))
    with pytest.raises(UsageError, match="there is no .*nowhere; give the path .* or a suite: bookworm, "):
        qemu.resolve(str(tmp_path / "nowhere"))
    plain.chmod(0o755)
    plain.write_text("no program")
    with pytest.raises(UsageError, match="cannot be started: Exec format error"):
        qemu.resolve(str(plain))


def test_a_program_is_asked_once_until_it_changes(private: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = tmp_path / "asked"
    monkeypatch.setenv("ASKED", str(asked))
    assert qemu.resolve() == qemu.resolve()
    assert asked.read_text() == "asked\n"
    for memory in (cache.root() / "probes").iterdir():
        memory.write_text("[[11, 1")
    assert qemu.resolve().version == (11, 1, 3), "an answer cut short is not believed"
    binary = private / "bin/qemu-system-aarch64"
    binary.write_text("#!/bin/sh\n" + qemu_script((12, 0, 0)))
    assert qemu.resolve().version == (12, 0, 0)


def test_a_script_is_asked_each_time(programs: Programs) -> None:
    """What it starts may change while it stays the same."""
    path = programs.add("mine", qemu_script((9, 0, 0)))
    assert qemu.resolve(str(path)).version == (9, 0, 0)
    status = path.stat()
    content = path.read_text().replace('"major": 9', '"major": 8')
    path.write_text(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert qemu.resolve(str(path)).version == (8, 0, 0)


def test_a_private_qemu_that_was_damaged_asks_for_a_refresh(private: Path) -> None:
    (private / "bin/qemu-system-aarch64").write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(MissingError, match="does not run: .*--refresh"):
        qemu.resolve()


def test_a_failed_download_leaves_nothing_and_the_next_set_up_works(fake_debian: Callable[[str], None], told: Told) -> None:
    fake_debian("echo 'E: Failed to fetch'; exit 1")
    with pytest.raises(MissingError, match="Failed to fetch"):
        qemu.install("sid", told)
    assert not qemu.tree("sid").exists()
    assert not list(qemu.tree("sid").parent.glob("*.tmp"))
    fake_debian("")
    assert qemu.install("sid", told)
    assert not qemu.install("sid", told)


@pytest.mark.usefixtures("fake_debian")
def test_a_tree_without_qemu_is_refused(programs: Programs, told: Told) -> None:
    script = (programs.folder / "mmdebstrap").read_text()
    programs.add("mmdebstrap", script + '\nrm "$target/usr/bin/qemu-system-aarch64"')
    with pytest.raises(MissingError, match="the packages hold no .*qemu-system-aarch64"):
        qemu.install("sid", told)


def test_pruning_keeps_what_this_set_up_needs(private: Path, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    qemu.install("sid", told)
    payloads = cache.root() / "guests" / "mine"
    other = cache.root() / "guests" / "other"
    payloads.mkdir(parents=True)
    other.mkdir()
    monkeypatch.setattr("harness.assets.guests.find", lambda: guests.Payloads(payloads))
    lab_samples.set_up()
    setup.prune(setup.Wanted(), told)
    assert private.is_dir() and payloads.is_dir()
    assert not other.exists() and not qemu.tree("sid").exists()
