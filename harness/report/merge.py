"""`harness report --merge`: the results of shards as those of one run. What no shard has is missing, never passed."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import Suspect, UsageError, Verdict
from harness.report import bundle, journal, measured
from harness.report.files import replaced_directory
from harness.report.model import BROKEN, Case, Provenance, Run, lost
from harness.report.repeats import base
from harness.report.shards import Dealt, agreed

_WORST = (*BROKEN, Verdict.KNOWN, Verdict.BLOCKED, Verdict.SKIP, Verdict.PASS)


def merge(shards: Sequence[Path], out: Path, expected: Iterable[str] = ()) -> Run:
    """Return one run of all shards, and copy their bundles and measurements to `out`.

    Shards of `--shard` know of each other: the cases of one that never came are missing. Any other that has left nothing is an
    error of its own: nobody knows which cases were its. `expected` are the node ids of all cases; those that no shard has are
    missing. Of a case that two shards have, the one with the worse end is kept. Raises UsageError where a shard is damaged, or
    they were not dealt in the same way, OSError.
    """
    runs: dict[Path, Run] = {}
    silent = []
    for shard in shards:
        if shard.resolve() == out.resolve():
            raise UsageError("a shard, and where the merged results are to go", where=str(out), remedy="name another --out")
        if holds_results(shard):
            runs[shard] = journal.read(shard)
        else:
            silent.append(shard)
    if not runs:
        raise UsageError("none of them holds results", where=", ".join(map(str, shards)))
    chosen: dict[str, tuple[Path, Case]] = {}
    for shard, run in runs.items():
        for case in run.cases:
            kept = chosen.get(case.id)
            if kept is None or _worse(case, kept[1]):
                chosen[case.id] = (shard, case)
    cases = list(_with_bundles(out, chosen.values()))
    measured.write(out, {node: found for shard in runs for node, found in measured.read(shard).items()})
    dealt = agreed(shards)
    if dealt:
        cases += _never_came(dealt, [case.id for case in cases])
    else:
        cases += [_of_silent(shard) for shard in silent]
    platform = cases[0].platform if cases else "not known"
    had = {case.id for case in cases}
    absent = [journal.skeleton(node, platform) for node in dict.fromkeys(expected) if node not in had]
    cases += [lost(case, "no shard has results of it") for case in absent]
    started = min(run.started for run in runs.values())
    provenance = _combined([run.provenance for run in runs.values()])
    return Run(started, max(run.seconds for run in runs.values()), provenance, tuple(cases))


def _never_came(dealt: Dealt, had: Collection[str]) -> list[Case]:
    """Return as missing every case that was dealt to a shard and that none has; the tries of one case as one."""
    absent = {base(case.id): (case, hand) for case, hand in zip(dealt.cases, dealt.hands, strict=True)}
    return [
        lost(replace(case, id=node), f"shard {hand}/{dealt.shard.of} never came")
        for node, (case, hand) in absent.items()
        if node not in had
    ]


def holds_results(shard: Path) -> bool:
    """Say whether a shard has left anything that tells of cases, if only which it had planned."""
    return any((shard / name).exists() for name in ("results.json", journal.NAME, journal.PLANNED))


def _worse(case: Case, other: Case) -> bool:
    """Say whether a case ended worse; one that has an end at all beats one that is missing."""
    if case.missing or other.missing:
        return other.missing and not case.missing
    return _WORST.index(case.verdict) < _WORST.index(other.verdict)


def _of_silent(shard: Path) -> Case:
    name = shard.name or str(shard)
    case = Case(f"shard::{name}", "shard", "not known", "not known", {}, Verdict.ERROR, Suspect.HOST)
    return lost(case, f"shard {name} has left no results; which cases were its is not known")


def _with_bundles(out: Path, chosen: Iterable[tuple[Path, Case]]) -> Iterator[Case]:
    """Copy the bundles of the chosen cases; give the cases, without a bundle where the shard has lost it."""
    with replaced_directory(out / bundle.FOLDER) as folder:
        for shard, case in chosen:
            if case.bundle and (shard / case.bundle).is_dir():
                shutil.copytree(shard / case.bundle, folder / Path(case.bundle).name, dirs_exist_ok=True)
                yield case
            else:
                yield replace(case, bundle=None)


def _combined(all_of_them: Sequence[Provenance]) -> dict[str, object]:
    """Return what is said alike once, and what is not with all that was said."""
    combined: dict[str, object] = {}
    for name in dict.fromkeys(name for each in all_of_them for name in each):
        values = [each[name] for each in all_of_them if name in each]
        nested = [value for value in values if isinstance(value, Mapping)]
        if len(nested) == len(values):
            combined[name] = _combined(nested)
        else:
            said = list(dict.fromkeys(map(str, values)))
            combined[name] = values[0] if len(said) == 1 else "; ".join(said)
    return combined
