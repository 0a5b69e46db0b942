"""savevm and loadvm, through the jobs that replaced them in QMP (snapshot-save, snapshot-load)."""

from __future__ import annotations

from pathlib import PurePath

from harness.errors import Blocked
from harness.lifecycle.passage import Passage, Saved
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.qemu.spec import Start

_NODE = "snapshots"
_TAG = "now"
_BYTES = 1 << 20  # of the disk; the machine's state is kept beside it and grows the file


def snapshot(passage: Passage, machine: Machine) -> Machine:
    """Save an internal snapshot in a qcow2 image, let the process go, load it in a new one."""
    image = Saved(machine, "snapshots.qcow2")
    machine.stop()
    before = passage.look(machine)
    create(passage, machine, image.path)
    job_of(passage, machine, "snapshot-save")
    machine.quit(passage.deadline)
    restored = passage.twin(Start.PAUSED)
    attach(restored, image.at(restored))
    job_of(passage, restored, "snapshot-load")
    passage.compare(before, passage.look(restored))
    restored.execute("blockdev-del", {"node-name": _NODE})
    restored.cont()
    return restored


def snapshot_same(passage: Passage, machine: Machine) -> Machine:
    """Save a snapshot, reset the machine so that nothing of the guest is left, and load the snapshot into it."""
    machine.stop()
    before = passage.look(machine)
    create(passage, machine, Saved(machine, "snapshots.qcow2").path)
    job_of(passage, machine, "snapshot-save")
    since = len(machine.qmp.events)
    machine.execute("system_reset")
    machine.wait_event("RESET", passage.deadline, since=since)
    job_of(passage, machine, "snapshot-load")
    passage.compare(before, passage.look(machine))
    for node in (_NODE, "file"):  # so that it can be done again
        machine.execute("blockdev-del", {"node-name": node})
    machine.cont()
    return machine


def create(passage: Passage, machine: Machine, path: PurePath) -> None:
    """Make the qcow2 image through the running QEMU: qemu-img is a package of its own."""
    _job(passage, machine, "blockdev-create", {"options": {"driver": "file", "filename": str(path), "size": 0}})
    machine.execute("blockdev-add", {"driver": "file", "node-name": "file", "filename": str(path)})
    options = {"driver": "qcow2", "file": "file", "size": _BYTES}
    _job(passage, machine, "blockdev-create", {"options": options})
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": _NODE, "file": "file"})


def attach(machine: Machine, path: PurePath) -> None:
    """Give a machine the qcow2 image at `path` of its host. Raises QemuFailure."""
    file = {"driver": "file", "filename": str(path)}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": _NODE, "file": file})


def job_of(passage: Passage, machine: Machine, command: str) -> None:
    """Carry out `snapshot-save` or `snapshot-load` on that image. Raises as `_job`."""
    _job(passage, machine, command, {"tag": _TAG, "vmstate": _NODE, "devices": [_NODE]})


def _job(passage: Passage, machine: Machine, command: str, arguments: dict[str, object]) -> None:
    """Run a QEMU job to its end (qapi/job.json). Raises Blocked as `migration.send`, QemuFailure with the job's error."""
    since = len(machine.qmp.events)
    name = f"{command}-{since}"
    machine.execute(command, {"job-id": name, **arguments})
    machine.wait_event("JOB_STATUS_CHANGE", passage.deadline, since=since, id=name, status="concluded")
    (job,) = [job for job in machine.execute("query-jobs") if job["id"] == name]
    machine.execute("job-dismiss", {"id": name})
    if error := job.get("error"):
        if (reasons := migration.blocked(machine)) and not migration.has_migrated(machine, since):
            raise Blocked(reasons, where=machine.side)
        raise migration.failed(machine, f"{command}: {error}")
