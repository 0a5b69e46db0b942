"""`python -m bench [--quick]`: the performance figures, each beside its floor, in out/bench.json and as a table.

Exits with 1 if anything is left over, 2 if something could not be measured. There are no thresholds: figures are judged where
they were taken, as ratios.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from bench import kvm, lab, leftovers, sessions, streams, throughput
from harness.assets import qemu as assets_qemu
from harness.errors import HarnessError

OUT = Path("out") / "bench.json"
PARTS = ("file", "workers", "throughput", "streams", "kvm", "lab")
QUICK = ["scenarios/timers", "--lifecycle", "file", "--lifecycle", "pause"]
WHOLE = ["scenarios/timers"]


@click.command()
@click.option("--quick", is_flag=True, help="A fifth of the repeats, and two lifecycles only.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Only this part; may repeat.")
def main(*, quick: bool, only: tuple[str, ...]) -> None:
    """Measure, print, and write out/bench.json."""
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        temporary, scratch = Path(place) / "tmp", Path(place) / "scratch"
        for folder in (temporary, scratch):
            folder.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        os.environ.pop("XDG_RUNTIME_DIR", None)  # the harness would prefer it to TMPDIR
        try:
            figures = _measure(scratch, quick=quick, only=only)
        except (HarnessError, RuntimeError) as error:
            click.echo(f"bench: {error}", err=True)
            sys.exit(2)
        left = leftovers.count(temporary)
        shutil.rmtree(temporary)
    figures["left_over"] = left
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    _show(figures)
    click.echo(f"figures: {OUT}")
    sys.exit(1 if any(left.values()) else 0)


def _measure(scratch: Path, *, quick: bool, only: tuple[str, ...]) -> dict[str, Mapping[str, object]]:
    wanted = only or PARTS
    figures: dict[str, Mapping[str, object]] = {"where": _where()}
    if "file" in wanted:
        figures["file_lifecycle"] = sessions.file_case(scratch, 20 if quick else 100)
    if "workers" in wanted:
        figures["workers"] = sessions.workers(scratch, QUICK if quick else WHOLE, 1)
        figures["workers_floor"] = sessions.floor_loops(20 if quick else 100, 2)
    if "throughput" in wanted:
        figures["decode_and_diff"] = throughput.measure(20 if quick else 200)
    if "streams" in wanted:
        figures["show_and_diff"] = streams.measure(128 if quick else 1024)
    if "kvm" in wanted:
        figures["save_and_restore"] = kvm.measure(5 if quick else 30)
    if "lab" in wanted:
        figures["lab"] = lab.cold_and_warm(2 if quick else 7)
        figures["labs_in_a_row"] = lab.in_a_row(10 if quick else 100)
    return figures


def _where() -> dict[str, object]:
    return {"qemu": assets_qemu.resolve(None).version_text, "cores": len(os.sched_getaffinity(0)), "load": os.getloadavg()[0]}


def _show(figures: Mapping[str, Mapping[str, object]]) -> None:
    table = Table("what", "figure", "value", title="bench")
    for part, values in figures.items():
        for name, value in values.items():
            table.add_row(part, name, f"{value:.2f}" if isinstance(value, float) else str(value))
            part = ""  # noqa: PLW2901  # named once
        table.add_section()
    Console().print(table)


if __name__ == "__main__":
    main()
