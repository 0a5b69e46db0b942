"""Job files for other schedulers, against what is published of their formats."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from harness import cli
from harness.assets import cache
from harness.errors import UsageError
from harness.fleet import export
from harness.fleet.export import Plan

AWKWARD = ("-k", "cntv and not 'vhe'; $(true) \\ *", "--lab-kernel=trixie", "--dst-lab-kernel", "bookworm", "--platform", "lab")
PLANS = {"plain": Plan(3), "awkward": Plan(2, AWKWARD, "1h30m", 5400)}
LAVA = {"repository": "https://git.example/a b.git", "revision": "abc", "upload": "https://ci.example/42/"}

each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def _read(text: str) -> Any:
    return YAML(typ="safe").load(text)


def _against(schema: str, text: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Check against a schema that check-jsonschema carries."""
    path = tmp_path / "jobs.yml"
    path.write_text(text)
    program = Path(sys.executable).with_name("check-jsonschema")
    return subprocess.run([program, "--builtin-schema", f"vendor.{schema}", path], capture_output=True, text=True, check=False)


def _pytest_words(command: str) -> list[str]:
    """Return the words that pytest gets, as the shell reads them."""
    words = shlex.split(command)
    assert words[:4] == [".venv/bin/python", "-m", "pytest", "scenarios"]
    return words[4:]


def _check_arguments(command: str, plan: Plan, shard: str, out: str) -> None:
    words = _pytest_words(command)
    assert words[: words.index("--time-limit")] == ["-n", "auto", "--shard", shard, "--out", out]
    assert words[words.index("--time-limit") :] == ["--time-limit", plan.time_limit, *plan.arguments]


@each_plan
def test_github(plan: Plan, tmp_path: Path) -> None:
    text = export.github(plan)
    done = _against("github-workflows", text, tmp_path)
    assert done.returncode == 0, done.stdout
    jobs = _read(text)["jobs"]
    assert jobs["shard"]["strategy"]["matrix"]["shard"] == [*range(1, plan.shards + 1)]
    assert jobs["shard"]["strategy"]["fail-fast"] is False
    steps = {step.get("name"): step.get("run") for step in jobs["shard"]["steps"]}
    command = steps["Run the shard"].replace("${{ matrix.shard }}", "2")
    _check_arguments(command, plan, f"2/{plan.shards}", "shards/shard-2")
    merge = next(step["run"] for step in jobs["report"]["steps"] if step.get("name") == "Merge")
    assert shlex.split(merge)[3:] == [f"shards/shard-{number}" for number in range(1, plan.shards + 1)] + ["--out", "merged"]
    assert jobs["report"]["if"] == "always()"
    uploads = [step for job in jobs.values() for step in job["steps"] if "upload" in step.get("uses", "")]
    assert len(uploads) == 2 and all(step["if"] == "always()" for step in uploads), "what failed is what one wants to see"


@each_plan
def test_gitlab(plan: Plan, tmp_path: Path) -> None:
    text = export.gitlab(plan)
    done = _against("gitlab-ci", text, tmp_path)
    assert done.returncode == 0, done.stdout
    jobs = _read(text)
    assert jobs["shard"]["parallel"]["matrix"] == [{"SHARD": [str(number) for number in range(1, plan.shards + 1)]}]
    *set_up, command = jobs["shard"]["script"]
    _check_arguments(command.replace("$SHARD", "1"), plan, f"1/{plan.shards}", "shards/shard-1")
    assert jobs["shard"]["artifacts"]["when"] == jobs["report"]["when"] == "always"
    assert "make setup" in set_up
    assert jobs["report"]["script"][-1].split()[:3] == [".venv/bin/harness", "report", "--merge"]


@pytest.mark.parametrize(
    ("schema", "spoil"), [("github-workflows", ("runs-on", "runs-at")), ("gitlab-ci", ("parallel:", "parallel: 1\n  other:"))]
)
def test_the_schemas_can_fail(schema: str, spoil: tuple[str, str], tmp_path: Path) -> None:
    text = (export.github if schema == "github-workflows" else export.gitlab)(Plan(2))
    assert spoil[0] in text
    assert _against(schema, text.replace(*spoil), tmp_path).returncode == 1


# -- LAVA

# Runs LAVA's own schemas, which are GPL and so never a part of this: the argument is where its package was unpacked.
_BY_LAVA = """
import json, sys
sys.path.insert(0, sys.argv[1])
from lava_common.schemas import validate
validate(json.load(sys.stdin), strict=True)
"""


@pytest.fixture(scope="session")
def lava_common() -> Path:
    """Where Debian's package lava-common is unpacked; got once."""
    place = cache.root() / "tests" / "lava-common"
    if not place.exists():
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            pytest.skip("LAVA's schemas come in a Debian package, and there is no apt")
        scratch = place.with_name(f"lava-common.{os.getpid()}")
        scratch.mkdir(parents=True)
        got = subprocess.run(
            ["apt-get", "-qq", "download", "lava-common"], cwd=scratch, capture_output=True, text=True, check=False
        )
        packages = list(scratch.glob("*.deb"))
        if got.returncode or not packages:
            shutil.rmtree(scratch)
            pytest.skip(f"LAVA's schemas cannot be had: {got.stderr.strip().splitlines()[:1]}")
        subprocess.run(["dpkg-deb", "-x", packages[0], scratch / "x"], check=True)
        try:
            (scratch / "x").rename(place)
        except OSError:
            assert place.exists(), "another process was quicker"
        shutil.rmtree(scratch)
    return place / "usr" / "lib" / "python3" / "dist-packages"


def _by_lava(job: Mapping[str, object], lava_common: Path) -> str:
    """Return what LAVA's schemas complain of, nothing where the job is well."""
    done = subprocess.run(
        [sys.executable, "-c", _BY_LAVA, lava_common], input=json.dumps(job), capture_output=True, text=True, check=False
    )
    return done.stderr


def _lava(plan: Plan) -> dict[str, Any]:
    return {
        name: _read(text)
        for name, text in export.lava(Plan(plan.shards, plan.arguments, plan.time_limit, plan.seconds, **LAVA)).items()
    }


@each_plan
def test_lava(plan: Plan) -> None:
    jobs = _lava(plan)
    assert [*jobs] == [f"shard-{number}.yaml" for number in range(1, plan.shards + 1)]
    for number, job in enumerate(jobs.values(), 1):
        (definition,) = job["actions"][2]["test"]["definitions"]
        steps = definition["repository"]["run"]["steps"]
        case = next(step for step in steps if step.startswith(f"lava-test-case shard-{number} "))
        name, command = shlex.split(case)[1], shlex.split(case)[3]
        assert name == f"shard-{number}"
        _check_arguments(command, plan, f"{number}/{plan.shards}", f"shards/shard-{number}")
        assert shlex.split(steps[2]) == ["git", "clone", LAVA["repository"], "harness"]
        assert steps[-1].endswith(f" https://ci.example/42/shard-{number}.tar.gz")


@each_plan
def test_lava_by_its_own_schemas(plan: Plan, lava_common: Path) -> None:
    for job in _lava(plan).values():
        assert _by_lava(job, lava_common) == ""


def test_lavas_schemas_can_fail(lava_common: Path) -> None:
    job = _lava(Plan(1))["shard-1.yaml"]
    job["actions"][1]["boot"]["method"] = "teleport"
    assert "Invalid" in _by_lava(job, lava_common)


# -- what a user says


def test_kernels_that_the_options_name_are_fetched() -> None:
    assert PLANS["awkward"].set_up()[-1] == ".venv/bin/harness setup --lab-kernel trixie --lab-kernel bookworm"
    assert PLANS["plain"].set_up()[-1] == "make setup"


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"arguments": ("-k", "${{ secrets.TOKEN }}")}, "cannot be written into a job"),
        ({"arguments": ("--shard=1/2",)}, "--shard: is for the job to say; leave it out"),
        ({"arguments": ("-n", "4")}, "-n: is for the job to say; leave it out"),
        ({"shards": 0}, "there is at least one shard"),
    ],
)
def test_what_cannot_be_meant(said: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Plan(**{"shards": 2, **said})


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_by_the_command(kind: str, tmp_path: Path) -> None:
    target = tmp_path / "folder" / "jobs.yml"
    words = ["export", kind, "--shards", "2", "--time-limit", "45m", "--out", str(target), "--", "--platform", "lab"]
    done = CliRunner().invoke(cli.main, words)
    assert (done.exit_code, done.output) == (0, f"{target}\n")
    assert target.read_text() == getattr(export, kind)(Plan(2, ("--platform", "lab"), "45m", 2700))
    printed = CliRunner().invoke(cli.main, ["export", kind, "--shards", "2"])
    assert printed.output == getattr(export, kind)(Plan(2))


def test_lava_by_the_command(tmp_path: Path) -> None:
    words = ["export", "lava", "--shards", "2", "--repository", "r", "--upload", "u", "--out", str(tmp_path / "jobs")]
    done = CliRunner().invoke(cli.main, words)
    assert done.exit_code == 0
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == ["shard-1.yaml", "shard-2.yaml"]


def test_a_mistake_is_one_line() -> None:
    done = CliRunner().invoke(cli.main, ["export", "github", "--shards", "2", "--time-limit", "long"])
    assert done.exit_code == 2
    assert done.stderr == "harness: --time-limit: 'long' is no time; say hours, minutes or seconds: 2h, 1h30m, 90m, 45s\n"
