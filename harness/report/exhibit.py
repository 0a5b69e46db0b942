"""The evidence of one case as the report shows it: read from its bundle, cut to what a reader can take in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError, UsageError
from harness.events import Step
from harness.report import results
from harness.report.evidence import DifferenceRow
from harness.report.model import Case
from harness.report.plots import TimerPlot, timer_plot
from harness.report.timeline import Timeline, lanes, timeline
from harness.state import sysregs

TAIL = 2000
"""Characters of each side's error output that are shown, from its end; the bundle has the rest."""
CONSOLE = 200_000
"""Bytes of each console that are looked at for the plot of the timers."""
ROWS = 40
"""Registers that differ shown for each case."""


@dataclass(frozen=True)
class Difference:
    """A register or field that differs; `words` is the sentence, `meaning` what the field tells, where that is known."""

    words: str
    meaning: str
    rule: str


@dataclass(frozen=True)
class Tail:
    """The end of one log of one side."""

    title: str
    about: str
    text: str


@dataclass(frozen=True)
class Exhibit:
    """What of a bundle is shown; `omitted` counts the differences left out, `note` says why there is nothing."""

    rerun: str = ""
    differences: tuple[Difference, ...] = ()
    omitted: int = 0
    timeline: Timeline | None = None
    plot: TimerPlot | None = None
    tails: tuple[Tail, ...] = ()
    note: str = ""


def read_exhibit(out: Path, case: Case) -> Exhibit:
    """Read what the bundle of a case that has one shows best; where it is absent or damaged, the exhibit says so."""
    assert case.bundle is not None
    folder = out / case.bundle
    try:
        record = results.typed({"case.json": results.read_json(folder / "case.json")}, "case.json", dict, case.bundle)
        rows = [DifferenceRow(**row) for row in record["differences"]]
        steps = [Step(float(step["at"]), str(step["side"]), str(step["kind"]), str(step["text"])) for step in record["steps"]]
        consoles = {str(side["name"]): _console(folder, side) for side in record["sides"]}
        return Exhibit(
            rerun=str(record["rerun"]),
            differences=tuple(_in_words(row) for row in rows[:ROWS]),
            omitted=len(rows[ROWS:]),
            timeline=timeline(steps, consoles),
            plot=timer_plot(lanes(consoles)),
            tails=_tails(folder, record["sides"]),
        )
    except (HarnessError, OSError, KeyError, TypeError, ValueError) as error:
        reason = error.what if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        return Exhibit(note=f"The bundle cannot be shown: case.json or a file that it names is damaged ({reason}).")


def _console(folder: Path, side: dict[str, object]) -> str:
    """Return the beginning of what a machine's guest wrote."""
    with (_place(folder, side) / "console.log").open("rb") as file:
        return file.read(CONSOLE).decode("utf-8", "replace")


def _place(folder: Path, side: dict[str, object]) -> Path:
    return folder / "sides" / Path(str(side["folder"])).name


def _in_words(row: DifferenceRow) -> Difference:
    cpu, _, register = row.name.rpartition("/")
    name = f"{register}.{row.field}" if row.field else register
    where = f" on {cpu}" if cpu.startswith("cpu") else f" of {cpu}" if cpu else ""
    if row.before == "absent":
        words = f"{name}{where} was not there before, and is {row.after}"
    elif row.after == "absent":
        words = f"{name}{where} was {row.before}, and is not there any more"
    else:
        words = f"{name}{where} was {row.before} and is {row.after}"
    return Difference(words, sysregs.meaning_of(register, row.field).words if row.field else "", row.rule)


def _tails(folder: Path, sides: Sequence[dict[str, object]]) -> tuple[Tail, ...]:
    tails = []
    for side in sides:
        place = _place(folder, side)
        status = "exit status not known" if side["exit_status"] is None else f"exit status {side['exit_status']}"
        about = f"QEMU {side['qemu_version'] or 'of unknown version'}, {status}"
        for what, file in (("console", "console.log"), ("error output", "stderr.log")):
            text = _end(place / file)
            if what == "console" or text:
                tails.append(Tail(f"{side['name']}: {what}", about, text))
    return tuple(tails)


def _end(path: Path) -> str:
    """Return the last `TAIL` characters, whole lines where there are any."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - TAIL))
        text = file.read().decode("utf-8", "replace")
    if size <= TAIL:
        return text
    return f"[{size - TAIL} bytes before]\n" + (text.partition("\n")[2] or text)
