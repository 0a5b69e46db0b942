"""A vCPU whose thread gets no time: a task of higher priority has the only CPU that it may run on.

Under a hypervisor a vCPU is a thread like any other: where there is more to do than there are cores for, some of them begin
long after the others. Here that is certain.
"""

from __future__ import annotations

from harness.deadline import Deadline
from harness.errors import Unsupported
from harness.qemu.machine import Machine

_ANSWER_SECONDS = 20.0
# Arguments: for how many seconds, and the thread. What takes its time ends by itself, whatever becomes of the harness.
_PROGRAM = """
import os, sys, time
seconds, late = float(sys.argv[1]), int(sys.argv[2])
with open(f"/proc/{late}/status") as status:
    process = next(line.split()[1] for line in status if line.startswith("Tgid:"))
cpus = sorted(os.sched_getaffinity(late))
if len(cpus) < 2:
    sys.exit("QEMU has one CPU only")
for thread in map(int, os.listdir(f"/proc/{process}/task")):
    os.sched_setaffinity(thread, cpus[-1:] if thread == late else cpus[:-1])
os.sched_setaffinity(0, cpus[-1:])
try:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
except PermissionError:
    sys.exit("nobody but root may have a priority above all others")
if os.fork() == 0:
    os.setsid()
    for stream in range(3):
        os.close(stream)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    os._exit(0)
"""


def hold_back(machine: Machine, vcpu: int, seconds: float) -> None:
    """Keep a vCPU's thread from running for so long, from now on; the other threads of its QEMU go on.

    Raises Unsupported with the reason where the host does not allow it.
    """
    threads = {each["cpu-index"]: each["thread-id"] for each in machine.execute("query-cpus-fast")}
    argv = ["python3", "-c", _PROGRAM, str(seconds), str(threads[vcpu])]
    done = machine.host.run(argv, Deadline.after(_ANSWER_SECONDS))
    if done.status:
        raise Unsupported(f"vCPU {vcpu} cannot be held back: {done.stderr.decode().strip()}", where=machine.host.name)
