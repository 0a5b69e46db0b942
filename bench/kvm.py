"""Save and restore of a guest hypervisor's vCPU through /dev/kvm, in a lab: milliseconds in all, and for each register."""

from __future__ import annotations

from statistics import median

from bench.lab import bench_lab
from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.events import Timeline
from harness.guest.payload import Guest
from harness.kvm.machine import KvmMachine
from harness.qemu.spec import MachineSpec, Start


def measure(times: int) -> dict[str, float]:
    """Save a guest at vEL2 and restore it into a fresh VM of another process, `times` times; medians of the VMM's own clock."""
    saves, restores, writing = [], [], []
    with bench_lab() as (lab, shop):
        given: dict[str, object] = {
            "timer": "cntv_el02",
            "instant": "armed",
            "vcpus": 1,
            "e2h": 1,
            "console": "virtio",
            "offset": "none",
        }
        spec = MachineSpec(
            lab.bring(guests.find().path("timers")),
            append=" ".join(f"{name}={value}" for name, value in given.items()),
            el2=True,
            accel="kvm",
            console="virtio",
        )
        qemu, timeline = assets_qemu.resolve(None), Timeline()
        with KvmMachine(spec, qemu, shop, timeline, side="source") as machine:
            Guest("timers", given, machine).reach_now()
            machine.stop()
            path = machine.place / "state"
            for _ in range(times):
                saved = machine.execute("save", path=str(path))
                saves.append(saved["figures"]["ms"])
            registers = len(saved["look"]["vcpus"][0]["registers"])
            with KvmMachine(spec, qemu, shop, timeline, side="destination", start=Start.INCOMING) as other:
                for _ in range(times):
                    took = other.execute("restore", path=str(path), el2=True, e2h0=False)["figures"]
                    restores.append(took["ms"])
                    writing.append(took["registers_ms"])
    return {
        "times": times,
        "registers": registers,
        "save_ms": median(saves),
        "restore_ms": median(restores),
        "restore_worst_ms": max(restores),
        "restore_us_per_register": 1000 * median(writing) / registers,
    }
