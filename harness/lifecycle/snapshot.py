"""savevm and loadvm, through the jobs that replaced them in QMP (snapshot-save, snapshot-load)."""

from __future__ import annotations

from harness.errors import Blocked
from harness.lifecycle.passage import Passage, Saved
from harness.qemu import migration
from harness.qemu.machine import Machine
from harness.qemu.spec import Start

_TAG = "now"
_BYTES = 1 << 20  # of the disk; the machine's state is kept beside it and grows the file


def snapshot(passage: Passage, machine: Machine) -> Machine:
    """Save an internal snapshot in a qcow2 image, let the process go, load it in a new one."""
    machine.stop()
    before = passage.look(machine)
    node, image = _create(passage, machine)
    _snapshot(passage, machine, "snapshot-save", node)
    machine.quit(passage.deadline)
    restored = passage.twin(Start.PAUSED)
    file = {"driver": "file", "filename": str(image.at(restored))}
    restored.execute("blockdev-add", {"driver": "qcow2", "node-name": node, "file": file})
    _snapshot(passage, restored, "snapshot-load", node)
    passage.compare(before, passage.look(restored))
    restored.cont()
    return restored


def snapshot_same(passage: Passage, machine: Machine) -> Machine:
    """Save a snapshot, reset the machine so that nothing of the guest is left, and load the snapshot into it."""
    machine.stop()
    before = passage.look(machine)
    node, _ = _create(passage, machine)
    _snapshot(passage, machine, "snapshot-save", node)
    since = len(machine.qmp.events)
    machine.execute("system_reset")
    machine.wait_event("RESET", passage.deadline, since=since)
    _snapshot(passage, machine, "snapshot-load", node)
    passage.compare(before, passage.look(machine))
    machine.cont()
    return machine


def _create(passage: Passage, machine: Machine) -> tuple[str, Saved]:
    """Make a qcow2 image through the running QEMU, for qemu-img is a package of its own; return its node and the file.

    The machine may have one from an earlier snapshot.
    """
    node = f"snapshots{len(machine.execute('query-named-block-nodes'))}"
    image = Saved(machine, f"{node}.qcow2")
    file = {"driver": "file", "filename": str(image.path)}
    _job(passage, machine, "blockdev-create", {"options": {**file, "size": 0}})
    machine.execute("blockdev-add", {**file, "node-name": f"{node}-file"})
    options = {"driver": "qcow2", "file": f"{node}-file", "size": _BYTES}
    _job(passage, machine, "blockdev-create", {"options": options})
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": node, "file": f"{node}-file"})
    return node, image


def _snapshot(passage: Passage, machine: Machine, command: str, node: str) -> None:
    _job(passage, machine, command, {"tag": _TAG, "vmstate": node, "devices": [node]})


def _job(passage: Passage, machine: Machine, command: str, arguments: dict[str, object]) -> None:
    """Run a QEMU job to its end (qapi/job.json). Raises QemuFailure with the job's error."""
    since = len(machine.qmp.events)
    name = f"job{since}"
    machine.execute(command, {"job-id": name, **arguments})
    machine.wait_event("JOB_STATUS_CHANGE", passage.deadline, since=since, id=name, status="concluded")
    (job,) = [job for job in machine.execute("query-jobs") if job["id"] == name]
    machine.execute("job-dismiss", {"id": name})
    if error := job.get("error"):
        if reasons := migration.blocked(machine):
            raise Blocked(reasons, where=machine.side)
        raise migration.failed(machine, f"{command}: {error}")
