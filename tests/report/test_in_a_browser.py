"""report.html in a real Chromium: quick, on a phone, in the dark, by keyboard, without the network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.report import bundle, html, measured, results
from harness.report.history import History
from harness.report.past import of_run
from harness.report.privacy import Redactor
from harness.report.versions import Versions
from tests.report import browser
from tests.report.browser import Browser
from tests.report.report_samples import FAILED, PASSED, evidence_of, run_of
from tests.report.test_html import big_run

ALICE = Redactor(("/home/alice",), "alice")
CONSOLE = """@1 hello guest=timers el=1 e2h=0 vcpus=1 freq=1000000
@1 arranged cpu=0 timer=cntv intid=27 instant=armed by=cval cval=0x4e20 cnt=0x2710 ctl=0x1
"""

# Contrast by WCAG 2.1 (1.4.3) of every element that has text of its own, the lowest first.
CONTRAST = """
(() => {
  const light = c => { const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const parts = text => text.match(/[\\d.]+/g).map(Number);
  const ground = element => { for (; element; element = element.parentElement) {
      const c = parts(getComputedStyle(element).backgroundColor); if (c.length < 4 || c[3] > 0) return c.slice(0, 3); }
    return parts(getComputedStyle(document.documentElement).backgroundColor).length > 3 && matchMedia('(prefers-color-scheme: dark)').matches ? [0, 0, 0] : [255, 255, 255]; };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    if (element.closest('svg, .none, .skip') || ![...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const [a, b] = [light(parts(getComputedStyle(element).color).slice(0, 3)), light(ground(element))];
    found.push([(Math.max(a, b) + .05) / (Math.min(a, b) + .05), element.tagName + '.' + element.className]);
  }
  return found.sort((a, b) => a[0] - b[0]).slice(0, 3);
})()
"""


@pytest.fixture(scope="module")
def page() -> Iterator[Browser]:
    program = browser.found()
    if program is None:
        pytest.skip("no Chromium on this computer: apt-get install chromium")
    with browser.browser(program) as found:
        yield found


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of 1,000 cases, 300 of them with evidence, with a history, and measurements."""
    out = tmp_path_factory.mktemp("thousand")
    run = big_run(out)
    results.write(out, run, ALICE)
    measured.write(out, {case.id: [float(number + 1)] * 3 for number, case in enumerate(run.cases)})
    with History(out / "h") as store:
        number = store.begin("2026-11-19T00:00:00Z", {})
        store.add(number, [(replace(case, verdict=PASSED.verdict), Versions("11.1.2")) for case in run.cases[::2]])
        past = of_run(store, run)
    return html.make_report(out, past)


@pytest.fixture(scope="module")
def failure(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of one pass, and of one failure with two more of its kind."""
    out = tmp_path_factory.mktemp("failure")
    cases = [FAILED, *(replace(FAILED, id=f"{FAILED.id[:-1]}-{number}]") for number in range(2))]
    written = []
    for case in cases:
        evidence = evidence_of(case, out)
        sides = (replace(evidence.sides[0], console=CONSOLE), evidence.sides[1])
        written.append(replace(case, bundle=bundle.write(out, replace(evidence, sides=sides), ALICE)))
    results.write(out, run_of(PASSED, *written), ALICE)
    measured.write(out, {PASSED.id: [12.5]})
    return html.make_report(out)


def test_a_thousand_cases_open_within_a_second(page: Browser, thousand: Path) -> None:
    assert thousand.stat().st_size < 5_000_000
    # The time of the page's own thread, which is the same on a busy computer.
    page.call("Performance.enable", timeDomain="threadTicks")
    page.show(thousand, 1280, 900)
    # Painted, not only parsed: the answer comes after the next frame.
    page.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    metrics = {each["name"]: each["value"] for each in page.call("Performance.getMetrics")["metrics"]}
    page.call("Performance.disable")
    assert 0.05 < metrics["TaskDuration"] < 1, metrics


def test_it_asks_nothing_of_the_network_and_has_no_complaints(page: Browser, thousand: Path) -> None:
    page.show(thousand, 1280, 900)
    asked = [event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"]
    assert asked == [thousand.resolve().as_uri()]
    assert [event for event in page.events if event.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}] == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_can_be_read(page: Browser, failure: Path, dark: bool) -> None:
    page.show(failure, 1280, 900, dark=dark)
    page.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    ground = page.ask("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(21, 24, 28)" if dark else "rgb(255, 255, 255)")
    lowest = page.ask(CONTRAST)
    assert lowest[0][0] >= 4.5, lowest


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_it_fits_any_width(page: Browser, failure: Path, width: int) -> None:
    page.show(failure, width, 800, phone=width < 500)
    page.ask("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert page.ask("document.documentElement.scrollWidth") <= width
    small = page.ask(
        "[...document.querySelectorAll('nav a, summary')].filter(e => e.getBoundingClientRect().height < 24).length"
    )
    assert small == 0, "what is to be tapped is 24 px high at least (WCAG 2.2, 2.5.8)"


def test_by_keyboard(page: Browser, failure: Path) -> None:
    page.show(failure, 1280, 900)
    focused = "(e => e.tagName + (e.textContent.trim().slice(0, 30) ? ' ' + e.textContent.trim().slice(0, 30) : ''))(document.activeElement)"
    page.press("Tab")
    assert page.ask(focused) == "A To the results"
    seen = []
    for _ in range(60):
        page.press("Tab")
        seen.append(page.ask(focused))
        if seen[-1].startswith("SUMMARY"):
            break
    assert "A What broke" in seen and "A The evidence" in seen and seen[-1].startswith("SUMMARY What happened")
    assert page.ask("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.press("Enter")
    assert page.ask("document.activeElement.parentElement.open") is True


def test_a_link_opens_what_it_leads_to(page: Browser, failure: Path) -> None:
    page.show(failure, 1280, 900)
    assert page.ask("document.querySelector('#case-3').checkVisibility()") is False
    page.ask("location.hash = '#case-3'")
    page.ask("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert page.ask("document.querySelector('#case-3').checkVisibility()") is True
    assert page.ask("Math.abs(document.querySelector('#case-3').getBoundingClientRect().top) < innerHeight") is True


def test_plots_are_drawn(page: Browser, failure: Path) -> None:
    page.show(failure, 1280, 900)
    boxes = page.ask("[...document.querySelectorAll('svg.plot')].map(e => e.getBBox()).map(b => [b.width, b.height])")
    assert len(boxes) >= 3 and all(width > 300 and height > 20 for width, height in boxes)
    assert page.ask("document.querySelector('svg.plot').getAttribute('aria-label')").startswith("vCPU 0 CNTV: 0 interrupts")


def test_what_cannot_be_read_would_be_seen(page: Browser, failure: Path, tmp_path: Path) -> None:
    pale = tmp_path / "pale.html"
    pale.write_text(
        failure.read_text().replace("<body>", '<body style="color: #999"><img src="http://127.0.0.1:9/x.png" alt="">')
    )
    page.show(pale, 1280, 900)
    assert page.ask(CONTRAST)[0][0] < 4.5
    asked = [event["params"]["request"]["url"] for event in page.events if event.get("method") == "Network.requestWillBeSent"]
    assert "http://127.0.0.1:9/x.png" in asked
