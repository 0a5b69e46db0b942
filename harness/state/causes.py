"""Why a transfer failed, from what both sides said: one of a closed list of causes, and the culprit's name.

QEMU spreads the reason over two processes, and mostly keeps it to the standard error of the one that ends: the source says
"Sibling indicated error 1", or that it completed. What it says changes with its versions: tests/state/causes.toml has the
texts of 7.2.22, 10.0.13 and 11.1.3 that the signs below were made for. A text that no sign fits is `unknown`, and never
guessed at.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from harness.state import kvm_ids, sysregs
from harness.state.model import State


class Cause(StrEnum):
    """The closed list."""

    REGISTER_MISSING = "register missing"
    REGISTER_REFUSED = "register refused"
    DEVICE_SECTION = "device section"
    RAM_BLOCK = "RAM block"
    SIZE = "size"
    MACHINE_TYPE = "machine type"
    VERSION = "version"
    CAPABILITY = "capability"
    STREAM_BROKEN = "stream broken"
    CONNECTION = "connection"
    BLOCKED = "blocked"
    TIMEOUT = "timeout"
    CRASH = "crash"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Said:
    """What one side said for itself, and how it ended: query-migrate's status and error-desc, all of its standard error."""

    side: str
    status: str = ""
    error: str = ""
    stderr: str = ""
    exit_status: int | None = None

    @property
    def text(self) -> str:
        """All words, warnings left out: QEMU goes on after those."""
        lines = [line.removeprefix("qemu-system-aarch64: ") for line in (*self.stderr.splitlines(), self.error)]
        return sysregs.named("\n".join(line for line in lines if line and not line.startswith("warning: ")))


@dataclass(frozen=True)
class Finding:
    """A cause and who is to blame for it, by QEMU's or the architecture's name; `text` are the words, of what is unknown.

    `side` is whose words, or whose end, told of it; empty where it was neither's alone.
    """

    cause: Cause
    culprit: str = ""
    text: str = ""
    side: str = field(default="", compare=False)

    def __str__(self) -> str:
        """Return it as the beginning of a sentence."""
        if self.cause is Cause.UNKNOWN:
            return "unknown cause"
        return f"{self.cause}, {self.culprit}" if self.culprit else str(self.cause)


@dataclass(frozen=True)
class _Sign:
    """Words that tell a cause. Groups of the pattern are the culprit, each match of it one; `culprit` where there are none."""

    cause: Cause
    pattern: str
    culprit: str = ""


_DEVICE = r"error while loading state for instance 0x[0-9a-f]+ of device '([^']+)'"

# The most telling first: a later sign is often the consequence of an earlier one, on the same side or on the other.
_SIGNS = (
    _Sign(Cause.MACHINE_TYPE, r"Machine type received is '([^']+)' and local is '([^']+)'"),
    _Sign(Cause.CAPABILITY, r"Capability (\S+) is (?:on|off), but received capability is (?:on|off)"),
    _Sign(Cause.CAPABILITY, r"Migration requires seekable transport", "mapped-ram"),
    _Sign(Cause.CAPABILITY, r"Migration requires multi-channel URIs", "multifd"),
    _Sign(Cause.CAPABILITY, r"Extra incoming migration connection; ignoring", "multifd"),
    _Sign(Cause.CAPABILITY, r"RAM postcopy is disabled but have", "postcopy-ram"),
    _Sign(Cause.BLOCKED, r"non-migratable device:? '?([^'\n]+)"),
    _Sign(Cause.BLOCKED, r"[Mm]igration disabled because (.*)"),
    _Sign(Cause.RAM_BLOCK, r'Unknown ramblock "([^"]+)"'),
    _Sign(Cause.SIZE, r"Size mismatch: (\S+): 0x"),
    _Sign(Cause.SIZE, r"Received (TARGET_PAGE_BITS) is \d+ but local is"),
    _Sign(Cause.SIZE, r"Mismatched (RAM page size)"),
    _Sign(Cause.VERSION, r"unsupported version -?\d+ for '([^']+)' v\d+"),
    _Sign(Cause.VERSION, r"(\S+): incoming version_id \d+ is too (?:old|new) for local"),
    _Sign(Cause.VERSION, r"(Unsupported migration stream version)"),
    _Sign(Cause.REGISTER_MISSING, r"only_in_incoming_stream: (.+?) \((?:S\d[\d_]*|0x\w+)\) in the incoming stream but unknown"),
    _Sign(Cause.REGISTER_MISSING, r"Invalid value \d+ expecting positive value <= \d+\n[^\n]*cpu:cpreg_vmstate_array_len"),
    _Sign(Cause.REGISTER_REFUSED, r"Could not set register (fw reg \d+|\w+)[^\n]* to [0-9a-f]+ \(is"),
    _Sign(Cause.REGISTER_REFUSED, r"Failed to put registers after init: Invalid argument"),
    _Sign(Cause.STREAM_BROKEN, r"(Not a migration stream)"),
    _Sign(Cause.STREAM_BROKEN, r"Mismatched section id in footer for (\S+)"),
    _Sign(Cause.STREAM_BROKEN, r"Missing section footer for (ram)\b"),
    _Sign(Cause.STREAM_BROKEN, r"bad migration stream|Illegal RAM offset|unexpected compressed page", "ram"),
    _Sign(Cause.STREAM_BROKEN, r"Unknown (?:savevm )?(section type \d+)"),
    _Sign(Cause.STREAM_BROKEN, r"(Configuration section missing)"),
    _Sign(Cause.DEVICE_SECTION, r"Unknown (?:savevm )?section or instance '([^']+)'"),
    _Sign(Cause.DEVICE_SECTION, r"VM subsection '([^']+)' in '[^']+' does not exist"),
    _Sign(Cause.DEVICE_SECTION, r"Missing section footer for (\S+)"),
    _Sign(Cause.DEVICE_SECTION, _DEVICE + r"(?![^\n]*stream error)(?!\n[^\n]*load of migration failed: Input/output error)"),
)
# That no more came, which is the stream's fault where it is a file, and the connection's where it had one.
_ENDED = re.compile(r"stream error: -5|(?:ID|footer failed): -5|load of migration failed: Input/output error")
_DISCONNECTED = re.compile(r"Unable to (?:read from|write to) [^\n]*|Failed to connect to [^\n]*|Channel error: [^\n]*")
_ASSERTION = re.compile(r"(\w+): Assertion [`'].*' failed")
# Of a new machine: registers whose value is the CPU's. A destination under TCG takes no other value for them, because writing
# has no effect (write_list_to_cpustate in target/arm/helper.c).
_FIXED = re.compile(r"ID_\w+|PMCEID\d_EL0|PMCR_EL0|MVFR\d_EL1|CLIDR_EL1|CTR_EL0|GMID_EL1|SMIDR_EL1|0x603000000014\w+")
# Of the first vCPU, in a stream's view: system registers by name, by encoding, AArch32's, and KVM's firmware registers.
_REGISTER = re.compile(r"cpu0/([A-Z][A-Z0-9_]+_EL[0-3]\w*|S\d_\d_C\d+_C\d+_\d|cp1[45] .+|0x[0-9a-f]{16})")
_CPU = re.compile(r"cpu(?:#\d+)?")
_MANY = 4


def classify(source: Said | None, destination: Said | None, before: State | None = None, there: State | None = None) -> Finding:
    """Return why a guest did not get from one side to the other; a side that there is not is None.

    `before` and `there` are what new machines of the two sides have, from their streams: they name the registers where QEMU
    does not. The destination's words count before the source's, which knows less.
    """
    sides = [side for side in (destination, source) if side is not None]
    finding = next(_crashes(sides), None) or next(_signs(sides), None) or _lost(source, destination)
    if finding is None:
        return Finding(Cause.UNKNOWN, text="; ".join(line for side in sides for line in side.text.splitlines()))
    nameless = finding.cause in (Cause.REGISTER_MISSING, Cause.REGISTER_REFUSED) and not finding.culprit
    vague = finding.cause is Cause.DEVICE_SECTION and _CPU.fullmatch(finding.culprit)
    if before is not None and there is not None and (nameless or vague):
        by_states = _by_states(before, there)
        return replace(by_states, side=finding.side) if by_states else finding
    return finding


def _crashes(sides: Sequence[Said]) -> Iterator[Finding]:
    """Yield who ended by a signal or an assertion, and by which."""
    for side in sides:
        if side.exit_status is not None and side.exit_status < 0:
            match = _ASSERTION.search(side.text)
            how = match[1] if match else signal.Signals(-side.exit_status).name
            yield Finding(Cause.CRASH, f"{side.side} ({how})", side=side.side)


def _signs(sides: Sequence[Said]) -> Iterator[Finding]:
    for sign in _SIGNS:
        for side in sides:
            if matches := list(re.finditer(sign.pattern, side.text)):
                culprits = [sign.culprit or " -> ".join(filter(None, match.groups())) for match in matches]
                yield Finding(sign.cause, _listed(culprits), side=side.side)


def _lost(source: Said | None, destination: Said | None) -> Finding | None:
    """Tell by whose words the stream just ended; None where the destination has other words, which nobody knows."""
    theirs = destination.text if destination else ""
    if theirs and not _ENDED.search(theirs):
        return None
    if source is not None and source.status == "cancelled":
        return Finding(Cause.CONNECTION, "cancelled by the source")
    if source is not None and (match := _DISCONNECTED.search(source.text)):
        return Finding(Cause.CONNECTION, match[0])
    if source is not None or not theirs:
        return None
    device = re.search(_DEVICE, theirs)
    return Finding(Cause.STREAM_BROKEN, device[1] if device else "it ends too early")


def _by_states(before: State, there: State) -> Finding | None:
    """Tell by two new machines what a CPU's section was refused for; None where they are alike in all that may be refused."""
    ours, theirs = _registers(before), _registers(there)
    if missing := [name for name in ours if name not in theirs]:
        return Finding(Cause.REGISTER_MISSING, _listed(map(kvm_ids.in_words, missing)))
    fixed = [name for name in ours if _FIXED.fullmatch(name) and ours[name] != theirs[name]]
    return Finding(Cause.REGISTER_REFUSED, _listed(map(kvm_ids.in_words, fixed))) if fixed else None


def _registers(state: State) -> dict[str, object]:
    """Return the system registers of the first vCPU, in the stream's order."""
    return {match[1]: value for name, value in state.registers.items() if (match := _REGISTER.fullmatch(name))}


def _listed(names: Iterable[str]) -> str:
    """Return the first few names, each once and AArch32's last, and how many more there are."""
    distinct = sorted(dict.fromkeys(names), key=lambda name: name.startswith("cp1"))
    more = f" and {len(distinct) - _MANY} more" if len(distinct) > _MANY else ""
    return ", ".join(distinct[:_MANY]) + more
