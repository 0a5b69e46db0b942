"""What is known of a case that ended badly, collected while its machines' files are still there: what its bundle is made of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from harness.errors import HostFailure
from harness.lifecycle.passage import Saved
from harness.plugin.hosts import described
from harness.plugin.trial import Trial
from harness.qemu.machine import AnyMachine
from harness.report.evidence import Evidence, Side, Stream
from harness.report.model import Case


def evidence(trial: Trial, case: Case, options: tuple[str, ...], provenance: Mapping[str, object]) -> Evidence:
    """Collect both sides' words, what was seen of them, the streams, and what happened when."""
    states = {}
    for index, passage in enumerate(trial.passages):
        for number, pair in enumerate(passage.pairs):
            for when, state in (("before", pair.before), ("after", pair.after)):
                states[f"{index}-{number}-{when}-{state.view}"] = state.to_data()
    streams: dict[str, Stream] = {}
    for saved in (saved for passage in trial.passages for saved in passage.streams):
        if stream := _fetched(trial, saved):
            name = f"{saved.machine.side}-{stream.name}" if stream.name in streams else stream.name
            streams[name] = replace(stream, name=name)
    return Evidence(
        case=case,
        options=options,
        sides=(*map(_side, trial.machines), *_kernel_sides(trial)),
        states=states,
        streams=tuple(streams.values()),
        differences=trial.tally.differences,
        steps=tuple(trial.timeline.steps),
        provenance=dict(provenance),
        hosts=tuple(described(ground) for ground in trial.distinct_grounds),
    )


def _kernel_sides(trial: Trial) -> Iterator[Side]:
    """Give the host of each kernel under test, with its log since it was last read: by the end of the case before."""
    names = [kernel.name for kernel, _ in trial.marks]
    for number, (kernel, mark) in enumerate(trial.marks):
        side = _side(kernel.machine) if kernel.machine else Side("", ())
        twin = names[:number].count(kernel.name)
        name = f"host-{kernel.name}" + (f"-{twin + 1}" if twin else "")
        yield replace(side, name=name, console="\n".join(kernel.log.since(mark)))


def _fetched(trial: Trial, saved: Saved) -> Stream | None:
    """Return a stream as evidence, where its machine got so far as to write it and its host still answers."""
    try:
        path = saved.here()
    except HostFailure as error:
        trial.timeline.add(saved.machine.side, "lost", str(error))
        return None
    return Stream(path.name, path) if path.exists() else None


def _side(machine: AnyMachine) -> Side:
    def read(name: str) -> str:
        path = machine.directory / name
        return path.read_text("utf-8", "backslashreplace") if path.exists() else ""

    return Side(
        name=machine.side,
        argv=("env", *(f"{name}={value}" for name, value in machine.qemu.env.items()), *machine.argv),
        qemu_version=machine.qemu.version_text,
        exit_status=machine.process.poll(),
        console=read("console.log"),
        qmp=read("qmp.log"),
        stderr=read("stderr.log"),
    )
