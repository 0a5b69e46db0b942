"""Through /dev/kvm itself, with no VMM of the user's between: for what QEMU will not save, nested guests above all.

The counters of a machine that stands are put back when it runs again, here or elsewhere, so its clock stands still.
"""

from __future__ import annotations

from harness.errors import Unsupported
from harness.kvm.machine import KvmMachine
from harness.lifecycle.passage import KvmPassage
from harness.qemu.spec import Start


def straight(_: KvmPassage, machine: KvmMachine) -> KvmMachine:
    """Leave the guest alone: the control."""
    return machine


def rewrite(passage: KvmPassage, machine: KvmMachine) -> KvmMachine:
    """Read every register and write it back in place, as `info registers` of QEMU's monitor does."""
    machine.stop()
    before = passage.look(machine)
    machine.rewrite()
    passage.compare(before, passage.look(machine))
    machine.cont()
    return machine


def restore(passage: KvmPassage, machine: KvmMachine) -> KvmMachine:
    """Save, let the process go, restore into a fresh VM of another one."""
    return _through_file(passage, machine, "state")


def twice(passage: KvmPassage, machine: KvmMachine) -> KvmMachine:
    """Save and restore the guest, let it run, and save it and restore it into a fresh VM of the same process."""
    restored = _through_file(passage, machine, "first")
    restored.stop()
    saved, before = passage.save(restored, "second")
    restored.restore(saved.path, first_entry=passage.first_entry)
    passage.compare(before, passage.look(restored))
    restored.cont()
    return restored


def migrate(passage: KvmPassage, machine: KvmMachine) -> KvmMachine:
    """Save, carry the file to another host, restore there. Raises Unsupported where the destination is the same host."""
    restored = passage.twin(Start.INCOMING)
    if restored.host is machine.host:
        raise Unsupported("the destination is the source's own host", remedy="name another one with the --dst- options")
    machine.stop()
    saved, before = passage.save(machine, "state")
    restored.restore(saved.at(restored))
    passage.compare(before, passage.look(restored))
    machine.dismiss()
    restored.cont()
    return restored


def _through_file(passage: KvmPassage, machine: KvmMachine, name: str) -> KvmMachine:
    machine.stop()
    saved, before = passage.save(machine, name)
    machine.dismiss()
    restored = passage.twin()
    restored.restore(saved.at(restored), first_entry=passage.first_entry)
    passage.compare(before, passage.look(restored))
    restored.cont()
    return restored
