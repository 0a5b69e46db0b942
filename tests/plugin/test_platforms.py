"""From the options to the labs of both sides: each combination is a set of cases, and says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.errors import UsageError
from harness.lab.boot import CPU
from harness.plugin import platforms
from harness.plugin.matrix import Params
from harness.plugin.verdicts import circumstances

Said = Mapping[str, str | Sequence[str]]


def labs(said: Said) -> list[dict[str, str]]:
    return platforms.variants({"--platform": "lab", **said}.get)


def test_every_source_goes_to_every_destination() -> None:
    said: Said = {"--lab-cpu": ["a", "b"], "--dst-lab-kernel": ["new", "old"], "--dst-lab-cpu": ["b", "c"]}
    found = [(each["lab_cpu"], each["dst_lab_kernel"], each["dst_lab_cpu"]) for each in labs(said)]
    assert found[:4] == [("a", "new", "b"), ("a", "new", "c"), ("a", "old", "b"), ("a", "old", "c")]
    assert len(set(found)) == len(found) == 8


def test_what_is_not_said_is_no_parameter() -> None:
    assert labs({}) == [{"lab_cpu": CPU}]
    assert platforms.variants({"--platform": "tcg"}.get) == [{}]


@pytest.mark.parametrize(
    ("said", "source", "destination"),
    [
        ({}, ("here", "a"), ("here", "a")),
        ({"dst_lab_cpu": "b"}, ("here", "a"), ("here", "b")),
        ({"dst_lab_kernel": "there"}, ("here", "a"), ("there", "a")),
    ],
)
def test_the_destination_is_as_the_source_but_for_what_is_said(
    said: dict[str, str], source: tuple[str, str], destination: tuple[str, str]
) -> None:
    sides = platforms.sides({"--platform": "lab"}.get, {"lab_kernel": "here", "lab_cpu": "a", **said})
    assert [(side.lab_kernel, side.lab_cpu) for side in sides] == [source, destination]


@pytest.mark.parametrize(
    ("said", "params", "qemus"),
    [
        ({}, {}, (None, None)),
        ({"--qemu": "a"}, {}, ("a", "a")),
        ({"--qemu": "a", "--dst-qemu": "b"}, {}, ("a", "b")),
        ({"--qemu": "a"}, {"qemu": "c"}, ("c", "a")),
        ({}, {"qemu": "c"}, ("c", None)),
        ({"--qemu": "a"}, {"dst_qemu": "c"}, ("a", "c")),
        ({"--qemu": "a", "--dst-qemu": "b"}, {"qemu": "c", "dst_qemu": "d"}, ("c", "d")),
    ],
)
def test_a_case_may_choose_its_qemus(said: dict[str, str], params: dict[str, str], qemus: tuple[str, str]) -> None:
    sides = platforms.sides({"--platform": "tcg", **said}.get, params)
    assert tuple(side.qemu for side in sides) == qemus


def test_a_case_says_where_its_guest_goes() -> None:
    params: dict[str, Any] = {"lab_cpu": "a", "dst_lab_kernel": "new", "dst_lab_cpu": "b", "lifecycle": "kvm-migrate"}
    assert Params(params).id == "a-to-new-to-b-kvm-migrate"
    assert circumstances(params) == "through kvm-migrate in the lab a to the lab new b"


@pytest.mark.parametrize("option", ["--lab-modules", "--dst-lab-modules"])
def test_modules_are_those_of_one_kernel(option: str) -> None:
    with pytest.raises(UsageError, match="is given twice"):
        platforms.check({"--platform": "lab", option: ["a", "b"]}.get)
