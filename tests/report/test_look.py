"""`harness show` and `harness diff`: every kind of file, every kind of bad one, and real streams of CPUs that differ."""

from __future__ import annotations

import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.cli import main
from harness.errors import MissingError
from harness.events import Timeline
from harness.lifecycle.passage import Passage
from harness.qemu.machine import Machine
from harness.qemu.spec import MachineSpec, Start
from harness.state import edit
from harness.state.model import Origin, State
from tests.qemu.fakes import workshop

GOLDEN = Path(__file__).parents[1] / "state" / "golden"
BEFORE = {"cpu0/ID_AA64MMFR1_EL1": 0, "cpu0/X0": 1, "cpu0/CNTVCT_EL0": 5, "gicv3/ctlr": 7}


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture
def golden(tmp_path: Path) -> Callable[[str], Path]:
    def unpacked(name: str) -> Path:
        path = tmp_path / name
        path.write_bytes(lzma.decompress((GOLDEN / f"{name}.xz").read_bytes()))
        return path

    return unpacked


@pytest.fixture
def states(tmp_path: Path) -> Callable[..., list[Path]]:
    """`states(**changes)`: two saved states; the second has the changes, None for a register that it lacks."""

    def states(changes: dict[str, int | None]) -> list[Path]:
        after = {name: value for name, value in {**BEFORE, **changes}.items() if value is not None}
        paths = [tmp_path / "before.json", tmp_path / "after.json"]
        State("gdb", BEFORE).save(paths[0])
        State("gdb", after).save(paths[1])
        return paths

    return states


# -- diff


def test_what_survived_is_the_same(golden: Callable[[str], Path]) -> None:
    done = run("diff", golden("max-saved"), golden("max-restored"))
    assert done.exit_code == 0, done.output
    assert done.output.startswith("allowed: ")
    assert "\nsame: 0 of " in done.output


def test_fields_come_first_then_what_one_side_has_then_what_is_allowed(states: Callable[..., list[Path]]) -> None:
    changes = {"cpu0/ID_AA64MMFR1_EL1": 1 << 28, "gicv3/ctlr": 3, "cpu0/X0": None, "cpu0/X1": 4, "cpu0/CNTVCT_EL0": 9}
    done = run("diff", *states(changes))
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert lines[0] == "ID_AA64MMFR1_EL1.XNX 0 -> 1 on cpu0 (EL0/EL1 execute control)"
    assert lines[1] == "gicv3/ctlr 7 -> 3"
    assert lines[2:4] == ["only the first has: X0", "only the second has: X1"]
    assert lines[4].startswith("allowed: CNTVCT_EL0 5 -> 9 on cpu0: may only move forward: the system counter")
    assert lines[5] == "differ: 4 of 3 values that must survive did not"


def test_a_counter_that_goes_back_is_not_allowed(states: Callable[..., list[Path]]) -> None:
    assert run("diff", *states({"cpu0/CNTVCT_EL0": 4})).exit_code == 1


def test_as_data(states: Callable[..., list[Path]]) -> None:
    (outcome,) = json.loads(run("diff", "--json", *states({"cpu0/X0": 2})).output)
    (difference,) = outcome["differences"]
    assert (difference["name"], difference["before"], difference["after"]) == ("cpu0/X0", "0x1", "0x2")
    assert (outcome["status"], outcome["compared"], difference["allowed"]) == (1, 4, False)


def test_one_register_of_a_stream(golden: Callable[[str], Path], tmp_path: Path) -> None:
    saved = golden("max-saved")
    (other := tmp_path / "other").write_bytes(edit.set_register(saved.read_bytes(), "cpu0/CNTHP_CTL_EL2", 1))
    done = run("diff", saved, other)
    assert (done.exit_code, done.output.splitlines()[0]) == (
        1,
        "CNTHP_CTL_EL2.ISTATUS 1 -> 0 on cpu0",
    )


def test_a_page_of_memory_is_named_by_its_place(golden: Callable[[str], Path], tmp_path: Path) -> None:
    saved = golden("cortex-a57-saved").read_bytes()
    at = saved.index(bytes.fromhex("df4f03d5a00038d5"))  # the guest's first instructions, where they run
    (other := tmp_path / "other").write_bytes(edit.flip_byte(saved, at, 1))
    done = run("diff", golden("cortex-a57-saved"), other)
    assert (done.exit_code, done.output.splitlines()[0]) == (1, "memory mach-virt.ram: 1 page differs, the first at 0x100000")


@pytest.mark.parametrize("how", [gzip.compress, lzma.compress], ids=["gzip", "xz"])
def test_packed_files_are_unpacked(golden: Callable[[str], Path], tmp_path: Path, how: Callable[[bytes], bytes]) -> None:
    (packed := tmp_path / "packed").write_bytes(how(golden("max-saved").read_bytes()))
    assert run("diff", packed, golden("max-saved")).exit_code == 0


def test_a_stream_that_is_cut_off_is_compared_so_far_and_not_called_the_same(
    golden: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = golden("max-saved").read_bytes()
    (cut := tmp_path / "cut").write_bytes(whole[:-20000])
    done = run("diff", golden("max-saved"), cut)
    assert done.exit_code == 2
    assert f"not all could be compared: {cut}: the stream was cut off" in done.output
    assert "cannot be told: 0 of " in done.output and "only the first" not in done.output


def test_of_two_views_what_both_show_is_compared(states: Callable[..., list[Path]], golden: Callable[[str], Path]) -> None:
    before, _ = states({})
    done = run("diff", before, golden("max-saved"))
    assert done.exit_code == 1
    assert "ID_AA64MMFR1_EL1.XNX 0 -> 1" in done.output and "only " not in done.output
    assert done.output.endswith(
        "differ: 2 of 2 values that the gdb view and the stream view both show that must survive did not\n"
    )


def test_two_views_that_share_nothing_cannot_be_compared(states: Callable[..., list[Path]], tmp_path: Path) -> None:
    before, _ = states({})
    State("kvm", {"cpu0/X9": 1}).save(tmp_path / "kvm.json")
    done = run("diff", before, tmp_path / "kvm.json")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "the two states share no register" in done.stderr


# -- what a kernel says of its registers


@pytest.mark.parametrize(
    ("writable", "value", "says"),
    [
        ({"ID_AA64MMFR1_EL1": 0xF}, 1 << 28, "; not writable on 7.3.4, so KVM_SET_ONE_REG refuses it"),
        ({"ID_AA64MMFR1_EL1": 0xF}, 1 << 28 | 1, "; XNX not writable on 7.3.4, so KVM_SET_ONE_REG refuses it"),
        ({"ID_AA64MMFR1_EL1": 0xF << 28}, 1 << 28, ""),
        ({}, 1 << 28, ""),
    ],
)
def test_what_the_kernel_says_cannot_be_written_is_told(
    tmp_path: Path, writable: dict[str, int], value: int, says: str
) -> None:
    paths = [tmp_path / "before.json", tmp_path / "after.json"]
    State("kvm", {"cpu0/ID_AA64MMFR1_EL1": 0}, Origin("6.12.117+deb13")).save(paths[0])
    State("kvm", {"cpu0/ID_AA64MMFR1_EL1": value}, Origin("7.3.4+deb13-cloud-arm64", writable)).save(paths[1])
    first = run("diff", *paths).output.splitlines()[0]
    assert first.startswith("ID_AA64MMFR1_EL1.") and (first.endswith(f"){says}") if says else "writable" not in first), first


def test_a_field_whose_old_values_are_taken_is_not_said_to_be_refused(tmp_path: Path) -> None:
    paths = [tmp_path / "before.json", tmp_path / "after.json"]
    State("kvm", {"cpu0/ID_AA64MMFR2_EL1": 2 << 24}).save(paths[0])
    State("kvm", {"cpu0/ID_AA64MMFR2_EL1": 0}, Origin("7.3.4", {"ID_AA64MMFR2_EL1": 0})).save(paths[1])
    first = run("diff", *paths).output.splitlines()[0]
    assert first.endswith("; not writable on 7.3.4")


# -- bundles


def a_bundle(folder: Path, **changes: int) -> Path:
    (folder / "states").mkdir(parents=True)
    (folder / "case.json").write_text("{}")
    State("gdb", BEFORE).save(folder / "states" / "0-0-before-gdb.json")
    State("gdb", {**BEFORE, **{f"cpu0/{name}": value for name, value in changes.items()}}).save(
        folder / "states" / "0-0-after-gdb.json"
    )
    return folder


def test_the_two_sides_of_a_bundle(tmp_path: Path) -> None:
    done = run("diff", a_bundle(tmp_path / "b", X0=2))
    assert (done.exit_code, done.output.splitlines()[0]) == (1, "X0 1 -> 2 on cpu0")


def test_two_bundles_by_their_states_names(tmp_path: Path) -> None:
    done = run("diff", a_bundle(tmp_path / "one"), a_bundle(tmp_path / "two", X0=2))
    assert done.exit_code == 1
    assert "0-0-after-gdb.json and" in done.output and "X0 1 -> 2 on cpu0" in done.output and "\nsame: 0 of 4" in done.output


@pytest.mark.parametrize(
    ("side", "status", "compared"), [("before", 1, ["before"]), ("after", 0, ["after"]), ("", 1, ["after", "before"])]
)
@pytest.mark.parametrize("bundle_first", [True, False])
def test_either_side_of_a_bundle_with_a_file(
    tmp_path: Path, side: str, status: int, compared: list[str], bundle_first: bool
) -> None:
    bundle = a_bundle(tmp_path / "b", X0=2)
    State("gdb", {**BEFORE, "cpu0/X0": 2}).save(tmp_path / "file.json")
    files = [bundle, tmp_path / "file.json"]
    done = run("diff", *(files if bundle_first else reversed(files)), *(["--side", side] if side else []), "--json")
    outcomes = json.loads(done.output)
    bundles = [outcome["before" if bundle_first else "after"] for outcome in outcomes]
    assert (done.exit_code, sorted(path.rpartition("/0-0-")[2] for path in bundles)) == (
        status,
        [f"{name}-gdb.json" for name in compared],
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("empty",), "and no bundle"),
        (("empty", "kvm"), "and no bundle"),
        (("bundle", "kvm"), "the bundle has no state of a kvm view"),
        (("file",), "say two files, or one bundle"),
    ],
)
def test_what_cannot_be_paired(tmp_path: Path, words: tuple[str, ...], says: str) -> None:
    (tmp_path / "empty").mkdir()
    a_bundle(tmp_path / "bundle")
    (tmp_path / "file").write_text("{}")
    State("kvm", BEFORE).save(tmp_path / "kvm")
    done = run("diff", *(tmp_path / word for word in words))
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert says in done.stderr


# -- bad files

BAD = {
    "it is empty": b"",
    "it is an ELF file": b"\x7fELF" + bytes(40),
    "it is a qcow2 image": b"QFI\xfb" + bytes(40),
    "compressed by zstd; unpack it first, with zstd -d": b"\x28\xb5\x2f\xfd" + bytes(40),
    "it does not begin with QEVM": b"hello, world",
    "cannot be unpacked": gzip.compress(b"x" * 999)[:20],
    "version 2 of the migration stream is not supported": b"QEVM\0\0\0\2" + bytes(40),
    "not a saved state": b'{"format": "something else"}',
    "not a saved state of version 1": b'{"format": "arm64 machine state", "version": 2}',
    "its first line is damaged": b"arm64-kvm-state 1 x y z\n",
    "a saved machine of version 9": b"arm64-kvm-state 9 1 1 1\n",
}


@pytest.mark.parametrize("command", ["show", "diff"])
@pytest.mark.parametrize("says", BAD)
def test_a_bad_file_is_one_line(tmp_path: Path, command: str, says: str) -> None:
    (bad := tmp_path / "bad").write_bytes(BAD[says])
    done = run(command, bad, *([bad] if command == "diff" else []))
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert says in done.stderr and str(bad) in done.stderr


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    done = run("show", tmp_path / "nothing")
    assert (done.exit_code, done.stderr) == (2, f"harness: {tmp_path}/nothing: cannot be read: No such file or directory\n")


# -- show


def test_show_says_what_it_is_and_fields_by_name(golden: Callable[[str], Path]) -> None:
    done = run("show", golden("max-saved"), "CNTV_CTL_EL0")
    assert done.exit_code == 0
    assert done.output.startswith("migration stream: ")
    assert "  machine: virt-11.1\n" in done.output and "  vCPUs: 2\n" in done.output
    assert "cpu0/CNTV_CTL_EL0 = 0x5  ENABLE 0x1, ISTATUS 0x1\n" in done.output


def test_show_says_what_fields_tell_and_which_are_negative(tmp_path: Path) -> None:
    state = State("gdb", {"cpu0/ID_AA64PFR0_EL1": 0xF00011, "cpu0/ID_AA64MMFR1_EL1": 1 << 28})
    state.save(tmp_path / "state.json")
    lines = run("show", tmp_path / "state.json", "ID_").output.splitlines()
    assert lines[-2:] == [
        "cpu0/ID_AA64PFR0_EL1 = 0xf00011  EL0 0x1 (EL0, 2 with AArch32), EL1 0x1 (EL1, 2 with AArch32), FP 0 (floating point, -1 for none), AdvSIMD -1 (Advanced SIMD, -1 for none)",
        "cpu0/ID_AA64MMFR1_EL1 = 0x10000000  XNX 0x1 (EL0/EL1 execute control)",
    ]


def test_diff_says_what_fields_tell(states: Callable[..., list[Path]]) -> None:
    changes: dict[str, int | None] = {"cpu0/ID_AA64MMFR1_EL1": 1 << 28 | 1 << 8 | 1 << 61}
    done = run("diff", *states(changes)).output.splitlines()[0]
    assert done == (
        "ID_AA64MMFR1_EL1.VH 0 -> 1, ID_AA64MMFR1_EL1.XNX 0 -> 1, ID_AA64MMFR1_EL1.ECBHB 0 -> 2 on cpu0 "
        "(VH: virtualisation host extensions; XNX: EL0/EL1 execute control; ECBHB: branch history kept apart)"
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    path = tmp_path / "linux" / "arch" / "arm64" / "tools" / "sysreg"
    path.parent.mkdir(parents=True)
    path.write_text("Sysreg ID_AA64MMFR1_EL1 3 0 0 7 1\nRes0 63:32\nSignedEnum 31:28 NEWER\nEndEnum\nRes0 27:0\nEndSysreg\n")
    return tmp_path / "linux"


def test_a_kernel_tree_names_fields(states: Callable[..., list[Path]], tree: Path) -> None:
    before, after = states({"cpu0/ID_AA64MMFR1_EL1": 0xF << 28})
    done = run("diff", "--kernel-tree", tree, before, after)
    assert done.output.splitlines()[0] == "ID_AA64MMFR1_EL1.NEWER 0 -> -1 on cpu0"
    done = run("show", "--kernel-tree", tree, after, "MMFR1")
    assert done.output.splitlines()[-1] == "cpu0/ID_AA64MMFR1_EL1 = 0xf0000000  NEWER -1"
    assert "XNX" in run("show", after, "MMFR1").output


def test_a_kernel_tree_names_registers_of_a_stream(golden: Callable[[str], Path], tree: Path) -> None:
    (tree / "arch/arm64/tools/sysreg").write_text("Sysreg OTHER_EL1 3 0 0 7 1\nEndSysreg\n")
    assert "cpu0/OTHER_EL1 = 0x" in run("show", "--kernel-tree", tree, golden("max-saved"), "OTHER").output


@pytest.mark.parametrize("command", ["show", "diff"])
def test_a_kernel_tree_that_is_none_is_one_line(states: Callable[..., list[Path]], tmp_path: Path, command: str) -> None:
    done = run(command, "--kernel-tree", tmp_path, *states({})[: 1 if command == "show" else 2])
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "arch/arm64/tools/sysreg: cannot be read" in done.stderr


def test_show_says_where_a_stream_ends_too_early(golden: Callable[[str], Path], tmp_path: Path) -> None:
    (cut := tmp_path / "cut").write_bytes(golden("max-saved").read_bytes()[:5000])
    done = run("show", cut)
    assert done.exit_code == 2
    assert "it ends here: the stream was cut off, at offset 0x1388 in section 'ram'\n" in done.output


def test_show_as_data_is_a_state(golden: Callable[[str], Path], tmp_path: Path) -> None:
    (saved := tmp_path / "state.json").write_text(run("show", "--json", golden("max-saved")).output)
    assert run("diff", saved, saved).exit_code == 0


def test_a_pattern_that_is_none(golden: Callable[[str], Path]) -> None:
    done = run("show", golden("max-saved"), "(")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)


# -- real streams


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Path]]:
    """`streams(cpu)`: the stream of a machine with this CPU that has not run."""
    folder = tmp_path_factory.mktemp("streams")
    try:
        kernel = guests.path("timers")
    except MissingError as error:
        pytest.skip(str(error))

    qemu = assets_qemu.resolve()
    with workshop() as shared:

        def made(cpu: str) -> Path:
            path = folder / cpu
            if not path.exists():
                machine = Machine(MachineSpec(kernel, cpu=cpu), qemu, shared, Timeline(), side="source", start=Start.PAUSED)
                with machine:
                    saved = Passage(lambda *_: machine).save(machine)
                    path.write_bytes(saved.here().read_bytes())
            return path

        yield made


def test_two_cpus_by_the_registers_that_tell_them_apart(streams: Callable[[str], Path]) -> None:
    done = run("diff", streams("cortex-a57"), streams("cortex-a72"))
    assert done.exit_code == 1
    words = done.output.splitlines()
    assert any(line.startswith("ID_MMFR0_EL1") for line in words), done.output
    assert any(line.startswith("PMCR_EL0") for line in words), done.output


def test_what_only_one_cpu_has(streams: Callable[[str], Path]) -> None:
    done = run("diff", streams("max"), streams("max,sve=off"))
    assert done.exit_code == 1
    (only,) = (line for line in done.output.splitlines() if line.startswith("only the first has: "))
    assert "ZCR_EL1" in only
    assert "ID_AA64ZFR0_EL1" in done.output
