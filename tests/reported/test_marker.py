"""`@reported` makes a case of each report, where it is to be put and nowhere else."""

from __future__ import annotations

import pytest

from harness.errors import UsageError
from harness.plugin import platforms
from harness.plugin.matrix import Matrix
from harness.plugin.reported import ANYWHERE, WITH_KVM, Kind, Report, reported

ONE = Report("one", "T1", Kind.BUG, "fires", level="nvhe", vcpus=2, lifecycle="snapshot")
TWO = Report("two", ("T2", "T3"), Kind.MODEL, "counts", cpu="cortex-a57")


def matrix_of(*reports: Report) -> Matrix:
    @reported(*reports)
    def test() -> None: ...

    matrix = next(mark.args[0] for mark in test.pytestmark if mark.name == "matrix")  # type: ignore[attr-defined]  # pytest's
    assert isinstance(matrix, Matrix)
    return matrix


def test_each_report_is_one_case() -> None:
    rows = matrix_of(ONE, TWO).rows(everything=False, only={})
    assert [row.id for row in rows] == ["one-snapshot-nvhe-2vcpus-max", "two-file-el1-1vcpus-cortex-a57"]
    assert len(matrix_of(ONE, TWO).rows(everything=True, only={})) == 2


def test_under_kvm_it_has_the_hosts_cpu() -> None:
    report = Report("one", "F5", Kind.GUARD, "is whole", platforms=ANYWHERE)
    there = matrix_of(report).where(platforms.UNDER_KVM, kvm=True, fits=platforms.fits_kvm)
    assert [row.id for row in there.rows(everything=False, only={})] == ["one-file-el1-1vcpus-host"]


def test_it_is_for_the_platforms_that_were_named() -> None:
    assert matrix_of(ONE).platforms == ("tcg",)
    with pytest.raises(UsageError, match="one: its reports are for different platforms; write a test for each"):
        matrix_of(ONE, Report("two", "T2", Kind.GUARD, "counts", platforms=WITH_KVM))


def test_it_says_which_entries_it_shows() -> None:
    assert ONE.ids == ("T1",)
    assert TWO.ids == ("T2", "T3")
