"""Job files for the schedulers of others: a shard of the scenarios in each job, and one that merges what they leave. Pure.

Sources of the formats: GitHub's "Workflow syntax for GitHub Actions", GitLab's "CI/CD YAML syntax reference", LAVA's "Test job
definitions" (the jobs of a `docker` device). The tests hold them against the schemas that are published of each.
"""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from harness.assets.debian import SUITES
from harness.errors import UsageError

SETUP_MINUTES = 30
"""What a job may take beside its cases: packages, QEMU, payloads and kernels on a machine that has none; upload."""

_PACKAGES = ("ca-certificates", "curl", "git", "make", "python3", "python3-venv")
_FETCHED = ("--qemu", "--dst-qemu", "--lab-kernel", "--dst-lab-kernel", "--lab-qemu", "--dst-lab-qemu")
_APT = ("apt-get update", f"apt-get install --yes --no-install-recommends {' '.join(_PACKAGES)}")
"""What a Debian or Ubuntu that has nothing needs before the harness can be checked out and set up."""
_VENV = "harness/assets/venv.sh"

Data = dict[str, object]


@dataclass(frozen=True)
class Plan:
    """What is to be run where: `arguments` are pytest's own, `seconds` how long a shard may begin cases."""

    shards: int
    arguments: tuple[str, ...] = ()
    time_limit: str = "2h"
    seconds: float = 7200
    image: str = "debian:trixie"
    # Of LAVA: where the harness is, which commit of it, the type of its devices, and where a shard's results are put.
    repository: str = ""
    revision: str = ""
    device_type: str = "docker"
    upload: str = ""

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Raises UsageError."""
        if self.shards < 1:
            raise UsageError("there is at least one shard", where=f"--shards {self.shards}")
        if spoiling := [word for word in self.arguments if "${{" in word or "\n" in word]:
            raise UsageError("cannot be written into a job", where=repr(spoiling[0]))
        for option in ("--shard", "--out", "--time-limit", "-n"):
            if any(word == option or word.startswith(f"{option}=") for word in self.arguments):
                raise UsageError("is for the job to say", where=option, remedy="leave it out")

    @property
    def minutes(self) -> int:
        """How long a job may take."""
        return ceil(self.seconds / 60) + SETUP_MINUTES

    def directory(self, number: object) -> str:
        """Return where a shard leaves its results."""
        return f"shards/shard-{number}"

    def set_up(self) -> list[str]:
        """Return the commands that get what a shard needs, where the harness has been checked out."""
        return ["make setup", *self._fetch()]

    def run(self, number: str, of: object) -> str:
        """Return the command that runs a shard; `number` stands as it is: the scheduler may have a variable for it."""
        words = [".venv/bin/python", "-m", "pytest", "scenarios", "-n", "auto"]
        given = ["--time-limit", self.time_limit, *self.arguments]
        return f"{shlex.join(words)} --shard {number}/{of} --out {self.directory(number)} {shlex.join(given)}"

    def merge(self) -> str:
        """Return the command that merges the shards; each is named, so that one that never came is missed."""
        directories = [self.directory(number) for number in range(1, self.shards + 1)]
        return shlex.join([".venv/bin/harness", "report", "--merge", *directories, "--out", "merged"])

    def _fetch(self) -> list[str]:
        """Return the command that gets the kernels and QEMUs of Debian suites that the arguments name, if any."""
        named = dict.fromkeys(
            (f"--{option.removeprefix('--dst-').removeprefix('--')}", value)
            for option, value in _options(self.arguments)
            if option in _FETCHED and value in SUITES
        )
        return [shlex.join([".venv/bin/harness", "setup", *(word for pair in named for word in pair)])] if named else []


def github(plan: Plan) -> str:
    """Return a workflow of GitHub Actions, for `.github/workflows/`."""
    container = {"image": plan.image}
    begin: list[Data] = [{"name": "Install git and Python", "run": _lines(_APT)}, {"uses": "actions/checkout@v4"}]
    shard = "${{ matrix.shard }}"
    kept: Data = {"if": "always()", "uses": "actions/upload-artifact@v4"}
    jobs: Data = {
        "shard": {
            "name": f"shard {shard} of {plan.shards}",
            "runs-on": "ubuntu-latest",
            "container": container,
            "timeout-minutes": plan.minutes,
            "strategy": {"fail-fast": False, "matrix": {"shard": list(range(1, plan.shards + 1))}},
            "steps": [
                *begin,
                {"name": "Set up", "run": _lines(plan.set_up())},
                {"name": "Run the shard", "run": plan.run(shard, plan.shards)},
                kept | {"with": {"name": f"shard-{shard}", "path": plan.directory(shard)}},
            ],
        },
        "report": {
            "needs": "shard",
            "if": "always()",
            "runs-on": "ubuntu-latest",
            "container": container,
            "timeout-minutes": SETUP_MINUTES,
            "steps": [
                *begin,
                {"uses": "actions/download-artifact@v4", "with": {"path": "shards", "pattern": "shard-*"}},
                {"name": "Set up", "run": _VENV},
                {"name": "Merge", "run": plan.merge()},
                kept | {"with": {"name": "report", "path": "merged"}},
            ],
        },
    }
    nightly: Data = {"schedule": [{"cron": "17 2 * * *"}], "workflow_dispatch": {}}
    return _yaml({"name": "arm64 virtual machines", "on": nightly, "permissions": {"contents": "read"}, "jobs": jobs})


def gitlab(plan: Plan) -> str:
    """Return a pipeline of GitLab, for `.gitlab-ci.yml` or to be included there."""
    directory = plan.directory("$SHARD")
    common: Data = {"image": plan.image}
    kept: Data = {"when": "always", "expire_in": "1 month"}
    return _yaml(
        {
            "stages": ["shards", "report"],
            "shard": common
            | {
                "stage": "shards",
                "timeout": f"{plan.minutes} minutes",
                "parallel": {"matrix": [{"SHARD": [str(number) for number in range(1, plan.shards + 1)]}]},
                "script": [*_APT, *plan.set_up(), plan.run("$SHARD", plan.shards)],
                "artifacts": kept | {"paths": [directory], "reports": {"junit": f"{directory}/junit.xml"}},
            },
            "report": common
            | {
                "stage": "report",
                "when": "always",
                "timeout": f"{SETUP_MINUTES} minutes",
                "script": [*_APT, _VENV, plan.merge()],
                "artifacts": kept | {"paths": ["merged"]},
            },
        }
    )


def lava(plan: Plan) -> dict[str, str]:
    """Return a job for each shard, by file name. LAVA keeps no files of a device, so each is uploaded. Raises UsageError."""
    for option, value in (("--repository", plan.repository), ("--upload", plan.upload)):
        if not value:
            raise UsageError("must be given for LAVA", where=option, remedy="see `harness export lava --help`")
    return {f"shard-{number}.yaml": _yaml(_lava_job(plan, number)) for number in range(1, plan.shards + 1)}


def _lava_job(plan: Plan, number: int) -> Data:
    name, minutes = f"shard-{number}", {"minutes": plan.minutes}
    archive = f"{name}.tar.gz"
    target = f"{plan.upload.rstrip('/')}/{archive}"
    checkout = [shlex.join(["git", "clone", plan.repository, "harness"]), "cd harness"]
    if plan.revision:
        checkout.append(shlex.join(["git", "checkout", "--detach", plan.revision]))
    steps = [
        *(*_APT, *checkout, *plan.set_up()),
        f"lava-test-case {name} --shell {shlex.quote(plan.run(str(number), plan.shards))}",
        f"tar -czf {archive} -C shards {name}",
        f"lava-test-case {name}-upload --shell {shlex.quote(shlex.join(['curl', '-fsS', '--upload-file', archive, target]))}",
        shlex.join(["lava-test-reference", f"{name}-results", "--result", "pass", "--reference", target]),
    ]
    metadata = {
        "format": "Lava-Test Test Definition 1.0",
        "name": name,
        "description": f"Interrupted arm64 virtual machines, shard {number} of {plan.shards}",
    }
    definition = {
        "from": "inline",
        "name": name,
        "path": f"inline/{name}.yaml",
        "repository": {"metadata": metadata, "run": {"steps": steps}},
    }
    return {
        "job_name": f"arm64 virtual machines, shard {number} of {plan.shards}",
        "device_type": plan.device_type,
        "visibility": "public",
        "priority": "medium",
        "timeouts": {"job": {"minutes": plan.minutes + SETUP_MINUTES}, "action": minutes, "connection": {"minutes": 2}},
        "actions": [
            {"deploy": {"to": "docker", "os": "debian", "image": plan.image}},
            {"boot": {"method": "docker", "command": "bash", "prompts": ["root@lava:"], "timeout": {"minutes": 5}}},
            {"test": {"timeout": minutes, "definitions": [definition]}},
        ],
    }


def _options(words: Sequence[str]) -> list[tuple[str, str]]:
    """Return each option that is followed by a value, in either way of writing it."""
    joined = [(option, value) for word in words for option, equals, value in [word.partition("=")] if equals]
    return [*joined, *pairwise(words)]


def _lines(commands: Sequence[str]) -> object:
    """Return commands as a text that YAML shows line by line."""
    return LiteralScalarString("".join(f"{command}\n" for command in commands))


def _yaml(data: Mapping[str, object]) -> str:
    yaml = YAML()
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.width = 10_000  # a command is one line
    yaml.representer.ignore_aliases = lambda _: True
    text = io.StringIO("# Written by `harness export`; meant to be changed by hand where need be.\n")
    text.seek(0, io.SEEK_END)
    yaml.dump(data, text)
    return text.getvalue()
