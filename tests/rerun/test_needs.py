"""What a bundle needs is found here by its content, or named in one line; what the user names is not asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.assets import lab_parts as parts
from harness.errors import MissingError, UsageError
from harness.rerun import inputs
from harness.rerun.inputs import Input
from harness.rerun.needs import Cannot, _remedy, settle
from harness.rerun.opened import Opened
from harness.rerun.plan import Plan
from tests.rerun.test_failure import LOST

QEMU = Input("QEMU", "11.1.3", "11" * 32, "Debian trixie-backports")
INNER = Input("the lab's QEMU", "11.1.3", "22" * 32, "Debian trixie-backports")
SUITES = Input("the lab's kernel", "7.3.1", "33" * 32, "Debian trixie")
OWN = Input("the lab's kernel", "7.3.4-own", "44" * 32, "/gone/Image")
SOURCES = {"scenario": "a", "guests": "b"}


class Here:
    """This computer, as far as `settle` asks: kernels by what names them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root.with_name("home")
        self.qemus: dict[str | None, Input] = {None: QEMU, "trixie-backports": QEMU}
        self.kernels: dict[str | None, Input] = {}
        scenario = root / "scenarios" / "timers" / "test_it.py"
        scenario.parent.mkdir(parents=True)
        scenario.write_text("")

    def qemu(self, choice: str | None) -> Input:
        return _known(self.qemus, choice)

    def lab_kernel(self, choice: str | None, _: str | None) -> Input:
        return _known(self.kernels, choice)


def _known(table: dict[str | None, Input], choice: str | None) -> Input:
    if choice not in table:
        raise UsageError(f"there is no {choice}") if choice and "/" in choice else MissingError(f"{choice} has not been set up")
    return table[choice]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    here = Here(tmp_path / "root")
    monkeypatch.setattr(inputs, "qemu", here.qemu)
    monkeypatch.setattr(inputs, "lab_kernel", here.lab_kernel)
    monkeypatch.setattr(inputs, "lab_qemu", lambda _: INNER)
    monkeypatch.setattr(inputs, "sources", lambda _: SOURCES)
    monkeypatch.setattr(parts, "kept", lambda _: iter([tmp_path / "cached"]))
    monkeypatch.setenv("HOME", str(here.home))
    return here


def bundle(kernel: Input, **options: str) -> Opened:
    plan = Plan("scenarios/timers/test_it.py::test_it", {"lifecycle": "file"}, {"platform": "lab", **options})
    return Opened(plan, LOST, {"qemu": QEMU, "lab_kernel": kernel, "lab_qemu": INNER}, SOURCES, "v1", "bundles/x", {})


def test_a_suites_kernel_that_is_here(here: Here) -> None:
    here.kernels["trixie"] = SUITES
    settled = settle(bundle(SUITES), {}, here.root)
    assert settled.plan.options == {
        "platform": "lab", "qemu": "trixie-backports", "lab_kernel": "trixie", "lab_qemu": "trixie-backports",
    }  # fmt: skip
    assert settled.notes == ()


def test_a_suite_that_has_moved_on(here: Here) -> None:
    here.kernels["trixie"] = replace(SUITES, version="7.3.9", sha256="55" * 32)
    with pytest.raises(Cannot) as caught:
        settle(bundle(SUITES), {}, here.root)
    assert str(caught.value) == (
        "needs the lab's kernel 7.3.1 (SHA-256 3333333333333333…, of Debian trixie); here is 7.3.9 (SHA-256 5555555555555555…); "
        "`harness setup --lab-kernel trixie` gets it, --lab-kernel FILE|SUITE tries another"
    )


def test_a_suite_that_was_not_set_up(here: Here) -> None:
    with pytest.raises(
        Cannot, match="needs the lab's kernel 7.3.1 .*: trixie has not been set up; `harness setup --lab-kernel"
    ):
        settle(bundle(SUITES), {}, here.root)


def test_a_kernel_where_it_was(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_text("")
    here.kernels[str(path)] = replace(OWN, origin=str(path))
    assert settle(bundle(OWN, lab_kernel=str(path)), {}, here.root).plan.options["lab_kernel"] == str(path)


def test_a_kernel_in_ones_home(here: Here, tmp_path: Path) -> None:
    path = tmp_path / "home" / "linux" / "Image"
    path.parent.mkdir(parents=True)
    path.write_text("")
    here.kernels[str(path)] = OWN
    assert settle(bundle(OWN, lab_kernel="$HOME/linux/Image"), {}, here.root).plan.options["lab_kernel"] == str(path)


def test_a_kernel_that_the_cache_has(here: Here, tmp_path: Path) -> None:
    """Also where the file is there and has become another."""
    path = tmp_path / "Image"
    path.write_text("")
    here.kernels[str(path)] = replace(OWN, sha256="55" * 32)
    cached = str(tmp_path / "cached" / "tree" / "Image")
    here.kernels[cached] = OWN
    assert settle(bundle(OWN, lab_kernel=str(path)), {}, here.root).plan.options["lab_kernel"] == cached
    for gone in ("/gone/Image", f"/{'no name of a file' * 100}/Image"):
        assert settle(bundle(OWN, lab_kernel=gone), {}, here.root).plan.options["lab_kernel"] == cached


def test_a_kernel_beside_one(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pytest runs in the scenarios' folder, where the name would mean another."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Image").write_text("")
    here.kernels |= {"Image": OWN, str(tmp_path / "Image"): OWN}
    assert settle(bundle(OWN, lab_kernel="Image"), {}, here.root).plan.options["lab_kernel"] == str(tmp_path / "Image")


def test_a_kernel_that_nobody_has(here: Here) -> None:
    with pytest.raises(Cannot) as caught:
        settle(bundle(OWN, lab_kernel="/gone/Image"), {}, here.root)
    assert str(caught.value) == (
        "needs the lab's kernel 7.3.4-own (SHA-256 4444444444444444…, a file that was called Image); --lab-kernel FILE names it, or another"
    )


def test_what_is_named_is_taken_and_said(here: Here) -> None:
    here.kernels["/other/Image"] = replace(OWN, version="7.4", sha256="55" * 32)
    opened = bundle(OWN, lab_kernel="/gone/Image", lab_modules="/gone/modules")
    settled = settle(opened, {"lab_kernel": "/other/Image"}, here.root)
    assert settled.plan.options["lab_kernel"] == "/other/Image" and "lab_modules" not in settled.plan.options
    assert settled.notes == ("the lab's kernel is 7.4 (SHA-256 5555555555555555…), not 7.3.4-own",)


def test_another_platform_needs_no_lab(here: Here) -> None:
    settled = settle(bundle(OWN, lab_kernel="/gone/Image", dst_lab_cpu="max"), {"platform": "tcg"}, here.root)
    assert settled.plan.options == {"platform": "tcg", "qemu": "trixie-backports"}
    far = settle(bundle(OWN, lab_kernel="/gone/Image"), {"platform": "ssh:box", "hosts": "h.toml"}, here.root)
    assert far.plan.options == {"platform": "ssh:box", "hosts": "h.toml"}


def test_an_inventory_that_the_bundle_names_is_not_read(here: Here) -> None:
    opened = bundle(SUITES, hosts="/tmp/theirs.toml")
    here.kernels["trixie"] = SUITES
    assert "hosts" not in settle(opened, {}, here.root).plan.options


def test_another_qemu_than_the_one_here(here: Here) -> None:
    here.kernels["trixie"] = SUITES
    own = replace(QEMU, origin="/home/x/qemu-system-aarch64")
    opened = replace(bundle(SUITES, qemu="/home/x/qemu-system-aarch64"), inputs={"qemu": replace(own, sha256="66" * 32)})
    with pytest.raises(Cannot, match="needs QEMU 11.1.3 .*; here is 11.1.3 .*; --qemu PATH|SUITE names it, or another"):
        settle(opened, {}, here.root)
    assert "qemu" not in settle(replace(opened, inputs={"qemu": own}), {}, here.root).plan.options


@pytest.mark.parametrize(
    ("origin", "name"),
    [
        ("/mine/qemu-system-aarch64", "/mine/qemu-system-aarch64"),
        ("system", "qemu-system-aarch64"),
        ("Debian trixie", "trixie"),
    ],
)
def test_a_destinations_qemu_that_is_used_here_anyway_is_not_the_sources(here: Here, origin: str, name: str) -> None:
    own = Input("QEMU", "12.0.0", "77" * 32, origin)
    here.qemus |= {None: own, name: own}
    theirs = {"qemu": QEMU, "dst_qemu": replace(own, origin="/home/x/qemu-system-aarch64")}
    opened = replace(bundle(SUITES, platform="tcg", dst_qemu="/home/x/qemu-system-aarch64"), inputs=theirs)
    settled = settle(opened, {}, here.root)
    assert settled.plan.options == {"platform": "tcg", "qemu": "trixie-backports", "dst_qemu": name}
    assert settled.notes == ()


@pytest.mark.parametrize("name", ["qemu", "dst_qemu"])
@pytest.mark.parametrize("theirs", ["$HOME/CASE/qemu-system-aarch64", "qemu-system-aarch64", "trixie"])
def test_a_program_on_a_real_host_is_the_inventorys_or_the_users(here: Here, name: str, theirs: str) -> None:
    opened = replace(bundle(OWN, platform="ssh:box", **{name: theirs}), inputs={})
    settled = settle(opened, {}, here.root)
    assert settled.plan.options == {"platform": "ssh:box"}
    (note,) = settled.notes
    assert note.endswith(f"{theirs.replace('$HOME', str(here.home))}, which only the bundle names; {_remedy(name)}")
    named = settle(opened, {name: "/opt/qemu"}, here.root)
    assert named.plan.options[name] == "/opt/qemu" and named.notes == ()
    # Its path means nothing here.
    assert settle(opened, {"platform": "tcg"}, here.root).plan.options == {"platform": "tcg"}


def test_what_the_bundle_does_not_say_is_said(here: Here) -> None:
    opened = replace(bundle(OWN, qemu="trixie", dst_qemu="bookworm", lab_kernel="/a/Image"), inputs={})
    settled = settle(opened, {"lab_qemu": "trixie"}, here.root)
    # A suite's was set up, and a kernel runs in an emulated computer.
    assert settled.plan.options == {**opened.plan.options, "lab_qemu": "trixie"}
    assert settled.notes == (
        "the QEMU may be another: the bundle does not say what it had",
        "the kernel of the lab may be another: the bundle does not say what it had",
        "the destination's QEMU may be another: the bundle does not say what it had",
    )


def test_what_else_is_another_is_said(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    here.kernels["trixie"] = SUITES
    monkeypatch.setattr(inputs, "sources", lambda _: {"scenario": "x", "guests": "y"})
    assert settle(bundle(SUITES), {}, here.root).notes == (
        "the scenario here is another: the bundle is of harness v1",
        "the guests' build here is another: the bundle is of harness v1",
    )
