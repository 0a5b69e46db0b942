"""Plots as numbers that the template draws as SVG: positions in the units of a view box. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.report.timeline import Lane

WIDTH = 720
LEFT, RIGHT, ROW, TOP, AXIS = 150, 20, 34, 8, 26
BINS = 36
"""Bars to a distribution; more could not be told apart on a phone."""


@dataclass(frozen=True)
class Tick:
    """A mark on the axis."""

    x: float
    label: str


@dataclass(frozen=True)
class Mark:
    """Something at a place: `kind` is cval, arranged, timer or irq; `on` for ISTATUS; `label` for whoever points at it."""

    x: float
    kind: str
    on: bool
    label: str


@dataclass(frozen=True)
class TimerRow:
    """One timer: its marks, and where the lifecycle began and ended, where that is known."""

    name: str
    y: float
    marks: tuple[Mark, ...]
    words: str
    away: tuple[float, float] | None


@dataclass(frozen=True)
class TimerPlot:
    """Interrupts and readings against CVAL; the axis is in ms after the first CVAL of each timer."""

    rows: tuple[TimerRow, ...]
    ticks: tuple[Tick, ...]
    zero: float
    height: float


def timer_plot(lanes: Sequence[Lane]) -> TimerPlot | None:
    """Return the plot of a case's timers, None where there is nothing to show."""
    places = [place for lane in lanes for place in (*lane.cvals, *(reading.at for reading in lane.readings))]
    if not places:
        return None
    low, high = min(places), max(places)
    room = max((high - low) * 0.04, 0.001)
    low, high = low - room, high + room

    def x(value: float) -> float:
        return round(LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    rows = []
    for number, lane in enumerate(lanes):
        marks = [Mark(x(cval), "cval", on=False, label=f"CVAL at {cval:.3f} ms") for cval in lane.cvals]
        marks += [
            Mark(x(each.at), each.kind, each.istatus, _said(each.kind, each.at, on=each.istatus)) for each in lane.readings
        ]
        away = None if lane.resumed is None else (x(lane.readings[0].at), x(lane.resumed))
        rows.append(TimerRow(lane.name, TOP + ROW * (number + 0.5), tuple(marks), lane.words(), away))
    ticks = tuple(Tick(x(value), f"{value:g}") for value in _round_steps(low, high))
    return TimerPlot(tuple(rows), ticks, x(0), TOP + ROW * len(lanes) + AXIS)


def _said(kind: str, at: float, *, on: bool) -> str:
    what = {"irq": "interrupt", "arranged": "armed", "timer": "read"}[kind]
    return f"{what} at {at:.3f} ms, ISTATUS {'set' if on else 'clear'}"


def _round_steps(low: float, high: float, about: int = 6) -> list[float]:
    """Return round numbers between two."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    first = math.ceil(low / step)
    return [round(number * step, 10) + 0.0 for number in range(first, math.floor(high / step) + 1)]


# -- distributions


@dataclass(frozen=True)
class Bar:
    """One bar of a histogram."""

    x: float
    width: float
    height: float


@dataclass(frozen=True)
class Spread:
    """One row: how values are spread on a logarithmic axis, with its median and how many there are."""

    name: str
    y: float
    bars: tuple[Bar, ...]
    median: float
    words: str


@dataclass(frozen=True)
class SpreadPlot:
    """Rows of histograms over one axis."""

    rows: tuple[Spread, ...]
    ticks: tuple[Tick, ...]
    height: float


def spread_plot(values: Mapping[str, Sequence[float]], unit: str, floor: float) -> SpreadPlot | None:
    """Return how each row's values are spread, None where there are none. What is below `floor` counts as `floor`."""
    rows = {name: sorted(max(floor, each) for each in found) for name, found in values.items() if found}
    if not rows:
        return None
    low = math.floor(math.log10(min(found[0] for found in rows.values())))
    high = math.ceil(math.log10(max(found[-1] for found in rows.values())) + 1e-9)
    high = max(high, low + 1)

    def x(value: float) -> float:
        return round(LEFT + (math.log10(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT), 1)

    width = (WIDTH - LEFT - RIGHT) / BINS
    spreads = []
    for number, (name, found) in enumerate(rows.items()):
        counts = [0] * BINS
        for each in found:
            counts[min(BINS - 1, int((math.log10(each) - low) / (high - low) * BINS))] += 1
        highest = max(counts)
        bars = tuple(
            Bar(round(LEFT + width * at, 1), round(width - 1, 1), round(max(2.0, (ROW - 8) * count / highest), 1))
            for at, count in enumerate(counts)
            if count
        )
        words = f"{len(found)}: median {_amount(quantile(found, 0.5), unit)}, 99 % below {_amount(quantile(found, 0.99), unit)}"
        spreads.append(
            Spread(name, TOP + ROW * (number + 1), bars, x(quantile(found, 0.5)), f"{words}, most {_amount(found[-1], unit)}")
        )
    ticks = tuple(Tick(x(10.0**power), _amount(10.0**power, unit)) for power in range(low, high + 1))
    return SpreadPlot(tuple(spreads), ticks, TOP + ROW * len(rows) + AXIS)


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of the ordered values below or at which at least that share lies."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _amount(value: float, unit: str) -> str:
    """Return a time in the unit that reads best."""
    seconds = value * {"us": 1e-6, "s": 1.0}[unit]
    for size, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size * 0.9995:
            return f"{seconds / size:.3g} {name}"
    return f"{seconds / 1e-9:.3g} ns"
