"""`harness minimise`: what is not needed goes, what is needed stays, and the bundle that comes out fails in the same way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import HarnessBug, Suspect, UsageError, Verdict
from harness.lifecycle import LIFECYCLES
from harness.rerun import minimise, opened, reductions
from harness.rerun.attempt import Ended, Outcome
from harness.rerun.failure import Failure
from harness.rerun.needs import Cannot
from harness.rerun.plan import Changes, Plan
from harness.rerun.reductions import KINDS, SIMPLER
from tests.plugin.conftest import Project
from tests.rerun.conftest import Rerunner, faulty
from tests.rerun.test_failure import LOST
from tests.rerun.test_opened import RECORD

PASSED = Failure(Verdict.PASS, None, "")
OTHER = Failure(Verdict.FAIL, Suspect.QEMU, "something else")
PLAN = Plan(
    "scenarios/timers/test_timers.py::test_it",
    {"lifecycle": "ping-pong", "level": "vhe", "vcpus": 2, "cpu": "max", "kib": 1024, "offset": "far"},
    {"platform": "tcg", "dst_qemu": "bookworm"},
)
ARGUMENTS: Mapping[str, Any] = {"vcpus": 2, "e2h": 1, "sets": "gpr,fp,sys", "ahead_us": 5}


class Lab:
    """Runs nothing: says of each plan what it is told to, and writes the bundle that such a run would leave."""

    def __init__(self, folder: Path, fails: Callable[[Plan], Failure | None]) -> None:
        self.said: list[str] = []
        self.plans: list[Plan] = []
        self._fails = fails
        (folder / "scratch").mkdir()
        self.search = minimise.Search(self.run, LOST, 1, folder / "scratch", self.said.append)

    def run(self, plan: Plan, out: Path) -> Outcome:
        self.plans.append(plan)
        ended = self._fails(plan)
        bundle = out / "bundles" / "x"
        bundle.mkdir(parents=True)
        if ended is None:
            raise Cannot("needs another world")
        told = {"plan": self.told(plan).to_data(), "arguments": plan.changes.of_payload(ARGUMENTS)}
        (bundle / "case.json").write_text(json.dumps({**RECORD, **told, "failure": ended.to_data()}))
        return Outcome(LOST, [Ended(ended, None if ended is PASSED else bundle)])

    def told(self, plan: Plan) -> Plan:
        """Return the plan that the bundle of a run says was run."""
        return plan


def now(plan: Plan) -> dict[str, Any]:
    return plan.changes.of_case(plan.params) | plan.changes.of_payload(ARGUMENTS) | dict(plan.changes.machine)


def test_what_fails_whatever_it_has_loses_all(tmp_path: Path) -> None:
    lab = Lab(tmp_path, lambda _: LOST)
    smallest = lab.search.smallest(PLAN)
    assert smallest is not None
    assert now(smallest) == {
        "lifecycle": "straight", "level": "el1", "vcpus": 2, "cpu": "cortex-a57", "kib": 1, "offset": "none", "e2h": 1,
        "memory_mib": 8, "options": "its=off",
    }  # fmt: skip
    assert smallest.changes.params["vcpus"] == 1
    assert smallest.options == {"platform": "tcg"}
    assert len(smallest.dropped) == 11
    assert sum(line.startswith("smaller") for line in lab.said) == 11


@pytest.mark.parametrize(
    ("needed", "kept"),
    [
        (lambda plan: now(plan)["lifecycle"] in ("ping-pong", "file"), {"lifecycle": "file"}),
        (lambda plan: plan.changes.of_case(plan.params)["vcpus"] == 2, {"vcpus": 2}),
        (lambda plan: now(plan)["level"] == "vhe", {"level": "vhe"}),
        (lambda plan: now(plan)["cpu"] == "max", {"cpu": "max"}),
        (lambda plan: now(plan)["cpu"] in ("max", "max,sme=off,pauth=off,lpa2=off,pmu=off"), {"cpu": "max"}),
        (
            lambda plan: now(plan)["cpu"].startswith("max") and "sve" not in now(plan)["cpu"],
            {"cpu": "max,sme=off,pauth=off,lpa2=off,pmu=off"},
        ),
        (lambda plan: now(plan)["kib"] >= 200, {"kib": 256}),
        (lambda plan: now(plan).get("memory_mib", 32) > 8, {"memory_mib": 16}),
        (lambda plan: "fp" in now(plan).get("sets", ""), {"sets": "fp"}),
        (lambda plan: "gpr" in now(plan).get("sets", "") and "sys" in now(plan).get("sets", ""), {"sets": "gpr,sys"}),
    ],
)
@pytest.mark.parametrize("otherwise", [PASSED, OTHER, None])
def test_what_is_needed_stays(
    tmp_path: Path, needed: Callable[[Plan], bool], kept: dict[str, Any], otherwise: Failure | None
) -> None:
    """Whether without it the case passes, fails in another way, or cannot be run at all."""
    lab = Lab(tmp_path, lambda plan: LOST if needed(plan) else otherwise)
    smallest = lab.search.smallest(PLAN)
    assert smallest is not None and needed(smallest)
    found = now(smallest) | smallest.changes.of_case(smallest.params)
    assert found | kept == found
    assert lab.search.best is not None
    said = opened.read(lab.search.best)
    assert said.plan == smallest and said.failure.same_as(LOST)
    # Of all tries one is left.
    assert len(list((tmp_path / "scratch").iterdir())) == 1


def test_where_everything_is_needed_nothing_goes(tmp_path: Path) -> None:
    lab = Lab(tmp_path, lambda plan: LOST if replace(plan, dropped=()) == PLAN else PASSED)
    assert lab.search.smallest(PLAN) == PLAN
    assert all(line.startswith("no ") for line in lab.said[1:])


def test_where_two_things_need_each_other_one_goes_after_the_other(tmp_path: Path) -> None:
    """The memory can go only when the vCPU has gone, and the lifecycle only when the memory has: a second pass finds it."""

    def fails(plan: Plan) -> Failure:
        values = now(plan) | plan.changes.of_case(plan.params)
        return PASSED if values["lifecycle"] == "straight" and values.get("memory_mib") != 8 else LOST

    smallest = Lab(tmp_path, fails).search.smallest(PLAN)
    assert smallest is not None and now(smallest)["lifecycle"] == "straight"


@pytest.mark.parametrize("instead", [PASSED, OTHER])
def test_what_is_not_reproduced_is_not_searched(tmp_path: Path, instead: Failure) -> None:
    lab = Lab(tmp_path, lambda _: instead)
    assert lab.search.smallest(PLAN) is None
    assert len(lab.plans) == 1 and lab.search.best is None


def test_a_case_that_is_run_otherwise_is_no_evidence(tmp_path: Path) -> None:
    """A platform that has one value only must not pass for one that was asked for."""

    class Stubborn(Lab):
        def told(self, plan: Plan) -> Plan:
            return replace(plan, params={**plan.params, "offset": "far"})

    lab = Stubborn(tmp_path, lambda _: LOST)
    smallest = lab.search.smallest(PLAN)
    assert smallest is not None and smallest.params["offset"] == "far"
    assert "no       offset none in place of far: it cannot be run: it was run otherwise" in lab.said
    assert not any("offset" in words for words in smallest.dropped)


def test_what_cannot_be_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(Cannot, match="another world"):
        Lab(tmp_path, lambda _: None).search.smallest(PLAN)


def test_what_there_is_is_kept_when_one_has_had_enough(tmp_path: Path) -> None:
    def fails(plan: Plan) -> Failure:
        if "memory_mib" in now(plan):
            raise SystemExit(130)
        return LOST

    lab = Lab(tmp_path, fails)
    with pytest.raises(SystemExit):
        minimise.shrink(lab.search, PLAN, tmp_path / "small", lab.said)
    said = opened.read(tmp_path / "small")
    assert said.failure.same_as(LOST) and said.plan.params["lifecycle"] == "straight"
    assert lab.said[-1] == f"{len(said.plan.dropped)} things taken away: {tmp_path / 'small'}"


@pytest.mark.parametrize(("ended", "gone"), [(PASSED, None), (OTHER, None), (LOST, 11)])
def test_a_bundle_is_left_only_where_there_is_a_smaller_one(tmp_path: Path, ended: Failure, gone: int | None) -> None:
    lab = Lab(tmp_path, lambda _: ended)
    assert minimise.shrink(lab.search, PLAN, tmp_path / "small", lab.said) == gone
    assert (tmp_path / "small").exists() is bool(gone)


def test_no_plan_is_tried_twice(tmp_path: Path) -> None:
    lab = Lab(tmp_path, lambda plan: LOST if now(plan)["kib"] >= 200 and now(plan)["level"] == "vhe" else PASSED)
    lab.search.smallest(PLAN)
    keys = [json.dumps(replace(plan, dropped=()).to_data(), sort_keys=True) for plan in lab.plans]
    assert len(set(keys)) == len(keys)


def test_every_candidate_can_be_sent_by_mail() -> None:
    """What the search tries has to be what a plan may say."""
    plan = replace(PLAN, changes=Changes({"hypervisor": "linux"}))
    for kind in KINDS:
        for reduction in kind(plan, {**ARGUMENTS, "console": "virtio"}):
            assert Plan.from_data(json.loads(json.dumps(reduction.plan.to_data())), "x") == reduction.plan
            assert reduction.plan != plan and reduction.words


def test_simpler_lifecycles_are_known_and_end() -> None:
    assert SIMPLER.keys() < LIFECYCLES.keys()
    for name, simpler in SIMPLER.items():
        assert set(simpler) <= LIFECYCLES.keys() and name not in simpler
        assert all(name not in SIMPLER.get(each, ()) for each in simpler)
        assert {LIFECYCLES[each].by for each in simpler} == {LIFECYCLES[name].by}


def test_a_bundle_of_another_failure_is_never_kept(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "case.json").write_text(json.dumps({**RECORD, "failure": OTHER.to_data()}))
    with pytest.raises(HarnessBug, match="another failure"):
        minimise.keep(bundle, tmp_path / "kept", LOST, [])
    assert not (tmp_path / "kept").exists()


def test_where_it_goes(tmp_path: Path) -> None:
    (tmp_path / "case").mkdir()
    assert minimise.target_of(tmp_path / "case", None) == tmp_path / "case-smaller"
    assert minimise.target_of(tmp_path / "case.tar.gz", None) == tmp_path / "case-smaller"
    assert minimise.target_of(tmp_path / "case.zip", tmp_path / "x") == tmp_path / "x"
    with pytest.raises(UsageError, match="it is there, and no bundle"):
        minimise.target_of(tmp_path / "case.zip", tmp_path / "case")


def test_on_a_fake_qemu(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a QEMU that refuses whatever is sent: the lifecycle is needed, and the ITS is not."""
    monkeypatch.setattr(minimise, "KINDS", (reductions._lifecycle, reductions._its))
    project.scenario("plain", lifecycles=("straight", "file"))
    project.qemu = faulty(project.path, "refuses")
    project.run("--lifecycle=file")
    known = Rerunner(project, project.path / "out" / project.only_case()["bundle"])
    target = project.path / "small"
    run = known.harness("minimise", f"--out={target}", qemu=project.qemu)
    assert run.exit_code == 0
    assert "no       lifecycle straight in place of file: 0 of 1 fail in the same way; 1 passed" in run.stdout
    assert f"1 thing taken away: {target}" in run.stdout
    readme = (target / "README.txt").read_text()
    assert "Made smaller, and still failing:\n    without the ITS\n" in readme
    assert "pytest" not in readme.partition("Side source")[0] and "harness repro" in readme
    assert (target / "minimised.txt").read_text() in run.stdout
    assert "its=off" in (target / "sides/source/argv.txt").read_text()
    assert known.harness("repro", qemu=project.qemu, bundle=target).exit_code == 0
    assert project.machines() == []


def test_a_failure_that_is_gone(refused: Rerunner) -> None:
    run = refused.harness("minimise", qemu=faulty(refused.project.path, ""))
    assert run.exit_code == 1 and run.stdout.endswith("not reproduced\n")
    assert not list(refused.bundle.parent.glob("*-smaller"))


def test_a_case_that_is_skipped_here_cannot_be_made_smaller(refused: Rerunner) -> None:
    refused.project.scenario("plain", body="from harness.errors import Unsupported; raise Unsupported('no such thing')")
    run = refused.harness("minimise", qemu=refused.project.qemu)
    assert run.exit_code == 2
    assert run.stdout == "cannot: needs a place where the case comes to a verdict; 1 skip: no such thing\n"
