"""From factors to cases: the full product, or a set in which each pair of values occurs.

    @pytest.mark.matrix(Matrix({"timer": ("cntp", "cntv"), "lifecycle": tuple(LIFECYCLES)}, valid=exists))
    def test_each_interrupt_comes_once(case, boot, put_through): ...

Most faults need one value or two together (Kuhn, Wallace, Gallo 2004, doi 10.1109/TSE.2004.24), so the default set covers
every pair that is valid, and what is known to break together is added by name (`also`). `--all` runs the product.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from allpairspy import AllPairs

from harness.report.privacy import Redactor

Row = Mapping[str, Any]


def _any(_: Row) -> bool:
    return True


def _to(name: str) -> str:
    """Return what tells a value of the destination from the source's of the same kind."""
    return "to-" if name.startswith("dst_") else ""


class Params(Mapping[str, Any]):
    """One case's values, as `case["timer"]` or `case.timer`."""

    def __init__(self, values: Row) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> Any:
        """Return a value by name; raises KeyError."""
        return self._values[name]

    def __getattr__(self, name: str) -> Any:
        """Return a value by name; raises AttributeError."""
        try:
            return self.__dict__["_values"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of values."""
        return len(self._values)

    @property
    def id(self) -> str:
        """The case's part of the pytest id: the values, each recognisable by itself or with its name.

        Of a path without the user's name and home: ids are read by everybody, and compared with those that were written.
        """
        shown = Redactor.here().value
        words = (
            f"{value}{name}" if isinstance(value, int) else f"{_to(name)}{shown(str(value))}" for name, value in self.items()
        )
        return "-".join(words)


@dataclass(frozen=True)
class Matrix:
    """Factors by name. `valid` is asked about incomplete rows too and must say True where a value is not there yet."""

    factors: Mapping[str, Sequence[Any]]
    valid: Callable[[Row], bool] = _any
    also: Sequence[Row] = ()
    # What has to be true as well where guests run on KVM.
    valid_under_kvm: Callable[[Row], bool] = _any
    # Platforms that it is for (`ssh` for each ssh:NAME); none named: all.
    platforms: Collection[str] = ()

    def where(self, only: Mapping[str, Sequence[Any]], *, kvm: bool, fits: Callable[[Row], bool] = _any) -> Matrix:
        """Return the matrix for a place where some factors have other values: those in both, or these where none is in both.

        `fits` says which rows there are there at all; like `valid`, it is asked about incomplete rows too.
        """

        def kept(name: str, values: Sequence[Any]) -> Sequence[Any]:
            return [value for value in values if value in only[name]] or only[name] if name in only else values

        factors = {name: kept(name, values) for name, values in self.factors.items()}
        # A row for what is not there is for what is there instead, where that is one thing.
        moved = [
            {name: factors[name][0] if len(factors[name]) == 1 else value for name, value in row.items()} for row in self.also
        ]

        def valid(row: Row) -> bool:
            return fits(row) and self.valid(row) and (not kvm or self.valid_under_kvm(row))

        if not kvm:
            return replace(self, factors=factors, also=moved, valid=valid)

        return replace(self, factors=factors, also=[row for row in moved if valid(row)], valid=valid)

    def rows(self, *, everything: bool, only: Mapping[str, Collection[Any]]) -> list[Params]:
        """Return the cases: all, or a set that covers all valid pairs and has every row of `also`.

        `only` restricts factors to some of their values. The order is the same in every process (pytest-xdist needs it).
        """
        factors = {
            name: [value for value in values if name not in only or value in only[name]]
            for name, values in self.factors.items()
        }
        if not all(factors.values()):
            return []
        chosen = list(self._product(factors)) if everything or len(factors) < 2 else list(self._pairs(factors))
        allowed = [row for row in self.also if all(row[name] in values for name, values in factors.items())]
        rows = [{name: row[name] for name in factors} for row in [*chosen, *allowed]]
        unique = {tuple(row.items()): Params(row) for row in rows}
        return list(unique.values())

    def _product(self, factors: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
        for values in itertools.product(*factors.values()):
            row = dict(zip(factors, values, strict=True))
            if self.valid(row):
                yield row

    def _pairs(self, factors: Mapping[str, Sequence[Any]]) -> Iterator[Row]:
        names = list(factors)

        def fits(values: Sequence[Any]) -> bool:
            return self.valid(dict(zip(names, values, strict=False)))

        covered: set[tuple[tuple[str, Any], ...]] = set()
        for values in AllPairs(list(factors.values()), filter_func=fits):
            row = dict(zip(names, values, strict=True))
            covered.update(itertools.combinations(row.items(), 2))
            yield row
        # Where a filter leads it into a dead end, allpairspy leaves pairs out: add a case for each of these.
        for two in itertools.combinations(names, 2):
            for values in itertools.product(*(factors[name] for name in two)):
                pair = dict(zip(two, values, strict=True))
                if tuple(pair.items()) not in covered and self.valid(pair):
                    fixed = {name: [value] for name, value in pair.items()}
                    for found in itertools.islice(self._product({**factors, **fixed}), 1):
                        covered.update(itertools.combinations(found.items(), 2))
                        yield found
