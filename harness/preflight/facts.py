"""What a host does with the state of a vCPU that comes from elsewhere, found out by asking it; kept as JSON.

    facts = gather(machine)
    save(facts, Path("host.json"))

Which values a register takes is tried, not derived from rules of the kernel: its masks of writable bits do not tell of fields
that are taken without being held, nor of registers that no mask covers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from harness.errors import Unsupported, UsageError
from harness.kvm.machine import KvmMachine
from harness.kvm.registers import name_of_gic
from harness.kvm.sample import LEVELS, Samples, Taken, VcpusRefused
from harness.state.sysregs import Field, fields_of

VERSION = 1
_FORMAT = "armvirt-host-facts"

# ID and cache registers, KVM's pseudo-registers, and how many counters the PMU has: what a kernel may refuse to change. Vector
# lengths have a rule of their own (KVM_SVE_VLS, api.rst: they are settled before the rest can be read).
_JUDGED = re.compile(r"ID_|MVFR|S3_[0-3]_C0_|(CTR|PMCR|DCZID)_EL0|(CLIDR|MIDR|REVIDR|AIDR|SMIDR|GMID)_EL1|KVM_(?!SVE_VLS)")
_WORD = 64
_PARTS: Mapping[str, tuple[Field, ...]] = {"PMCR_EL0": (Field("N", 11, 5),), "CTR_EL0": fields_of("CTR_EL0")}


@dataclass(frozen=True)
class LevelFacts:
    """New vCPUs of one kind: features, registers by name, which other values these take, and the GIC's CPU interface."""

    features: tuple[str, ...]
    registers: Mapping[str, int]
    # Register -> lowest bit of a part of it -> value that is taken -> what comes of it.
    takes: Mapping[str, Mapping[int, Mapping[int, Taken]]]
    interface: Mapping[str, int]


@dataclass(frozen=True)
class HostFacts:
    """One host: its kernel, CNTFRQ_EL0 in Hz, page size in bytes, bits of a guest's physical addresses, and each level."""

    name: str
    kernel: str
    counter_hz: int
    page_size: int
    ipa_bits: int
    offered: Mapping[str, bool]
    # Of each level, vCPUs with all that the host offers, and then those that lack something that another host may not have.
    levels: Mapping[str, Sequence[LevelFacts]] = field(default_factory=dict)


def parts(name: str) -> tuple[Field, ...]:
    """Return the parts of a register that a kernel judges one by one; empty where it takes what it is given."""
    if not _JUDGED.match(name):
        return ()
    return _PARTS.get(name) or tuple(Field(f"[{low + 3}:{low}]", low, 4) for low in range(0, _WORD, 4))


def gather(machine: KvmMachine, levels: Iterable[str] = tuple(LEVELS)) -> HostFacts:
    """Ask the host of a machine that has no guest. Levels that it does not offer are left out.

    Raises as `KvmMachine.execute`.
    """
    host = machine.execute("host")
    samples, found = Samples(machine), {}
    for level in levels:
        try:
            found[level] = tuple(_kind(samples, features) for features in _kinds(samples, level))
        except (Unsupported, VcpusRefused):
            continue
    return HostFacts(
        machine.host.name, host["kernel"], host["counter_hz"], host["page_size"], host["ipa_bits"], host["features"], found
    )


def _kinds(samples: Samples, level: str) -> Iterator[tuple[str, ...]]:
    """Yield sets of features of vCPUs, the whole first. A guest brings its own along, and there is no reason to lack a PMU."""
    whole = samples.kind(level)
    may_lack = [feature for feature in ("sve", "pauth", "mte") if feature in whole]
    for count in range(len(may_lack) + 1):
        for lacking in combinations(may_lack, count):
            yield tuple(feature for feature in whole if feature not in lacking)


def _kind(samples: Samples, features: tuple[str, ...]) -> LevelFacts:
    sample = samples.of(features)
    held = sample.registers()
    takes = sample.takes({name: judged for name in held if (judged := parts(name))})
    interface = {name_of_gic("cpu", at): value for at, value in sample.gic()["cpus"][0].items()}
    return LevelFacts(features, held, takes, interface)


def save(facts: HostFacts, path: Path) -> None:
    """Write facts to a file, whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps({"format": _FORMAT, "version": VERSION, **asdict(facts)}), "ascii")
    part.replace(path)


def load(path: Path) -> HostFacts:
    """Read facts from a file. Raises UsageError where it holds none, or those of another version."""
    remedy = "make one with `harness preflight HOST --save FILE`"
    try:
        data = json.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path), remedy=remedy) from error
    except (ValueError, RecursionError) as error:
        raise UsageError("no facts of a host: it is not JSON", where=str(path), remedy=remedy) from error
    if not isinstance(data, dict) or data.pop("format", None) != _FORMAT:
        raise UsageError("no facts of a host", where=str(path), remedy=remedy)
    if (version := data.pop("version", None)) != VERSION:
        raise UsageError(f"facts of version {version}, not {VERSION}", where=str(path), remedy=remedy)
    try:
        levels = {name: tuple(map(_kind_of, kinds)) for name, kinds in data.pop("levels").items()}
        return HostFacts(**data, levels=levels)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UsageError(f"facts of a host that are damaged ({error})", where=str(path), remedy=remedy) from error


def _kind_of(data: Mapping[str, Any]) -> LevelFacts:
    takes = {
        name: {
            int(lsb): {int(value): Taken(came["held"], tuple(came["gone"])) for value, came in values.items()}
            for lsb, values in taken.items()
        }
        for name, taken in data["takes"].items()
    }
    return LevelFacts(tuple(data["features"]), dict(data["registers"]), takes, dict(data["interface"]))
