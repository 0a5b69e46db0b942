"""A bundle holds all evidence, names nobody, and is there whole or not at all."""

from __future__ import annotations

import gzip
import json
import random
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessBug
from harness.report import bundle, files
from harness.report.evidence import Side, Stream, rows_of
from harness.report.privacy import Redactor
from harness.state.diff import compare
from harness.state.model import State
from harness.state.rules import Kind, Rule
from tests.report.report_samples import FAILED, LOST, evidence_of

ALICE = Redactor(("/home/alice",), "alice")


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_everything_is_there(tmp_path: Path) -> None:
    path = bundle.write(tmp_path / "out", evidence_of(FAILED, tmp_path), ALICE)
    folder = tmp_path / "out" / path
    logs = ["argv.txt", "console.log", "qmp.log", "stderr.log"]
    assert listing(folder) == [
        "README.txt",
        "case.json",
        "cover-letter.txt",
        *(f"sides/destination/{name}" for name in logs),
        *(f"sides/source/{name}" for name in logs),
        "states/after.json",
        "states/before.json",
        "streams/first.gz",
    ]
    readme = (folder / "README.txt").read_text()
    assert readme.startswith(LOST + "\n")
    assert f"pytest '{FAILED.id}' --platform tcg --qemu" in readme
    assert "CNTHP_CTL_EL2 ISTATUS: 1 -> 0  must be set" in readme
    assert gzip.decompress((folder / "streams/first.gz").read_bytes()) == b"QEVM" + bytes(5000)
    record = json.loads((folder / "case.json").read_text())
    assert record["case"]["bundle"] == path
    assert [side["exit_status"] for side in record["sides"]] == [0, None]
    assert [step["at"] for step in record["steps"]] == [0.05, 0.0712]


def test_nobody_is_named(tmp_path: Path) -> None:
    evidence = evidence_of(replace(FAILED, message="alice@box: /home/alice/x is gone"), tmp_path)
    folder = tmp_path / "out" / bundle.write(tmp_path / "out", evidence, ALICE)
    for name in listing(folder):
        if not name.endswith(".gz"):
            assert "alice" not in (folder / name).read_text(), name
    plain = tmp_path / "plain" / bundle.write(tmp_path / "plain", evidence, Redactor((), ""))
    named = {name for name in listing(plain) if name[-3:] != ".gz" and "alice" in (plain / name).read_text()}
    assert {"README.txt", "case.json", "sides/source/argv.txt", "states/before.json"} <= named
    assert {"sides/source/console.log", "sides/source/qmp.log"} <= named


def test_the_command_can_be_pasted_into_a_shell(tmp_path: Path) -> None:
    side = Side("source", ("echo", "file=/home/alice/it's, here", "-append", "a b"))
    evidence = replace(evidence_of(FAILED, tmp_path), sides=(side,))
    folder = tmp_path / bundle.write(tmp_path, evidence, ALICE)
    command = (folder / "sides/source/argv.txt").read_text().splitlines()[-1]
    said = subprocess.run(["sh", "-c", command], env={"HOME": "/h"}, capture_output=True, text=True, check=True)
    assert said.stdout == "file=/h/it's, here -append a b\n"
    assert shlex.split(command)[0] == "echo"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("/home/alice/x", "$HOME/x"),
        ("file=/home/alice", "file=$HOME"),
        ("/home/alicea", "/home/alicea"),
        ("/tmp/pytest-of-alice/1", "/tmp/pytest-of-$USER/1"),
        ("alice@box malice", "$USER@box malice"),
        ("/mnt/home/alice/x", "/mnt/home/$USER/x"),
    ],
)
def test_whole_words_are_redacted(text: str, redacted: str) -> None:
    assert ALICE.text(text) == redacted


def test_a_role_is_not_a_person() -> None:
    root = Redactor(("/root",), "root")
    assert root.text("root=/dev/vda /root/x /srv/root/y /rootfs") == "root=/dev/vda $HOME/x /srv/root/y /rootfs"


def test_here_is_this_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.setenv("LOGNAME", "bob")
    monkeypatch.setenv("HOME", f"{tmp_path}/link/")
    here = Redactor.here()
    assert here.user == "bob"
    assert here.text(f"{tmp_path}/link/x {tmp_path}/real/y") == "$HOME/x $HOME/y"


def test_max_is_a_cpu() -> None:
    assert Redactor(("/home/max",), "max").text("-cpu max -kernel /home/max/x") == "-cpu max -kernel $HOME/x"


def test_the_harness_own_words_stay_whoever_has_them_for_a_name() -> None:
    bob = Redactor(("/home/bob",), "bob")
    case = {"id": "t.py::t[tcg-bob]", "bundle": "bundles/t-tcg-bob", "lifecycle": "bob", "params": {"cpu": "bob", "n": 1}}
    assert bob.data({"cases": [case], "plan": {"test": "bob.py::t", "changes": {"params": {}}}}) == {
        "cases": [case],
        "plan": {"test": "bob.py::t", "changes": {"params": {}}},
    }
    assert bob.data({"message": "bob", "bundle": "/home/bob/x"}) == {"message": "$USER", "bundle": "$HOME/x"}


def test_a_path_is_a_path_wherever_it_stands() -> None:
    bob = Redactor(("/home/bob",), "bob")
    data = {"params": {"lab_kernel": "/srv/bob/Image"}, "kernels": {"/home/bob/Image": "6.12", "bob": "6.13"}}
    assert bob.data(data) == {
        "params": {"lab_kernel": "/srv/$USER/Image"},
        "kernels": {"$HOME/Image": "6.12", "bob": "6.13"},
    }


def test_the_command_that_runs_it_again_finds_the_case_whatever_its_words_are(tmp_path: Path) -> None:
    evidence = replace(evidence_of(FAILED, tmp_path), options=("--qemu=/opt/cnthp/qemu",))
    folder = tmp_path / bundle.write(tmp_path, evidence, Redactor((), "cnthp"))
    command = f"pytest '{FAILED.id}' '--qemu=/opt/$USER/qemu'"
    assert json.loads((folder / "case.json").read_text())["rerun"].replace("'", "") == command.replace("'", "")
    assert FAILED.id in (folder / "README.txt").read_text()


@pytest.mark.parametrize("home", ["/", "", "relative"])
def test_no_home_redacts_nothing(monkeypatch: pytest.MonkeyPatch, home: str) -> None:
    monkeypatch.setenv("HOME", home)
    assert Redactor.here().homes == ()


def test_names_are_safe_short_and_unique() -> None:
    ids = [
        "a.py::t[x/../y z]",
        "b.py::t[x/../y z]",
        "a.py::t[" + "x" * 500 + "]",
        "a.py::t[" + "x" * 501 + "]",
        "::é",
        "",
    ]
    paths = [bundle.path_of(case_id) for case_id in ids]
    assert len(set(paths)) == len(ids)
    for path in paths:
        assert path.startswith("bundles/")
        name = path.removeprefix("bundles/")
        assert len(name) <= 70
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
        assert not name.startswith((".", "-"))


def test_a_second_failure_replaces_the_first(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evidence = evidence_of(FAILED, tmp_path)
    bundle.write(out, evidence, ALICE)
    path = bundle.write(out, replace(evidence, case=replace(FAILED, message="second"), streams=(), states={}), ALICE)
    assert (out / path / "README.txt").read_text().startswith("second\n")
    assert not (out / path / "streams").exists()
    assert [item.name for item in (out / "bundles").iterdir()] == [Path(path).name]


def test_a_bundle_that_cannot_be_finished_leaves_the_old_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    evidence = evidence_of(FAILED, tmp_path)
    path = bundle.write(out, evidence, ALICE)
    with pytest.raises(ValueError, match="Expecting"):
        bundle.write(out, replace(evidence, states={"broken": "{"}), ALICE)
    assert (out / path / "README.txt").read_text().startswith(LOST)
    assert [item.name for item in (out / "bundles").iterdir()] == [Path(path).name]


def test_a_stream_too_large_is_left_out_with_a_note(tmp_path: Path) -> None:
    noise = tmp_path / "noise"
    noise.write_bytes(bytes(range(256)) * 4 + random.Random(1).randbytes(5000))
    streams = (Stream("big", noise), Stream("gone", tmp_path / "gone"))
    evidence = replace(evidence_of(FAILED, tmp_path), streams=streams)
    folder = tmp_path / bundle.write(tmp_path, evidence, ALICE, stream_limit=4000)
    notes = [stream["note"] for stream in json.loads((folder / "case.json").read_text())["streams"]]
    assert notes == ["left out: more than 4000 bytes compressed", "was never written"]
    assert "Stream big: left out: more than 4000 bytes" in (folder / "README.txt").read_text()
    assert list((folder / "streams").iterdir()) == []


def test_rows_name_what_had_to_survive_and_did_not() -> None:
    before = State("gdb", {"cpu0/CNTHP_CTL_EL2": 5, "cpu0/X0": 1, "cpu0/V0": b"\1", "cpu0/TTBR0_EL1": 7})
    after = State("gdb", {"cpu0/CNTHP_CTL_EL2": 1, "cpu0/X0": 1, "cpu0/V0": b"\2"})
    rows = rows_of(compare(before, after, (Rule("CNTHP_CTL_EL2|V0|TTBR0_EL1", Kind.MUST_SURVIVE, "why", "where"),)))
    assert {(row.name, row.field, row.before, row.after) for row in rows} == {
        ("cpu0/CNTHP_CTL_EL2", "ISTATUS", "0x1", "0x0"),
        ("cpu0/V0", "", "01", "02"),
        ("cpu0/TTBR0_EL1", "", "0x7", "absent"),
    }
    assert all("why" in row.rule for row in rows)


def test_parts_with_one_name_are_a_bug(tmp_path: Path) -> None:
    evidence = evidence_of(FAILED, tmp_path)
    with pytest.raises(HarnessBug, match="called 'source'"):
        bundle.write(tmp_path, replace(evidence, sides=evidence.sides[:1] * 2), ALICE)


def test_a_limit_that_is_met_exactly_is_kept(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(bytes(1000))
    size = files.copy_limited(source, tmp_path / "a.gz", 10**6)
    assert size is not None
    assert files.copy_limited(source, tmp_path / "b.gz", size) == size
    assert files.copy_limited(source, tmp_path / "c.gz", size - 1) is None
    assert not (tmp_path / "c.gz").exists()
