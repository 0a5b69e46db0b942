"""From how a case ended to its verdict and its one sentence. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Any

from harness.errors import HarnessError, MissingError, Suspect, UsageError, Verdict
from harness.report import journal
from harness.report.model import Case, Compared

_LEVELS = {
    "el1": ("at EL1", {"el": 1}),
    "nvhe": ("at EL2 with E2H=0", {"el": 2, "e2h": 0}),
    "vhe": ("at EL2 with E2H=1", {"el": 2, "e2h": 1}),
}
_LAB = ("lab_kernel", "lab_cpu", "lab_qemu")
_SAID = ("lifecycle", "level", "cpu", "vcpus", *_LAB, *(f"dst_{name}" for name in _LAB))
LEVELS = tuple(_LEVELS)
"""What a guest is entered at, and at EL2 the value of HCR_EL2.E2H that it runs with."""


def check_repeats(repeat: int, require: int | None) -> None:
    """Refuse a number of tries that cannot be meant. Raises UsageError."""
    if repeat < 1:
        raise UsageError("each case is tried at least once", where=f"--repeat {repeat}")
    if require is not None and not 1 <= require <= repeat:
        raise UsageError(f"of {repeat} tries", where=f"--require {require}", remedy=f"say 1 to {repeat}, or --repeat more")


def subject_params(params: Mapping[str, Any]) -> dict[str, str | int]:
    """Return a case's parameters as results.json has them: the level as `el` and `e2h`, the lifecycle apart."""
    reported = {name: value for name, value in params.items() if name not in ("lifecycle", "level")}
    return reported | _LEVELS[params["level"]][1] if "level" in params else reported


def circumstances(params: Mapping[str, Any]) -> str:
    """Return what every failure's sentence begins with: timer and instant, level, CPU, lifecycle."""
    own = [str(value) for name, value in params.items() if name not in _SAID]
    level = _LEVELS[params["level"]][0] if "level" in params else ""
    cpu = f"on {params['cpu']}" if "cpu" in params else ""
    vcpus = f"with {params['vcpus']} vCPU{'s' if params['vcpus'] != 1 else ''}" if "vcpus" in params else ""
    labs = (("in the lab", ""), ("to the lab", "dst_"))
    where = [" ".join([words, *named]) for words, side in labs if (named := _named(params, side))]
    return " ".join(filter(None, [*own, level, cpu, vcpus, f"through {params['lifecycle']}", *where]))


def _named(params: Mapping[str, Any], side: str) -> list[str]:
    """Return what the user named of the lab of a side."""
    return [str(params[f"{side}{name}"]) for name in _LAB if f"{side}{name}" in params]


def finding(error: BaseException | None, platform: str) -> tuple[Verdict, Suspect | None, str]:
    """Return verdict, suspect, and in words what went wrong, without the case's circumstances; arguments as of `conclude`."""
    if error is None:
        return Verdict.PASS, None, ""
    if isinstance(error, HarnessError):
        return error.verdict, error.suspect, str(error)
    if isinstance(error, AssertionError) and str(error):
        # A scenario's own `assert`: pytest has put both sides into words. One without words is a library's.
        # It is about what a guest or a vCPU saw: about whoever emulates its CPU.
        return Verdict.FAIL, Suspect.QEMU if platform == "tcg" else Suspect.KERNEL_L0, str(error).partition("\n")[0]
    # Not one of ours: the harness broke, or the outer time limit fired.
    return Verdict.ERROR, Suspect.HARNESS, f"{type(error).__name__}: {error}"


def uncollected(node: str, platform: str, error: BaseException) -> Case:
    """Return the error that stands for cases of which nobody knows: where pytest found `error` in place of them."""
    meant = isinstance(error, UsageError | MissingError)
    suspect = Suspect.CONFIGURATION if meant else Suspect.HARNESS
    words = str(error) if meant else f"{type(error).__name__}: {error}".partition("\n")[0]
    case = journal.skeleton(node, platform)
    message = f"{case.subject}: {PurePath(node).name} cannot be collected: {words}; suspect {suspect}"
    return replace(case, suspect=suspect, message=message)


def conclude(
    node: str,
    subject: str,
    platform: str,
    params: Mapping[str, Any],
    error: BaseException | None,
    *,
    seconds: float,
    compared: Compared,
) -> Case:
    """Return the case with its verdict; `error` is what ended it, None where nothing did."""
    verdict, suspect, message = finding(error, platform)
    if verdict in (Verdict.FAIL, Verdict.ERROR):
        message = f"{subject}: {circumstances(params)}: {message}; suspect {suspect}"
    return Case(
        id=node,
        subject=subject,
        platform=platform,
        lifecycle=params["lifecycle"],
        params=subject_params(params),
        verdict=verdict,
        suspect=suspect if verdict in (Verdict.FAIL, Verdict.ERROR, Verdict.BLOCKED) else None,
        seconds=round(seconds, 4),
        message=message,
        compared=compared,
    )
