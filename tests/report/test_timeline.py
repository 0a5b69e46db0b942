"""Both sides on one axis, and what the timers did, from steps and consoles."""

from __future__ import annotations

import pytest

from harness.events import Step
from harness.report.plots import quantile, spread_plot, timer_plot
from harness.report.sentences import core, kind, pattern
from harness.report.timeline import STEPS, TEXT, lanes, timeline

# 1 MHz: a tick is a microsecond.
HELLO = "@1 hello guest=timers el=1 e2h=0 vcpus=1 freq=1000000\n"
ARMED = "@1 arranged cpu=0 timer=cntv intid=27 instant=armed by=cval cval=0x4e20 cnt=0x2710 ctl=0x1\n@1 now\n"
READ = "@1 timer cpu=0 timer=cntv cval=0x4e20 cnt=0x3a98 ctl=0x1 n=0\n"
CAME = "@1 irq cpu=0 intid=27 timer=cntv cval=0x4e20 cnt=0x4e2a ctl=0x5 n=1\n"
LATER = "@1 timer cpu=0 timer=cntv cval=0x4e20 cnt=0x7530 ctl=0x1 n=0\n"


def steps(*kinds: tuple[str, str, str]) -> list[Step]:
    return [Step(number / 10, *each) for number, each in enumerate(kinds)]


def shown(*kinds: tuple[str, str, str], consoles: dict[str, str] | None = None) -> list[tuple[int, str, str]]:
    found = timeline(steps(*kinds), consoles or {"source": "", "destination": "", "source-2": ""})
    return [(entry.lane, entry.kind, entry.text) for entry in found.entries]


def test_machines_take_turns_in_two_lanes() -> None:
    found = timeline(
        steps(("source", "event", "a"), ("destination", "event", "b"), ("source-2", "event", "c"), ("harness", "lost", "d")),
        {"source": "", "destination": "", "source-2": ""},
    )
    assert found.lanes == ("source, source-2", "destination")
    assert [entry.lane for entry in found.entries] == [0, 1, 0, -1]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ('-> {"execute":"migrate","arguments":{"uri":"x"},"id":"1"}', ("command", 'migrate {"uri": "x"}')),
        ('-> {"execute":"cont","id":"1"}', ("command", "cont")),
        ('<- {"return": {"status": "completed"}, "id": "1"}', ("answer", '{"status": "completed"}')),
        (
            '<- {"error": {"class": "GenericError", "desc": "no"}, "id": "1"}',
            ("error", '{"class": "GenericError", "desc": "no"}'),
        ),
        ("-> what is no JSON", ("qmp", "-> what is no JSON")),
        ("<- [1]", ("qmp", "<- [1]")),
    ],
)
def test_qmp_in_short(text: str, entry: tuple[str, str]) -> None:
    assert shown(("source", "qmp", text)) == [(0, *entry)]


@pytest.mark.parametrize("text", ['<- {"return": {}, "id": "1"}', '<- {"event": "STOP"}', '<- {"QMP": {"version": {}}}'])
def test_what_is_said_twice_is_shown_once(text: str) -> None:
    assert shown(("source", "qmp", text)) == []


def test_what_nobody_waited_for_is_shown_too() -> None:
    kinds = (("source", "console", "@1 now"), ("destination", "console", "@1 end"), ("source", "exit", "gone"))
    assert shown(*kinds, consoles={"source": f"@1 now\n{CAME}", "destination": "@1 end\n"})[-1] == (
        0,
        "not waited for",
        CAME.strip(),
    )


def test_a_long_story_keeps_both_ends() -> None:
    found = timeline(steps(*[("source", "event", str(number)) for number in range(1000)]), {"source": ""})
    assert len(found.entries) == STEPS and found.omitted == 1000 - STEPS
    assert (found.entries[0].text, found.entries[found.gap].text, found.entries[-1].text) == (
        "0",
        str(1000 - STEPS // 2),
        "999",
    )


def test_a_long_text_is_cut() -> None:
    ((_, _, text),) = shown(("source", "console", "x" * 9999))
    assert len(text) == TEXT and text.endswith("…")


# -- timers


def test_a_lost_interrupt() -> None:
    (lane,) = lanes({"source": HELLO + ARMED, "destination": READ + LATER})
    assert (lane.name, lane.cvals, lane.interrupts, lane.resumed) == ("vCPU 0 CNTV", (0.0,), 0, -5.0)
    assert [(reading.at, reading.kind) for reading in lane.readings] == [(-10.0, "arranged"), (-5.0, "timer"), (10.0, "timer")]
    assert lane.words() == "0 interrupts; read last 10.0 ms after the first CVAL, ISTATUS clear"


def test_an_interrupt_that_came() -> None:
    (lane,) = lanes({"source": HELLO + ARMED, "destination": READ + CAME})
    assert lane.interrupts == 1 and lane.readings[-1].istatus and lane.readings[-1].at == 0.01
    assert lane.words() == "1 interrupt; read last 0.0 ms after the first CVAL, ISTATUS set"


def test_each_timer_of_each_vcpu_and_level_has_its_lane() -> None:
    more = ARMED.replace("cpu=0", "cpu=1") + ARMED.replace("cpu=0", "cpu=0 level=2")
    assert [lane.name for lane in lanes({"source": HELLO + ARMED + more})] == [
        "vCPU 0 CNTV",
        "vCPU 1 CNTV",
        "vCPU 0 level 2 CNTV",
    ]


@pytest.mark.parametrize(
    "console",
    [
        "",
        HELLO,
        ARMED,
        HELLO + "garbage\n@1 irq cpu=\n@1 irq cpu=0 timer=cntv cval=x cnt=y ctl=z\n",
        HELLO.replace("1000000", "0") + ARMED,
    ],
)
def test_what_shows_no_timer_has_no_plot(console: str) -> None:
    assert timer_plot(lanes({"source": console})) is None


def test_the_plot_keeps_order_and_stays_inside() -> None:
    plot = timer_plot(lanes({"source": HELLO + ARMED, "destination": READ + CAME + LATER}))
    assert plot
    (row,) = plot.rows
    armed, read, came, later = (mark for mark in row.marks if mark.kind != "cval")
    assert 150 < armed.x < read.x < plot.zero <= came.x < later.x < 720
    assert row.away == (armed.x, read.x)
    assert "interrupt at 0.010 ms, ISTATUS set" in [mark.label for mark in row.marks]
    assert [tick.label for tick in plot.ticks] == ["-10", "-5", "0", "5", "10"]


def test_one_moment_is_a_plot_too() -> None:
    assert timer_plot(lanes({"source": HELLO + ARMED.replace("cnt=0x2710", "cnt=0x4e20")}))


# -- distributions


def test_a_distribution() -> None:
    plot = spread_plot({"straight": [5.0, 10.0, 20.0], "file": [1000.0, -3.0], "none": []}, "us", 0.1)
    assert plot
    assert [row.name for row in plot.rows] == ["straight", "file"]
    assert plot.rows[0].words == "3: median 10 µs, 99 % below 20 µs, most 20 µs"
    assert [tick.label for tick in plot.ticks] == ["100 ns", "1 µs", "10 µs", "100 µs", "1 ms", "10 ms"]
    assert all(bar.x >= 150 and bar.x + bar.width <= 701 and 0 < bar.height <= 34 for row in plot.rows for bar in row.bars)


def test_no_values_no_plot() -> None:
    assert spread_plot({"a": []}, "s", 1e-3) is None


@pytest.mark.parametrize("value", [1e-3, 1.0, 1.0000001, 999.0])
def test_one_value_is_a_distribution_too(value: float) -> None:
    plot = spread_plot({"a": [value]}, "s", 1e-3)
    assert plot and len(plot.rows[0].bars) == 1


def test_quantiles_are_values_that_were_seen() -> None:
    assert [quantile([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.99, 1.0)] == [1, 1, 2, 4, 4]


# -- sentences

SENTENCE = "timers: cnthp armed at EL2 through file: interrupt lost: PPI 26 came 0 times, 502.7 ms past (CTL 0x1); suspect QEMU"


def test_a_sentence_taken_apart() -> None:
    assert core(SENTENCE) == "interrupt lost: PPI 26 came 0 times, 502.7 ms past (CTL 0x1)"
    assert (
        kind(SENTENCE) == kind(SENTENCE.replace("502.7", "9").replace("file", "live")) != kind(SENTENCE.replace("lost", "late"))
    )
    assert kind(SENTENCE) == kind(SENTENCE.replace("; suspect", " (and 3 more); suspect"))
    found = "; the guest found: vCPU 0: 0 interrupts"
    of_one, of_two = (
        SENTENCE.replace("; suspect", f"{words}; suspect") for words in (found, f"{found} | vCPU 1: 0 interrupts")
    )
    assert kind(SENTENCE) != kind(of_one) == kind(of_two) != kind(of_two.replace("vCPU 1: 0", "vCPU 1: no"))
    assert pattern(core(SENTENCE)) == r"interrupt lost: PPI [\d.]+ came [\d.]+ times, [\d.]+ ms past \(CTL 0x[0-9a-f]+\)"
