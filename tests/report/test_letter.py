"""The letter says what maintainers ask for, and leaves out what was not found out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.report import bundle
from harness.report.letter import cover_letter
from harness.report.privacy import Redactor
from tests.report.report_samples import FAILED, evidence_of

INPUTS: dict[str, Any] = {
    "qemu": {"what": "QEMU", "version": "11.1.50 (v11.1.0-12-gabcdef0)", "sha256": "11aa", "origin": "Debian trixie"},
    "lab_kernel": {"what": "the lab's kernel", "version": "7.3.4", "sha256": "22bb", "origin": "/home/alice/linux/Image"},
}
HOST = {"name": "lab", "kernel": "7.3.4", "cpu": "neoverse-n2", "kvm": "VHE+NV2", "page_size": "4 kB", "features": "fp ecv sve"}


def letter(tmp_path: Path, **more: Any) -> str:
    failure = {"verdict": "fail", "suspect": "QEMU", "words": "no interrupt after file"}
    case = replace(FAILED, params={**FAILED.params, "el": 2})
    evidence = replace(evidence_of(case, tmp_path), rerun={"inputs": INPUTS, "failure": failure}, hosts=(HOST,), **more)
    return cover_letter(evidence)


def test_what_it_says(tmp_path: Path) -> None:
    states = {"before": {"registers": {"cpu0/ID_AA64MMFR0_EL1": hex(1 << 60), "cpu0/ID_AA64MMFR4_EL1": hex(0xE << 24)}}}
    text = letter(tmp_path, states=states)
    assert text.startswith("Subject: timers through file: no interrupt after file\n\n")
    said = " ".join(text.split())
    for words in (
        "CNTHP_CTL_EL2 ISTATUS: 1 -> 0",
        "qemu: 11.1.50 (v11.1.0-12-gabcdef0) (commit abcdef0), SHA-256 11aa, Debian trixie",
        "lab kernel: 7.3.4, SHA-256 22bb, a file called Image",
        "lab, page size: 4 kB",
        "lab, FEAT_ECV: yes",
        "lab, kvm: VHE+NV2",
        "guest's level: entered at EL2, HCR_EL2.E2H = 0",
        "ID_AA64MMFR0_EL1.ECV 0x1",
        "ID_AA64MMFR4_EL1.E2H0 0xe",
        "harness repro DIRECTORY",
        "It needs --lab-kernel FILE, for the lab's kernel with the SHA-256 above.",
    ):
        assert words in said, words
    assert "/home/alice" not in text.partition("What it ran on")[2]
    assert max(map(len, text.partition("What it ran on")[2].splitlines())) <= 100


def test_what_is_not_known_is_not_said(tmp_path: Path) -> None:
    text = cover_letter(replace(evidence_of(FAILED, tmp_path), states={}, differences=()))
    assert "its ID registers were not looked at" in text
    assert "ECV" not in text and "It needs" not in text and "What differs" not in text


def test_a_host_without_ecv(tmp_path: Path) -> None:
    evidence = replace(evidence_of(FAILED, tmp_path), hosts=({**HOST, "features": "fp asimd"},))
    assert "lab, FEAT_ECV:   no" in cover_letter(evidence)


def test_nobody_is_named_in_it(tmp_path: Path) -> None:
    evidence = replace(evidence_of(replace(FAILED, message="/home/alice/x of alice"), tmp_path), rerun={"inputs": INPUTS})
    folder = tmp_path / bundle.write(tmp_path, evidence, Redactor(("/home/alice",), "alice"))
    assert "alice" not in (folder / "cover-letter.txt").read_text()
