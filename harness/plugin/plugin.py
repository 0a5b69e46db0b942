"""Options, fixtures and hooks of the pytest plugin.

A scenario takes `case` (its parameters), `boot` and `put_through`, and `counts` for the evidence that it found:

    guest = boot("timers", timer=case.timer, instant=case.instant, by=case.by)
    put_through(guest)
    ...
    counts(interrupts=...)
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from harness.assets import cache, guests
from harness.errors import HarnessError, MissingError, Unsupported, UsageError, Verdict
from harness.guest.payload import Guest
from harness.host.local import LocalHost, die_with_parent
from harness.kvm.sample import Samples
from harness.lifecycle import LIFECYCLES
from harness.plugin import exhibits, limit, platforms, replay, share
from harness.plugin.matrix import Matrix, Params
from harness.plugin.progress import Reporter
from harness.plugin.results import NO_HISTORY, Recorder, provenance
from harness.plugin.trial import Bench, Trial
from harness.plugin.verdicts import check_repeats, conclude, finding, uncollected
from harness.qemu.hub import Hub
from harness.report import bundle, journal, repeats, shards
from harness.report.history import History
from harness.report.known import KnownIssues, load
from harness.report.model import Case, Compared, lost
from harness.report.results import case_to_data
from harness.rerun.plan import Order

# What, with the node id and --all (which has every case, however this one was chosen), runs a case again.
_RERUN = ("--platform", "--qemu", "--dst-qemu", *platforms.LAB_OPTIONS, *platforms.DST_LAB_OPTIONS, "--hosts", "--known-issues")
_RECORDER = pytest.StashKey[Recorder]()
_TRIAL = pytest.StashKey[Trial]()
_ENDED = pytest.StashKey[Case]()
_KNOWN = pytest.StashKey[KnownIssues]()
_ORDER = pytest.StashKey[Order]()
_RECORDS = pytest.StashKey[replay.Records]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("arm64 virtual machines")
    group.addoption(
        "--platform", default="tcg", metavar="NAME", help="Where and how guests run: tcg, lab, kvm or ssh:NAME (default: tcg)."
    )
    group.addoption(
        "--lifecycle",
        action="append",
        metavar="NAME",
        choices=list(LIFECYCLES),
        help="Only this lifecycle; may repeat.",
    )
    group.addoption("--all", action="store_true", dest="everything", help="Every combination, not only every pair.")
    group.addoption("--qemu", metavar="PATH", help="A qemu-system-aarch64, or a Debian suite that was set up.")
    group.addoption("--dst-qemu", metavar="PATH", help="The destination's QEMU, where it is another one.")
    for option, (metavar, what) in platforms.LAB_OPTIONS.items():
        group.addoption(option, action="append", metavar=metavar, help=what)
    for option, (metavar, what) in platforms.DST_LAB_OPTIONS.items():
        group.addoption(option, action="append", metavar=metavar, help=f"Of the destination's lab: {what}")
    group.addoption("--hosts", metavar="FILE", help="The inventory of real hosts (default: hosts.toml, or $HARNESS_HOSTS).")
    group.addoption("--walk-steps", type=int, default=500, metavar="N", help="How many steps the walks make (default: 500).")
    group.addoption("--walk-seed", type=int, default=1, metavar="N", help="What chooses the steps of the walks (default: 1).")
    group.addoption("--out", metavar="DIR", help="Where results and bundles go (default: out).")
    # For `harness repro` and its like: the one case that FILE describes (harness/rerun/plan.py), in place of a matrix's.
    group.addoption("--replay", metavar="FILE", help=argparse.SUPPRESS)
    group.addoption("--history", metavar="FILE", help="The history that the run adds to, or none (default: in the cache).")
    group.addoption("--repeat", type=int, default=1, metavar="N", help="Try each case N times; each try counts.")
    group.addoption("--require", type=int, metavar="K", help="With --repeat: how many tries have to go well (default: all).")
    group.addoption("--known-issues", metavar="FILE", help="The list of known issues (default: scenarios/known_issues.toml).")
    group.addoption("--journal-fd", type=int, help=argparse.SUPPRESS)  # where a fleet listens
    share.add_options(group)
    limit.add_option(group)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker; in a worker, make sure that it does not outlive the controller."""
    config.addinivalue_line("markers", "matrix(matrix): the cases of a scenario, a harness.plugin.matrix.Matrix")
    config.addinivalue_line("markers", "report(*reports): what has been reported and is shown, harness.plugin.reported.Report")
    if _is_worker(config) or config.getoption("--replay"):
        die_with_parent()
    if _is_worker(config):
        _portion(config)
    else:
        reporter = Reporter(config)
        config.pluginmanager.register(reporter, "harness-progress")  # of two hooks, that of the later plugin comes first
        config.stash[_RECORDER] = Recorder(config, _out(config), reporter)
        config.pluginmanager.register(config.stash[_RECORDER], "harness-recorder")
        _check_options(config)


@pytest.hookimpl(optionalhook=True, wrapper=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """Have `-n auto` start no more workers than there is room for labs."""
    workers = yield
    try:
        fit = platforms.workers_that_fit(config.getoption)
    except UsageError as error:
        raise pytest.UsageError(str(error)) from error
    return min(workers, fit) if fit else workers


def _check_options(config: pytest.Config) -> None:
    """Refuse a mistake at once and in one line: a worker of pytest-xdist could only crash of it."""
    try:
        platforms.check(config.getoption)
        check_repeats(config.getoption("--repeat"), config.getoption("--require"))
        if (place := config.getoption("--history")) not in (None, NO_HISTORY):
            History(Path(place)).close()
        _check_room(config)
        _portion(config)
        if config.getoption("--known-issues"):
            _known_issues(config)
        _order(config)
    except (UsageError, MissingError) as error:
        raise pytest.UsageError(str(error)) from error


def _order(config: pytest.Config) -> Order | None:
    """Return what --replay orders, read once a process. Raises UsageError."""
    if not config.getoption("--replay"):
        return None
    if _ORDER not in config.stash:
        config.stash[_ORDER] = Order.read(Path(config.getoption("--replay")))
    return config.stash[_ORDER]


def _portion(config: pytest.Config) -> None:
    """Register what decides which of the cases are run: the limit of time, the shard. Raises UsageError."""
    if said := config.getoption("--time-limit"):
        limit.register(config, said)
    if said := config.getoption("--shard"):
        share.register(config, said, _planned, _out(config) if _tells(config) else None)
    elif config.getoption("--times"):
        raise UsageError("goes with --shard", where="--times")


def _tells(config: pytest.Config) -> bool:
    """Say whether this process leaves word of what is to be run: the first of those that collect it, where it is to be run."""
    first = not _is_worker(config) or config.workerinput["workerid"] == "gw0"  # type: ignore[attr-defined]  # pytest-xdist's
    return first and not config.getoption("collectonly")


def _check_room(config: pytest.Config) -> None:
    """Refuse more workers than there is room for labs: they would wait for each other for ever."""
    fit = platforms.workers_that_fit(config.getoption)
    workers = config.getoption("numprocesses", None) or 1
    if fit and workers > fit:
        raise UsageError(f"there is room for the labs of {fit} workers only", where=f"-n {workers}", remedy="use -n auto")


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def _workers(config: pytest.Config) -> int:
    """Return how many workers the run has, this process being one of them; 1 without pytest-xdist."""
    return int(config.workerinput["workercount"]) if _is_worker(config) else 1  # type: ignore[attr-defined]  # pytest-xdist's


def _out(config: pytest.Config) -> Path:
    return Path(config.getoption("--out") or config.rootpath / "out")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make the cases of a scenario from its matrix; a matrix without a case is an error at collection."""
    marker = metafunc.definition.get_closest_marker("matrix")
    if marker is None:
        return
    (matrix,) = marker.args
    assert isinstance(matrix, Matrix)
    config = metafunc.config
    platform = config.getoption("--platform")
    if order := _order(config):
        _replay(metafunc, matrix, order)
        return
    rows = _rows(matrix, config) if _is_for(matrix, config) else []
    if not rows:
        if _is_for(matrix, config) and not config.getoption("--lifecycle"):
            raise pytest.UsageError(f"{metafunc.definition.nodeid}: no case is left; nothing would be proven")
        metafunc.parametrize("case", [pytest.param(Params({}), id="elsewhere")])  # to be deselected
        return
    cases = [Params({**variant, **row}) for variant in platforms.variants(config.getoption) for row in rows]
    metafunc.parametrize(
        "case", [pytest.param(case, id=name) for case in cases for name in _ids(f"{platform}-{case.id}", config)]
    )


def _ids(name: str, config: pytest.Config) -> list[str]:
    """Return the ids of all tries of a case."""
    count = config.getoption("--repeat")
    return [name] if count == 1 else [repeats.marked(name, number) for number in range(1, count + 1)]


def _replay(metafunc: pytest.Metafunc, matrix: Matrix, order: Order) -> None:
    """Make the cases of --replay, and of other scenarios none."""
    config = metafunc.config
    if metafunc.definition.nodeid != order.plan.test or not _is_for(matrix, config):
        metafunc.parametrize("case", [pytest.param(Params({}), id="elsewhere")])
        return
    try:
        variants = platforms.variants(config.getoption)
        cases = replay.cases(order, matrix, _there(matrix, config), variants, config.getoption("--platform"))
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None
    metafunc.parametrize("case", [pytest.param(case, id=words) for case, words in cases])


def _there(matrix: Matrix, config: pytest.Config) -> Matrix:
    """Return the matrix as the platform has it."""
    if config.getoption("--platform") == "tcg":
        return matrix.where(platforms.FACTORS["tcg"], kvm=False)
    return matrix.where(platforms.UNDER_KVM, kvm=True, fits=platforms.fits_kvm)


def _rows(matrix: Matrix, config: pytest.Config) -> list[Params]:
    lifecycles = config.getoption("--lifecycle")
    matrix = _there(matrix, config)
    return matrix.rows(everything=config.getoption("everything"), only={"lifecycle": lifecycles} if lifecycles else {})


def _is_for(matrix: Matrix, config: pytest.Config) -> bool:
    return not matrix.platforms or config.getoption("--platform").partition(":")[0] in matrix.platforms


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out scenarios that are for other platforms, or have none of the lifecycles that the user named."""
    chosen = config.getoption("--lifecycle") or ()
    elsewhere = [item for item in items if isinstance(item, pytest.Function) and _is_elsewhere(item, chosen)]
    if elsewhere:
        config.hook.pytest_deselected(items=elsewhere)
        items[:] = [item for item in items if item not in elsewhere]
        if not items and not _is_worker(config):  # of a run with workers, pytest's exit status says it
            raise pytest.UsageError("no case is left; nothing would be proven")


def pytest_exception_interact(node: object, call: pytest.CallInfo[object], report: object) -> None:
    """Turn what cannot be collected into an error, which goes the way of a case."""
    if not isinstance(report, pytest.CollectReport) or call.excinfo is None:
        return
    error = call.excinfo.value
    if isinstance(error, pytest.Collector.CollectError):
        error = error.__cause__ or error
    if isinstance(error, pytest.UsageError):
        error = UsageError(str(error))
    assert isinstance(node, pytest.Collector)
    case = uncollected(report.nodeid, node.config.getoption("--platform"), error)
    report.harness_case = json.dumps(case_to_data(case))  # type: ignore[attr-defined]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Leave word of what is to be run, once: the first worker does, for a controller of pytest-xdist collects nothing."""
    config = session.config
    cases = [case for item in session.items if (case := _planned(item))]
    if cases and _tells(config):
        journal.plan(_out(config), cases)
        if not config.getoption("--shard"):
            (_out(config) / shards.NAME).unlink(missing_ok=True)
        if not _is_worker(config):
            config.stash[_RECORDER].collected = True


def _params_of(item: pytest.Item) -> Params | None:
    """Return the parameters of a case, a matrix's or, of a walk, its own; None of any other test, which has no trial."""
    if not isinstance(item, pytest.Function) or "trial" not in item.fixturenames or not hasattr(item, "callspec"):
        return None
    params = item.callspec.params.get("case")
    return params if isinstance(params, Params) else None


def _planned(item: pytest.Item) -> Case | None:
    """Return a case as one that has no end yet, None for any other test."""
    if not (params := _params_of(item)):  # none at all: elsewhere
        return None
    platform = item.config.getoption("--platform")
    case = conclude(item.nodeid, item.path.parent.name, platform, params, None, seconds=0.0, compared=Compared())
    return lost(case, journal.KILLED)


def _is_elsewhere(item: pytest.Function, lifecycles: Collection[str]) -> bool:
    case = item.callspec.params.get("case") if hasattr(item, "callspec") else None
    if item.get_closest_marker("matrix") is not None:
        return not case
    # What has its own cases (walks) has nothing to do with lifecycles that the user named.
    return bool(lifecycles) and isinstance(case, Params) and case.get("lifecycle") not in lifecycles


@pytest.fixture(scope="session")
def bench(pytestconfig: pytest.Config) -> Iterator[Bench]:
    """What all cases of this process share."""
    try:
        payloads = guests.find()
        _known_issues(pytestconfig)
        with Hub() as hub, LocalHost() as desk, platforms.grounds(pytestconfig.getoption, hub, desk) as grounds:
            accel = "tcg" if pytestconfig.getoption("--platform") == "tcg" else "kvm"
            crowd = platforms.crowd(pytestconfig.getoption, _workers(pytestconfig))
            yield Bench(grounds, payloads, cache.root() / "slots", _out(pytestconfig), accel, crowd=crowd)
    except (UsageError, MissingError) as error:
        if _is_worker(pytestconfig):
            raise  # leaving a worker of pytest-xdist in mid-run crashes the controller
        # Every case would say the same.
        pytest.exit(str(error), returncode=pytest.ExitCode.USAGE_ERROR)


@pytest.fixture
def trial(bench: Bench, case: Params, request: pytest.FixtureRequest) -> Iterator[Trial]:
    """The case that runs."""
    trial = Trial(bench, case, replay.changes_of(_order(request.config)))
    request.node.stash[_TRIAL] = trial
    yield trial
    trial.close()


@pytest.fixture
def boot(trial: Trial) -> Callable[..., Guest]:
    """`boot(payload, **arguments)`: a guest that has arranged everything; see `Trial.boot`."""
    return trial.boot


@pytest.fixture
def samples(trial: Trial) -> Samples:
    """`samples.at("vhe")`: a vCPU that runs nothing, to be asked what it has; see `Samples`."""
    return trial.samples()


@pytest.fixture
def put_through(trial: Trial) -> Callable[..., None]:
    """`put_through(guest)`: lead it through the case's lifecycle; see `Trial.put_through`."""
    return trial.put_through


@pytest.fixture
def counts(trial: Trial) -> Callable[..., None]:
    """`counts(registers=…, interrupts=…)`: what the scenario itself has compared and counted."""
    return trial.count


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Have the trial conduct its scenario; any other test is pytest's to call."""
    trial = pyfuncitem.stash.get(_TRIAL, None)
    if trial is None:
        return None
    taken = inspect.signature(pyfuncitem.obj).parameters
    trial.conduct(partial(pyfuncitem.obj, **{name: pyfuncitem.funcargs[name] for name in taken}))
    return True


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the end of a scenario into a verdict, with a bundle where it is a bad one."""
    report = yield
    if not isinstance(item, pytest.Function) or _params_of(item) is None:
        return report
    if call.when == "call" or call.excinfo is not None:
        case = item.stash[_ENDED] = _ended(item, call)
        # As text: execnet carries plain types only.
        report.harness_case = json.dumps(case_to_data(case))  # type: ignore[attr-defined]
        if (trial := item.stash.get(_TRIAL, None)) is not None:
            report.harness_versions = trial.versions  # type: ignore[attr-defined]
            report.harness_latencies = trial.latencies_us()  # type: ignore[attr-defined]
        _show(item, report, case, call)
    return report


def _ended(item: pytest.Function, call: pytest.CallInfo[None]) -> Case:
    """Return the case as it has ended. What broke it first stays, with its bundle, whatever comes of its teardown."""
    before = item.stash.get(_ENDED, None)
    if before is None or before.verdict not in (Verdict.FAIL, Verdict.ERROR) or call.excinfo is None:
        return _judged(item, call)
    _, _, words = finding(call.excinfo.value, before.platform)
    return replace(before, message=f"{before.message}; in its teardown: {words}")


def _judged(item: pytest.Function, call: pytest.CallInfo[None]) -> Case:
    """Return the case, a known issue recognised, with its bundle written while its machines' files are still there."""
    trial = item.stash.get(_TRIAL, None)
    error = call.excinfo.value if call.excinfo else None
    if isinstance(error, pytest.skip.Exception):
        error = Unsupported(str(error))
    case = conclude(
        item.nodeid,
        item.path.parent.name,
        item.config.getoption("--platform"),
        cast(Params, item.callspec.params["case"]),
        error,
        seconds=call.duration,
        compared=trial.tally.compared if trial else Compared(),
    )
    if overran := limit.overran(item, error):
        case = lost(case, overran)
    if trial is None:
        return case
    case = replace(case, params={**case.params, **trial.found}, arrangements=trial.arrangements)
    if trial.qemu_version:
        case = _known_issues(item.config).judge(case, *trial.versions)
    if case.verdict in (Verdict.PASS, Verdict.SKIP, Verdict.BLOCKED):
        return case
    case = replace(case, bundle=bundle.path_of(case.id))
    # The list of a replay is empty, and a file of its own.
    kept = [name for name in _RERUN if not (name == "--known-issues" and _order(item.config))]
    given = [(name, item.config.getoption(name)) for name in kept]
    chosen = [f"{name}={each}" for name, value in given for each in (value if isinstance(value, list) else [value]) if each]
    evidence = exhibits.evidence(trial, case, ("--all", *chosen), provenance(item.config))
    rerun = _records(item.config).of(item.nodeid, item.path, trial, error, _order(item.config))
    bundle.write(trial.bench.out, replace(evidence, rerun=rerun))
    return case


def _records(config: pytest.Config) -> replay.Records:
    """Return what finds out what a bundle says of its case, made once a process."""
    if _RECORDS not in config.stash:
        config.stash[_RECORDS] = replay.Records(config.getoption)
    return config.stash[_RECORDS]


def _known_issues(config: pytest.Config) -> KnownIssues:
    """Return the list of known issues, read once a process."""
    if _KNOWN not in config.stash:
        path = config.getoption("--known-issues") or config.rootpath / "scenarios" / "known_issues.toml"
        config.stash[_KNOWN] = load(Path(path))
    return config.stash[_KNOWN]


def _show(item: pytest.Function, report: pytest.TestReport, case: Case, call: pytest.CallInfo[None]) -> None:
    """Set what pytest shows and counts from the verdict: one line where the error is ours, its traceback where not."""
    line = f"{case.message}; bundle {item.config.getoption('--out') or 'out'}/{case.bundle}" if case.bundle else case.message
    match case.verdict:
        case Verdict.PASS:
            return
        case Verdict.SKIP | Verdict.BLOCKED:
            report.outcome = "skipped"
            report.longrepr = (str(item.path), item.location[1] or 0, f"{case.verdict}: {case.message}")
        case Verdict.KNOWN:
            report.outcome = "skipped"
            report.wasxfail = f"{case.known_issue}: {line}"
        case _:
            report.outcome = "failed"
            if call.excinfo is None or isinstance(call.excinfo.value, HarnessError):
                report.longrepr = line
