"""What a case needs to be tried again, and whether it is here; what the user names in place of it is not asked for.

A QEMU that runs on this computer, or on one of the inventory, is a program, and none that a bundle names is started: it has to
be a suite's that was set up, the one that is used there anyway, or one that the user names. A kernel and the QEMU of a lab run
inside an emulated computer; they are taken from where they were, or out of the cache, where their content is the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.assets import lab_parts as parts
from harness.assets.debian import SUITES
from harness.errors import HarnessError, MissingError, UsageError
from harness.report.privacy import HOME
from harness.rerun import inputs
from harness.rerun.inputs import Input
from harness.rerun.opened import Opened
from harness.rerun.plan import Plan

_PROGRAMS = ("qemu", "dst_qemu")
_WORDS = {"qemu": "QEMU", "lab_kernel": "kernel of the lab", "lab_qemu": "QEMU inside the lab"}


class Cannot(HarnessError):
    """The case cannot be tried here; the text says what it needs."""


@dataclass(frozen=True)
class Settled:
    """A plan with options that mean something here, and what is not as it was in the bundle, in words."""

    plan: Plan
    notes: tuple[str, ...]


def settle(opened: Opened, named: Mapping[str, str], root: Path) -> Settled:
    """Return the plan for here. `named` are the user's options, in place of the bundle's; `root` is where scenarios are.

    Raises Cannot, UsageError for options of the user's that cannot be meant.
    """
    scenario = root / opened.plan.path
    if not scenario.is_file() or not scenario.resolve().is_relative_to(root.resolve()):
        raise Cannot(f"needs the scenario {opened.plan.test} ({_of_harness(opened)})", where=str(root))
    options = _chosen(opened, named)
    if "hosts" not in named:
        options.pop("hosts", None)
    gone = _not_started(options, named)
    for name, needed in opened.inputs.items():
        if name not in named and name.removeprefix("dst_") in _inputs_of(options["platform"]):
            _find(name, needed, options)
            gone.pop(name, None)
    notes = [
        *_replaced(opened, options, named),
        *(f"{_in_words(name)} is not {it}, which only the bundle names; {_remedy(name)}" for name, it in gone.items()),
        *(
            f"{_in_words(name)} may be another: the bundle does not say what it had"
            for name in _not_told(opened, options)
            if name not in {*named, *gone}
        ),
        *(f"{name} here is another: {_of_harness(opened)}" for name in _others(opened, scenario)),
    ]
    return Settled(replace(opened.plan, options=options), tuple(notes))


def _inputs_of(platform: str) -> tuple[str, ...]:
    lab = ("lab_kernel", "lab_qemu") if platform == "lab" else ()
    return ("qemu", *lab) if platform in inputs.HERE else ()


def _chosen(opened: Opened, named: Mapping[str, str]) -> dict[str, str]:
    """Return the options: the bundle's, or the user's; of a bundle's platform that was replaced nothing but its QEMUs stay."""
    platform = named.get("platform", opened.plan.platform)
    # As harness/report/privacy.py wrote them.
    kept = {name: value.replace(HOME, str(Path.home()), 1) for name, value in opened.plan.options.items()}
    if platform != "lab":
        kept = {name: value for name, value in kept.items() if "lab_" not in name}
    if "lab_kernel" in named:
        kept.pop("lab_modules", None)  # they are the other kernel's
    if "dst_lab_kernel" in named:
        kept.pop("dst_lab_modules", None)
    if platform != opened.plan.platform and not {platform, opened.plan.platform} <= {*inputs.HERE}:
        kept = {}  # another computer has others
    return {**kept, **named, "platform": platform}


def _find(name: str, needed: Input, options: dict[str, str]) -> None:
    """Have an option name what the bundle had. Raises Cannot."""
    option = f"--{name.replace('_', '-')}"
    if needed.origin.removeprefix("Debian ") in SUITES:
        suite = needed.origin.removeprefix("Debian ")
        options[name] = suite
        remedy = f"`harness setup {option.replace('--dst-', '--')} {suite}` gets it, {option} FILE|SUITE tries another"
    elif name.endswith(("lab_kernel", "lab_qemu")):
        options[name], remedy = _file(name, needed, options), _remedy(name)
    else:
        if name == "dst_qemu":
            options[name] = _used_here()  # without one it would be the source's
        remedy = f"{option} PATH|SUITE names it, or another"
    try:
        here = _here(name, options)
    except (UsageError, MissingError) as error:
        raise Cannot(f"needs {needed}: {error.what}", remedy=remedy) from error
    if not here.same_as(needed):
        raise Cannot(f"needs {needed}; here is {here.version} (SHA-256 {here.sha256[:16]}…)", remedy=remedy)


def _used_here() -> str:
    """Return what names the QEMU that is used here anyway."""
    origin = inputs.qemu(None).origin
    return "qemu-system-aarch64" if origin == "system" else origin.removeprefix("Debian ")


def _here(name: str, options: Mapping[str, str]) -> Input:
    if name in ("qemu", "dst_qemu"):
        return inputs.qemu(options.get(name))
    prefix = "dst_" if name.startswith("dst_") else ""
    if name.endswith("lab_kernel"):
        return inputs.lab_kernel(options.get(name), options.get(f"{prefix}lab_modules"))
    return inputs.lab_qemu(options.get(name))


def _file(name: str, needed: Input, options: Mapping[str, str]) -> str:
    """Return a file with the content that is needed: where the bundle had it, or one in the cache. Raises Cannot."""
    # Pytest runs elsewhere.
    candidates = [str(Path(options[name]).absolute())] if name in options else []
    if name.endswith("lab_kernel"):
        candidates += [str(parts.tree(place) / "Image") for place in parts.kept("kernel")]
    for candidate in candidates:
        with suppress(UsageError, MissingError, OSError):
            if _here(name, {**options, name: candidate}).same_as(needed):
                return candidate
    raise Cannot(f"needs {needed}", remedy=_remedy(name))


def _remedy(name: str) -> str:
    return f"--{name.replace('_', '-')} FILE names it, or another"


def _replaced(opened: Opened, options: Mapping[str, str], named: Mapping[str, str]) -> list[str]:
    """Say in words which inputs are others, for the user named them."""
    notes = []
    for name, needed in opened.inputs.items():
        if name in named and name.removeprefix("dst_") in _inputs_of(options["platform"]):
            here = _here(name, options)
            if not here.same_as(needed):
                notes.append(f"{here.what} is {here.version} (SHA-256 {here.sha256[:16]}…), not {needed.version}")
    return notes


def _not_started(options: dict[str, str], named: Mapping[str, str]) -> dict[str, str]:
    """Take the programs that nobody but the bundle names out of the options, and return them."""
    suites = SUITES if options["platform"] in inputs.HERE else ()
    theirs = [name for name in _PROGRAMS if name in options and name not in named and options[name] not in suites]
    return {name: options.pop(name) for name in theirs}


def _not_told(opened: Opened, options: Mapping[str, str]) -> list[str]:
    """Return the inputs of which the bundle does not say what they were; of a lab that it did not have, none."""
    names = [name for name in _inputs_of(options["platform"]) if name == "qemu" or opened.plan.platform == "lab"]
    names += [there for name in names if (there := f"dst_{name}") in options]
    return [name for name in names if name not in opened.inputs]


def _in_words(name: str) -> str:
    where = "the destination's" if name.startswith("dst_") else "the"
    return f"{where} {_WORDS[name.removeprefix('dst_')]}"


def _others(opened: Opened, scenario: Path) -> list[str]:
    here = inputs.sources(scenario)
    names = {inputs.SCENARIO: "the scenario", inputs.GUESTS: "the guests' build"}
    return [words for name, words in names.items() if opened.sources.get(name) != here[name]]


def _of_harness(opened: Opened) -> str:
    return f"the bundle is of harness {opened.harness or 'unknown'}"
