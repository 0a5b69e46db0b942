"""Known issues: failures that are expected, on which versions, with which parameters and in which words.

An entry excuses a failure only when version, parameters and the failure's own sentence all agree, so that another fault
in the same place is still seen; and a case that an entry matches must fail, so that the list stays true.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from difflib import get_close_matches
from pathlib import Path

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from harness.errors import Suspect, UsageError, Verdict
from harness.report.model import Case, Scalar
from harness.tables import meant, only

KEYS = (
    *("id", "what", "suspect", "dst_qemu", "dst_kernel", "qemu", "kernel", "seen", "when", "message", "reason", "evidence"),
    *("rate", "expires"),
)
_VERSIONS = ("dst_qemu", "dst_kernel", "qemu", "kernel")
CASE_KEYS = ("subject", "platform", "lifecycle")

VERSION = re.compile(r"(?<![\d.])(\d+\.\d+(?:\.\d+)*)(?:[-~]?rc(\d+))?")
"""The upstream version in what QEMU and Debian say: `11.1.3`, `v11.1.0-rc2`, `1:10.0.2+ds-2~bpo12+1`."""

# What is found beside a failure, at the end of its sentence (harness/plugin/trial.py, `explained`).
_BESIDE = re.compile(r"; (registers differ|a storm of exits): ")


def parse_version(text: str) -> Version:
    """Return QEMU's upstream version from `text`; a release candidate sorts before its release.

    Raises UsageError when there is no version in it.
    """
    found = VERSION.search(text)
    if not found:
        raise UsageError(f"no version in {text!r}", remedy="a QEMU version looks like 11.1.3")
    number, candidate = found.groups()
    return Version(f"{number}rc{candidate}" if candidate else number)


@dataclass(frozen=True)
class Issue:
    """One entry; each table of `when` names parameters (or subject, platform, lifecycle) with the values that show it."""

    id: str
    what: str
    suspect: Suspect
    # Of `qemu` where the guest began and of the `kernel` under it; with `dst_` where it went on, on another ground. One of the
    # first two is given at least; what is not given means any, or none.
    versions: Mapping[str, SpecifierSet]
    seen: tuple[str, ...]
    when: tuple[Mapping[str, tuple[Scalar, ...]], ...]
    message: re.Pattern[str]
    reason: str
    evidence: str
    # Of a race: how often its cases failed, as `30 of 50`. One that does not fail tells nothing then. Empty: they always fail.
    rate: str = ""
    # The last day on which it excuses anything; none: as long as it is in the list.
    expires: date | None = None

    @property
    def expired(self) -> bool:
        """True where its last day (UTC) is over: then it excuses nothing."""
        return self.expires is not None and self.expires < datetime.now(UTC).date()

    def concerns(self, case: Case, versions: Mapping[str, Version]) -> bool:
        """Say whether `case` is one that the issue makes fail, on these versions by the names of `versions`."""
        given = {**case.params, "subject": case.subject, "platform": case.platform, "lifecycle": case.lifecycle}
        alike = any(all(key in given and given[key] in values for key, values in table.items()) for table in self.when)
        return alike and all(
            name in versions and range_.contains(versions[name], prereleases=True) for name, range_ in self.versions.items()
        )

    def excuses(self, sentence: str) -> bool:
        """Say whether a failure's sentence is the entry's. What was found beside it has to be named there and matched too."""
        found = self.message.search(sentence)
        beside = list(_BESIDE.finditer(sentence))
        return found is not None and all(each[1] in self.message.pattern and each.start() < found.end() for each in beside)


@dataclass(frozen=True)
class KnownIssues:
    """All entries of one file."""

    issues: tuple[Issue, ...] = ()

    def judge(self, case: Case, qemu: str, kernel: str = "", dst_qemu: str = "", dst_kernel: str = "") -> Case:
        """Return the case with verdict known or fixed where an entry says so, unchanged otherwise.

        `qemu` is what that QEMU says of itself, or its package version; `kernel` that of the kernel under test, as `uname -r`,
        or nothing; with `dst_`, the same of the destination where that is another ground. Only fail and pass are judged: a
        case that could not be tried proves nothing. Raises UsageError when one of them holds no version.
        """
        if case.verdict not in (Verdict.FAIL, Verdict.PASS) or not self.issues:
            return case
        given = {"qemu": qemu, "kernel": kernel, "dst_qemu": dst_qemu, "dst_kernel": dst_kernel}
        versions = {name: parse_version(text) for name, text in given.items() if text}
        matching = [issue for issue in self.issues if issue.concerns(case, versions)]
        if case.verdict is Verdict.FAIL:
            excused = [issue for issue in matching if issue.excuses(case.message)]
            valid = [issue for issue in excused if not issue.expired]
            if excused and not valid:
                return replace(case, message=f"{case.message}; known issue {excused[0].id} expired on {excused[0].expires}")
            return replace(case, verdict=Verdict.KNOWN, known_issue=valid[0].id) if valid else case
        certain = [issue for issue in matching if not issue.rate]
        if not certain:
            return case
        issue = certain[0]
        on = ", ".join(
            f"{name.replace('qemu', 'QEMU').replace('dst_', 'destination ')} {version}" for name, version in versions.items()
        )
        message = f"known issue {issue.id} did not fail on {on} ({issue.what}); narrow or remove its entry"
        return replace(case, verdict=Verdict.FIXED, known_issue=issue.id, suspect=issue.suspect, message=message)


def load(path: Path) -> KnownIssues:
    """Read the TOML file of known issues; raises UsageError with file and entry for anything it cannot mean."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", where=str(path)) from error
    except ValueError as error:
        raise UsageError(f"is not TOML ({error})", where=str(path)) from error
    return parsed(text, str(path))


def parsed(text: str, where: str) -> KnownIssues:
    """Return the list that a text holds; raises UsageError with `where`, its file, and the entry."""
    try:
        data = tomllib.loads(text)
    except ValueError as error:
        raise UsageError(f"is not TOML ({error})", where=where) from error
    only(data, ("issue",), where)
    entries = data.get("issue", [])
    if not isinstance(entries, list):
        raise UsageError("'issue' must be a list of tables", where=where, remedy="write [[issue]]")
    issues = tuple(_issue(entry, f"{where}: entry {number}") for number, entry in enumerate(entries, 1))
    names = [issue.id for issue in issues]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f"id {min(twice)!r} is given twice", where=where)
    return KnownIssues(issues)


def _issue(entry: Mapping[str, object], where: str) -> Issue:
    if isinstance(name := entry.get("id"), str):
        where = f"{where} ({name})"
    only(entry, KEYS, where)
    words = {key: _words(entry, key, where) for key in KEYS if key not in ("seen", "when", "rate", "expires", *_VERSIONS)}
    suspects = [str(suspect) for suspect in Suspect]
    if (suspect := words["suspect"]) not in suspects:
        raise UsageError(f"unknown suspect {suspect!r}", where=where, remedy=meant(suspect, suspects))
    ranges = {name: _specifier(_words(entry, name, where), name, where) for name in _VERSIONS if name in entry}
    if not ranges.keys() & {"qemu", "kernel"}:
        raise UsageError("'qemu' or 'kernel' must be given, in words", where=where)
    # What was seen are versions of whoever is to blame: the kernel, where one is named.
    name, versions = list(ranges.items())[-1]
    seen = _values(entry, "seen", where)
    for version in seen:
        if not versions.contains(parse_version(str(version)), prereleases=True):
            raise UsageError(f"seen on {version}, which {entry[name]!r} leaves out", where=where)
    return Issue(
        id=words["id"],
        what=words["what"],
        suspect=Suspect(suspect),
        versions=ranges,
        seen=tuple(map(str, seen)),
        when=_when(entry, where),
        message=_pattern(words["message"], where),
        reason=words["reason"],
        evidence=words["evidence"],
        rate=_rate(entry, where),
        expires=_day(entry, "expires", where),
    )


def _rate(entry: Mapping[str, object], where: str) -> str:
    if "rate" not in entry:
        return ""
    text = _words(entry, "rate", where)
    found = re.fullmatch(r"(\d+) of (\d+)", text)
    if not found or not 0 < int(found[1]) < int(found[2]):
        raise UsageError(f"'rate' is how often its cases failed, not {text!r}", where=where, remedy="write it as '30 of 50'")
    return text


def _day(entry: Mapping[str, object], key: str, where: str) -> date | None:
    value = entry.get(key)
    if value is not None and (not isinstance(value, date) or isinstance(value, datetime)):
        raise UsageError(f"{key!r} must be a day", where=where, remedy="write it as 2027-01-31, without quotes")
    return value


def _specifier(text: str, name: str, where: str) -> SpecifierSet:
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        raise UsageError(f"{name!r} is no range of versions: {text!r}", where=where, remedy="write '>=9.0'") from None


def _pattern(text: str, where: str) -> re.Pattern[str]:
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"'message' is not a regular expression ({error})", where=where) from None
    if pattern.search(""):
        raise UsageError("'message' matches every failure", where=where, remedy="quote words of the failure's sentence")
    return pattern


def _when(entry: Mapping[str, object], where: str) -> tuple[dict[str, tuple[Scalar, ...]], ...]:
    given = entry.get("when")
    tables = given if isinstance(given, list) and given else [given]
    return tuple(_table(table, where) for table in tables)


def _table(table: object, where: str) -> dict[str, tuple[Scalar, ...]]:
    if not isinstance(table, dict) or not table:
        raise UsageError("'when' must name at least one parameter", where=where, remedy="nothing excuses everything")
    for key in table:
        if key == "level":
            raise UsageError("cases have no 'level' in 'when'", where=where, remedy="write 'el' and 'e2h'")
        if key not in CASE_KEYS and (close := get_close_matches(key, CASE_KEYS, cutoff=0.8)):
            raise UsageError(f"unknown key {key!r} in 'when'", where=where, remedy=f"did you mean {close[0]!r}?")
    return {key: _values(table, key, where) for key in table}


def _values(table: Mapping[str, object], key: str, where: str) -> tuple[Scalar, ...]:
    value = table.get(key)
    if not isinstance(value, list) or not value or not all(isinstance(item, str | int | float) for item in value):
        raise UsageError(f"{key!r} must be a list of one or more plain values", where=where)
    return tuple(value)


def _words(entry: Mapping[str, object], key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value.strip():
        raise UsageError(f"{key!r} must be given, in words", where=where)
    return value
