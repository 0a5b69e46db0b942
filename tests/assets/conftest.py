"""Fakes of the programs that set-up calls: small shell scripts in a folder that is first on PATH."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

QMP = """
while read -r line; do case "$line" in
*qmp_capabilities*)
    echo '{"QMP": {"version": {"qemu": {"micro": MICRO, "minor": MINOR, "major": MAJOR}, "package": "fake"}}}' ;;
*query-target*) echo '{"return": {"arch": "ARCH"}}' ;;
*quit*) exit 0 ;;
esac; done
"""


@dataclass
class Told:
    """A progress that remembers."""

    steps: list[str] = field(default_factory=list)

    def step(self, text: str) -> None:
        self.steps.append(text)

    def detail(self, text: str) -> None:
        pass


def qemu_script(version: tuple[int, int, int] = (11, 1, 3), arch: str = "aarch64") -> str:
    """Return a shell script that answers the three QMP questions and counts how often it was asked, in $ASKED."""
    text = QMP.replace("ARCH", arch)
    for name, number in zip(("MAJOR", "MINOR", "MICRO"), version, strict=True):
        text = text.replace(name, str(number))
    return '[ -z "$ASKED" ] || echo asked >> "$ASKED"' + text


@dataclass(frozen=True)
class Programs:
    """The folder of fakes."""

    folder: Path

    def add(self, name: str, script: str) -> Path:
        """Put a shell script there as the program `name`."""
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture(autouse=True)
def cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test an empty cache and nobody's choice of a QEMU."""
    root = tmp_path / "cache"
    monkeypatch.setenv("HARNESS_CACHE", str(root))
    monkeypatch.delenv("HARNESS_QEMU", raising=False)
    return root


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """A PATH on which only the basic tools of the system are found, and the fakes."""
    folder = tmp_path / "fakes"
    basics = tmp_path / "basics"
    folder.mkdir()
    basics.mkdir()
    for name in ("sh", "cat", "mkdir", "touch", "env", "find", "chmod", "cp", "rm", "sed", "setpriv", "make", "sleep"):
        real = next(path for path in (Path("/usr/bin") / name, Path("/bin") / name) if path.exists())
        (basics / name).symlink_to(real)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{basics}")
    programs = Programs(folder)
    programs.add("apt-get", "exit 0")
    return programs


@pytest.fixture
def fake_debian(programs: Programs, tmp_path: Path) -> Callable[[str], None]:
    """Return a function that installs a fake mmdebstrap which unpacks a fake QEMU; its argument runs before that."""
    (tmp_path / "qemu.sh").write_text("#!/bin/sh\n" + qemu_script())

    def install(before: str = "") -> None:
        programs.add(
            "mmdebstrap",
            f"""{before}
            for word; do case "$word" in --*) ;; */*) target=$word ;; esac; done
            mkdir -p "$target/usr/bin" "$target/usr/share/qemu" "$target/usr/lib/some-linux-gnu/qemu" "$target/etc"
            cp {tmp_path}/qemu.sh "$target/usr/bin/qemu-system-aarch64"
            chmod 755 "$target/usr/bin/qemu-system-aarch64"
            touch "$target/usr/lib/some-linux-gnu/libc.so.6" "$target/usr/bin/other" "$target/etc/junk"
            printf '#!/bin/sh\\nshift 2\\nexec "$@"\\n' > "$target/usr/lib/some-linux-gnu/ld-linux-fake.so.1"
            chmod 755 "$target/usr/lib/some-linux-gnu/ld-linux-fake.so.1"
            printf 'libc6_2.41-12_amd64.deb\\nqemu-system-arm_1%%3a11.1_amd64.deb\\n' > "$target/packages.txt" """,
        )

    install()
    return install
