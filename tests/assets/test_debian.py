from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.assets import debian
from harness.errors import MissingError
from tests.assets.conftest import Programs, Told

BACKPORTS = debian.SUITES["trixie-backports"]


def test_an_overlay_gets_a_line_of_its_own_and_is_preferred() -> None:
    words = debian.argv(BACKPORTS, ["qemu-system-arm"], Path("/t"), None)
    assert words[-2:] == ("trixie", "/t")
    assert '--aptopt=APT::Default-Release "trixie-backports"' in words
    assert any(word.startswith("--setup-hook=") and "trixie-backports" in word for word in words)


def test_a_plain_suite_needs_neither() -> None:
    words = debian.argv(debian.SUITES["trixie"], ["a", "b"], Path("/t"), "http://mirror/debian")
    assert words[-3:] == ("trixie", "/t", "http://mirror/debian")
    assert "--include=a,b" in words
    assert not any("Default-Release" in word or "setup-hook" in word for word in words)


def test_another_architecture_is_asked_for() -> None:
    assert "--architectures=arm64" in debian.argv(BACKPORTS, ["a"], Path("/t"), None, "arm64")


@pytest.mark.parametrize("sources", ["deb http://m/debian trixie main\n", "deb [signed-by=/k.gpg] http://m trixie main\n"])
def test_the_hook_derives_the_overlay_from_the_line_of_the_base(
    sources: str, tmp_path: Path, programs: Programs, told: Told
) -> None:
    """The hook is run as mmdebstrap runs it: `sh -c HOOK exec TARGET`."""
    listed = tmp_path / "t/etc/apt/sources.list.d"
    listed.mkdir(parents=True)
    (tmp_path / "t/etc/apt/sources.list").write_text(sources + "deb http://m/security trixie-security main\n")
    programs.add(
        "mmdebstrap",
        f'for w; do case $w in --setup-hook=*) sh -c "${{w#--setup-hook=}}" exec {tmp_path}/t || exit 9 ;; esac; done\n'
        f"echo libc6_2.41_amd64.deb > {tmp_path}/t/packages.txt",
    )
    assert debian.extract(BACKPORTS, ["x"], tmp_path / "t", told, log=tmp_path / "log") == (("libc6_2.41_amd64",), None)
    assert (listed / "overlay.list").read_text() == sources.replace(" trixie ", " trixie-backports ")


def test_a_broken_download_says_what_apt_said_and_where_the_rest_is(
    fake_debian: Callable[[str], None], tmp_path: Path, told: Told
) -> None:
    fake_debian("echo 'I: downloading'; echo 'E: Hash Sum mismatch' >&2; echo 'E: apt-get failed'; exit 25")
    with pytest.raises(MissingError) as caught:
        debian.extract(BACKPORTS, ["x"], tmp_path / "t", told, log=tmp_path / "log")
    line = str(caught.value)
    assert "mmdebstrap failed (exit status 25): E: Hash Sum mismatch" in line
    assert line.startswith(str(tmp_path / "log"))
    assert "harness setup" in line and "\n" not in line
    assert "I: downloading" in (tmp_path / "log").read_text()


def test_a_full_disk_is_named_as_such(fake_debian: Callable[[str], None], tmp_path: Path, told: Told) -> None:
    fake_debian("echo 'dpkg-deb: error: failed to write (No space left on device)'; exit 25")
    with pytest.raises(MissingError, match="no space left on the disk"):
        debian.extract(BACKPORTS, ["x"], tmp_path / "t", told, log=tmp_path / "log")


def test_the_default_mirror_is_tried_where_the_systems_own_does_not_serve(
    fake_debian: Callable[[str], None], programs: Programs, tmp_path: Path, told: Told
) -> None:
    programs.add("apt-get", "echo http://own/debian")
    fake_debian('case "$*" in *http://own/debian) mkdir -p $target; echo "E: 404"; exit 1 ;; esac')
    (tmp_path / "t").mkdir()
    names, mirror = debian.extract(BACKPORTS, ["x"], tmp_path / "t", told, log=tmp_path / "log")
    assert names == ("libc6_2.41-12_amd64", "qemu-system-arm_1:11.1_amd64")
    assert mirror is None
    assert any("not from the mirror that apt uses here" in step and "E: 404" in step for step in told.steps)


def test_nothing_unpacked_is_an_error(programs: Programs, tmp_path: Path, told: Told) -> None:
    programs.add("mmdebstrap", f"mkdir -p {tmp_path}/t; touch {tmp_path}/t/packages.txt")
    with pytest.raises(MissingError, match="unpacked no package"):
        debian.extract(BACKPORTS, ["x"], tmp_path / "t", told, log=tmp_path / "log")


@pytest.mark.parametrize("answer", ["", "file:/srv/debian", "cdrom:[x]/"])
def test_only_a_mirror_on_the_network_counts(answer: str, programs: Programs) -> None:
    programs.add("apt-get", f"echo '{answer}'")
    assert debian.system_mirror() is None
