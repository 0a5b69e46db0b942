"""What a case was made of, by version and SHA-256: found out alike when a bundle is written and when it is re-run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path

from harness.assets import guests
from harness.assets import lab as lab_assets
from harness.assets import lab_parts as parts
from harness.assets import qemu as assets_qemu
from harness.assets.debian import SUITES
from harness.assets.progress import NoProgress
from harness.errors import HarnessError, UsageError

GUESTS = "guests"
SCENARIO = "scenario"
HERE = ("tcg", "kvm", "lab")
"""The platforms whose QEMU is started on this computer, or made here."""


@dataclass(frozen=True)
class Input:
    """One thing that a case was made of: `origin` is a Debian suite, or the file that was named; `sha256` of its content.

    A kernel's is that of the uncompressed Image; that of a lab's QEMU is of the program and its libraries.
    """

    what: str
    version: str
    sha256: str
    origin: str

    @property
    def file(self) -> str:
        """The name of the file that was given, without where it was; nothing where none was."""
        return "" if self.origin.startswith("Debian ") or self.origin == "system" else Path(self.origin).name

    @property
    def how_to_get(self) -> str:
        """Where it comes from, in words."""
        return f"of {self.origin}" if not self.file else f"a file that was called {self.file}"

    def same_as(self, other: Input) -> bool:
        """Say whether the two are the same in version and content."""
        return (self.version, self.sha256) == (other.version, other.sha256)

    def __str__(self) -> str:
        """Return what it is, in words."""
        return f"{self.what} {self.version} (SHA-256 {self.sha256[:16]}…, {self.how_to_get})"


def of(options: Mapping[str, str]) -> dict[str, Input]:
    """Return the inputs of a case by the option that chooses each; those of a destination where it is another.

    On `kvm` and `ssh:NAME` the kernel is the host's, and what runs there is not known here. Raises UsageError, MissingError.
    """
    platform = options.get("platform", "tcg")
    found = {}
    if platform in HERE:
        found["qemu"] = qemu(options.get("qemu"))
        if there := options.get("dst_qemu"):
            found["dst_qemu"] = qemu(there)
    if platform == "lab":
        found |= _of_lab(options)
    return found


def _of_lab(options: Mapping[str, str]) -> dict[str, Input]:
    found = {
        "lab_kernel": lab_kernel(options.get("lab_kernel"), options.get("lab_modules")),
        "lab_qemu": lab_qemu(options.get("lab_qemu")),
    }
    if there := options.get("dst_lab_kernel"):
        found["dst_lab_kernel"] = lab_kernel(there, options.get("dst_lab_modules"))
    if there := options.get("dst_lab_qemu"):
        found["dst_lab_qemu"] = lab_qemu(there)
    return found


def qemu(choice: str | None) -> Input:
    """Return which QEMU a choice means, as `harness.assets.qemu.resolve` does."""
    found = assets_qemu.resolve(choice)
    # In a private tree, its loader stands before it.
    program = next((word for word in found.argv if Path(word).name.startswith("qemu-system-")), found.argv[0])
    named = found.origin in ("--qemu", "HARNESS_QEMU")
    return Input("QEMU", found.version_text, sha256(Path(program)), program if named else found.origin)


def lab_kernel(choice: str | None, modules: str | None) -> Input:
    """Return which kernel a choice means. Raises UsageError, MissingError."""
    place = lab_assets.kernel_place(choice, Path(modules) if modules else None, NoProgress())
    return _of_part("the lab's kernel", choice, place)


def lab_qemu(choice: str | None) -> Input:
    """Return which QEMU inside a lab a choice means. Raises UsageError, MissingError."""
    return _of_part("the lab's QEMU", choice, lab_assets.qemu_place(choice, NoProgress()))


def _of_part(what: str, choice: str | None, place: Path) -> Input:
    facts = parts.facts(place)
    suite = choice or parts.DEFAULT_SUITE
    return Input(what, str(facts["version"]), str(facts["content"]), f"Debian {suite}" if suite in SUITES else suite)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def sources(scenario: Path) -> dict[str, str]:
    """Return digests of what comes with this checkout: the scenario's file, and the guests with their compiler."""
    try:
        built = guests.find().directory.name
    except HarnessError:
        built = ""
    return {SCENARIO: sha256(scenario) if scenario.is_file() else "", GUESTS: built}


def to_data(found: Mapping[str, Input]) -> dict[str, object]:
    """Return them as JSON data."""
    return {name: asdict(each) for name, each in found.items()}


def from_data(data: object, where: str) -> dict[str, Input]:
    """Return what `to_data` wrote. Raises UsageError."""
    try:
        return {name: Input(**{key: str(value) for key, value in each.items()}) for name, each in data.items()}  # type: ignore[attr-defined]
    except (AttributeError, TypeError):
        raise UsageError("'inputs' must say of each what, version, sha256 and origin", where=where) from None
