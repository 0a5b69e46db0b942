"""A plan comes by mail, so nothing in it is believed."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

import pytest

from harness.errors import UsageError
from harness.qemu.spec import MachineSpec
from harness.rerun.plan import Changes, Order, Plan

PLAN = Plan(
    "scenarios/timers/test_timers.py::test_it",
    {"lifecycle": "file", "vcpus": 2, "cpu": "max,sve-max-vq=8"},
    {"platform": "lab", "lab_kernel": "/a b/Image", "dst_lab_cpu": "max"},
    Changes({"vcpus": 1, "hypervisor": None}, {"memory_mib": 16}, {"ahead_us": 5, "by": None}),
    ("a vCPU",),
)


def changed(**groups: Any) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(json.dumps(PLAN.to_data()))
    for path, value in groups.items():
        *folders, name = path.split("__")
        table = data
        for folder in folders:
            table = table[folder]
        table[name] = value
    return data


def test_order_as_a_file(tmp_path: Path) -> None:
    Order(PLAN, 3).write(tmp_path / "order")
    assert Order.read(tmp_path / "order") == Order(PLAN, 3)


def test_options_are_one_word_each() -> None:
    assert PLAN.arguments() == ["--platform=lab", "--lab-kernel=/a b/Image", "--dst-lab-cpu=max"]


def test_changes_replace_add_and_take_away() -> None:
    assert PLAN.changes.of_case({"vcpus": 2, "hypervisor": "linux", "x": None}) == {"vcpus": 1, "x": None}
    assert PLAN.changes.of_payload({"by": "cval", "e2h": 0}) == {"e2h": 0, "ahead_us": 5}
    spec = PLAN.changes.of_machine(MachineSpec(PurePath("x")))
    assert spec == MachineSpec(PurePath("x"), memory_mib=16)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"test": "/etc/test_x.py::test_it"}, "not the name of a scenario"),
        ({"test": "scenarios/../../x/test_x.py::test_it"}, "not the name of a scenario"),
        ({"test": "--collect-only"}, "not the name of a scenario"),
        ({"test": "-x/test_x.py::test_it"}, "not the name of a scenario"),
        ({"test": "scenarios/x.py::test_it[a]"}, "not the name of a scenario"),
        ({"test": 7}, "not the name of a scenario"),
        ({"extra": 1}, "unknown key 'extra'"),
        ({"params": []}, "expected a table"),
        ({"params": {"cpu": "max"}}, "names no lifecycle"),
        ({"params__cpu": "max -S"}, "'cpu' must be a number or a plain word"),
        ({"params__cpu": True}, "'cpu' must be a number or a plain word"),
        ({"params__cpu": 1.5}, "'cpu' must be a number or a plain word"),
        ({"params__a-b": 1}, "'a-b' is no name"),
        ({"options__rootdir": "/"}, "unknown key 'rootdir'"),
        ({"options__qemu": "a\nb"}, "option 'qemu' must be one line"),
        ({"options__qemu": 1}, "option 'qemu' must be one line"),
        ({"changes__params__qemu": "poweroff"}, "'qemu' is an option, and no parameter"),
        ({"changes__params__dst_lab_qemu": "x"}, "'dst_lab_qemu' is an option, and no parameter"),
        ({"changes__machine__kernel": "x"}, "a machine cannot have kernel"),
        ({"changes__machine__machine": "virt,dumpdtb=x"}, "a machine cannot have machine"),
        ({"changes__machine__memory_mib": 0}, "a machine cannot have memory_mib 0"),
        ({"changes__machine__console": "stdio"}, "a machine cannot have console"),
        ({"changes__else": {}}, "unknown key 'else'"),
        ({"dropped": "x"}, "'dropped' must be a list"),
    ],
)
def test_what_is_refused(groups: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Plan.from_data(changed(**groups), "x")


@pytest.mark.parametrize("runs", [0, "1", 10**9, None])
def test_runs_are_a_number(tmp_path: Path, runs: object) -> None:
    (tmp_path / "order").write_text(json.dumps({"plan": PLAN.to_data(), "runs": runs}))
    with pytest.raises(UsageError, match="'runs' must be"):
        Order.read(tmp_path / "order")


@pytest.mark.parametrize("text", ["", "[]", "{", '{"plan": null}', '{"more": 1}'])
def test_a_file_that_is_no_order(tmp_path: Path, text: str) -> None:
    (tmp_path / "order").write_text(text)
    with pytest.raises(UsageError, match="order"):
        Order.read(tmp_path / "order")
