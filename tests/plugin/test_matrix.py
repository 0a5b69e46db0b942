"""The matrix of cases: every valid pair is there, nothing invalid is, and the order is the same each time."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.plugin.matrix import Matrix, Params, Row

FACTORS = {"lifecycle": ("file", "live", "pause"), "timer": ("cntp", "cntv"), "level": ("el1", "nvhe", "vhe"), "vcpus": (1, 2)}
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def valid(row: Row) -> bool:
    """No cntp in vhe, and no two vCPUs in el1: as scenarios write it, True where a value is not there yet."""
    return (row.get("timer"), row.get("level")) != ("cntp", "vhe") and (row.get("vcpus"), row.get("level")) != (2, "el1")


def pairs(rows: list[Params]) -> set[tuple[tuple[str, object], ...]]:
    return {pair for row in rows for pair in itertools.combinations(row.items(), 2)}


def product(factors: Mapping[str, tuple[object, ...]]) -> list[dict[str, object]]:
    return [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]


def test_an_id_names_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/bob")
    monkeypatch.setenv("LOGNAME", "bob")
    case = Params({"lab_kernel": "/home/bob/Image", "dst_lab_kernel": "/srv/bob/Image", "cpu": "bob", "vcpus": 2})
    assert case.id == "$HOME/Image-to-/srv/$USER/Image-bob-2vcpus"


@settings(deadline=None)
@given(sizes=SIZES, forbidden=st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=4))
def test_every_pair_that_a_valid_case_has_is_covered(sizes: list[int], forbidden: set[tuple[int, int]]) -> None:
    factors = {f"f{index}": tuple(range(size)) for index, size in enumerate(sizes)}

    def fits(row: Row) -> bool:
        return (row.get("f0"), row.get("f1")) not in forbidden

    matrix = Matrix(factors, valid=fits)
    rows = matrix.rows(everything=False, only={})
    everything = matrix.rows(everything=True, only={})
    brute = [Params(row) for row in product(factors) if fits(row)]
    assert everything == brute or [dict(row) for row in everything] == [dict(row) for row in brute]
    assert all(fits(row) for row in rows)
    assert pairs(rows) == pairs(brute)
    assert len({tuple(row.items()) for row in rows}) == len(rows)


def test_fewer_than_all() -> None:
    matrix = Matrix(FACTORS, valid=valid)
    few, everything = matrix.rows(everything=False, only={}), matrix.rows(everything=True, only={})
    assert len(everything) == 24
    assert len(few) < len(everything)
    assert pairs(few) == pairs(everything)


def test_only_some_values() -> None:
    matrix = Matrix(FACTORS, valid=valid)
    for everything in (False, True):
        rows = matrix.rows(everything=everything, only={"lifecycle": ["file"], "unknown": ["x"]})
        assert {row.lifecycle for row in rows} == {"file"}
        assert {row.timer for row in rows} == {"cntp", "cntv"}
    assert matrix.rows(everything=False, only={"lifecycle": ["none"]}) == []


@pytest.mark.parametrize("everything", [False, True])
def test_named_cases_are_there_once(everything: bool) -> None:
    also = [
        {"vcpus": 2, "timer": "cntv", "level": level, "lifecycle": name}
        for level in ("nvhe", "vhe")
        for name in ("file", "live")
    ]
    rows = Matrix(FACTORS, valid=valid, also=also).rows(everything=everything, only={"lifecycle": ["file"]})
    found = [dict(row) for row in rows]
    assert [found.count(row) for row in also] == [1, 0, 1, 0]
    assert {tuple(row) for row in rows} == {("lifecycle", "timer", "level", "vcpus")}


def test_one_factor() -> None:
    assert [row.id for row in Matrix({"timer": ("cntp", "cntv")}).rows(everything=False, only={})] == ["cntp", "cntv"]


def test_the_order_is_the_same() -> None:
    one, other = (Matrix(FACTORS, valid=valid).rows(everything=False, only={}) for _ in range(2))
    assert [row.id for row in one] == [row.id for row in other]
    assert len({row.id for row in one}) == len(one)


def test_a_case_reads_by_name() -> None:
    case = Params({"timer": "cntv", "vcpus": 2})
    assert (case.timer, case["vcpus"], len(case), list(case), case.id) == ("cntv", 2, 2, ["timer", "vcpus"], "cntv-2vcpus")
    with pytest.raises(AttributeError, match="level"):
        _ = case.level
    with pytest.raises(KeyError):
        case["level"]
