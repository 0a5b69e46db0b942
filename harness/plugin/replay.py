"""A case that is run again as a bundle says (`--replay FILE`), and what a bundle says so that it can be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from harness.errors import HarnessError, UsageError
from harness.lifecycle import LIFECYCLES
from harness.plugin.matrix import Matrix, Params
from harness.plugin.platforms import UNDER_KVM, Option
from harness.plugin.trial import Trial
from harness.plugin.verdicts import finding
from harness.rerun import inputs
from harness.rerun.failure import Failure
from harness.rerun.plan import LAB, OPTIONS, Changes, Order, Plan

# Options that are parameters of cases, for they may repeat.
_VARIED = tuple(f"{side}{name}" for side in ("", "dst_") for name in LAB if name != "lab_modules")


def cases(
    order: Order, everywhere: Matrix, there: Matrix, variants: list[dict[str, str]], platform: str
) -> list[tuple[Params, str]]:
    """Return the cases of an order with their ids: one for each run. `there` is the matrix as the platform has it.

    Where there is one CPU only, as under KVM, it takes the place of the one that was. Raises UsageError where no such case is.
    """
    given, where = order.plan.params, "--replay"
    if given.keys() != there.factors.keys():
        ours = ", ".join(there.factors)
        raise UsageError(f"the scenario has the parameters {ours}, not {', '.join(given)}", where=where)
    only = {name: [value] for name, value in given.items()}
    for name, values in there.factors.items():
        if given[name] not in values:
            if name not in UNDER_KVM or len(values) != 1 or given[name] not in everywhere.factors[name]:
                raise UsageError(f"there is no {name} {given[name]} on {platform}", where=where)
            only[name] = list(values)
    rows = there.rows(everything=True, only=only)
    if len(rows) != 1 or len(variants) != 1:
        raise UsageError(f"there is no such case on {platform}", where=where)
    case = Params(order.plan.changes.of_case({**variants[0], **rows[0]}))
    if case["lifecycle"] not in LIFECYCLES:
        raise UsageError(f"there is no lifecycle {case['lifecycle']}", where=where)
    many = order.runs > 1
    return [(case, f"{platform}-{case.id}" + f"-run{number}" * many) for number in range(1, order.runs + 1)]


def changes_of(order: Order | None) -> Changes:
    """Return what is to be otherwise than the scenario has it."""
    return order.plan.changes if order else Changes()


class Records:
    """What `harness repro` needs to know of a case, for its bundle. Inputs are looked at once for each choice of them."""

    def __init__(self, option: Option) -> None:
        self._option = option
        self._inputs: dict[tuple[tuple[str, str], ...], Mapping[str, object]] = {}

    def of(self, node: str, path: Path, trial: Trial, error: BaseException | None, order: Order | None) -> Mapping[str, object]:
        """Return plan, failure, whether there was a place to run it, inputs, sources and the payload's arguments as data."""
        params = trial.params
        options = self._options_of(params)
        test = node.partition("[")[0]
        if order:
            old, changed = order.plan, order.plan.changes.params
            own = {name: value if name in changed else params[name] for name, value in old.params.items()}
            plan = Plan(test, own, options, old.changes, old.dropped)
        else:
            plan = Plan(test, {name: value for name, value in params.items() if name not in _VARIED}, options)
        return {
            "plan": plan.to_data(),
            "failure": Failure(*finding(error, self._option("--platform"))).to_data(),
            "began": bool(trial.qemu_version),
            "inputs": self._inputs_of(options),
            "sources": inputs.sources(path),
            "arguments": dict(trial.guests[0].arguments) if trial.guests else {},
        }

    def _options_of(self, params: Mapping[str, Any]) -> dict[str, str]:
        """Return the options that a case ran with: a lab's may have been several, and those of its parameters are its own."""
        options = {}
        for name in OPTIONS:
            value = self._option(f"--{name.replace('_', '-')}")
            value = params.get(name) if name in _VARIED else value[0] if isinstance(value, list) and value else value
            if value:
                options[name] = str(value)
        return options

    def _inputs_of(self, options: Mapping[str, str]) -> Mapping[str, object]:
        key = tuple(sorted(options.items()))
        if key not in self._inputs:
            try:
                self._inputs[key] = inputs.to_data(inputs.of(options))
            except (HarnessError, OSError):  # gone since: then nobody can say what it was
                self._inputs[key] = {}
        return self._inputs[key]
