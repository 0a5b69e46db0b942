"""A vCPU whose thread gets no time, as on a computer with more to do than it has cores for.

Under a hypervisor a vCPU is a thread like any other, and some of them begin long after the others. Here that is certain:
another process traces the one thread and keeps it stopped (ptrace(2)). A task of higher priority would not do: the kernel
leaves some of each second to all others.
"""

from __future__ import annotations

from harness.deadline import Deadline
from harness.errors import Unsupported
from harness.qemu.machine import Machine

_ANSWER_SECONDS = 20.0
# Arguments: for how many seconds, and the thread. The tracer ends by itself, whatever becomes of the harness; a thread whose
# tracer has ended goes on.
_PROGRAM = """
import ctypes, os, sys, time
seconds, thread = float(sys.argv[1]), int(sys.argv[2])
ATTACH, DETACH, ALL = 16, 17, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
libc.ptrace.restype = ctypes.c_long
heard, told = os.pipe()
if os.fork():
    os.close(told)
    if why := os.read(heard, 100).decode().strip("."):
        sys.exit(why)
else:
    os.setsid()
    if libc.ptrace(ATTACH, thread, None, None):
        os.write(told, os.strerror(ctypes.get_errno()).encode())
        os._exit(1)
    os.waitpid(thread, ALL)
    os.write(told, b".")
    for stream in (0, 1, 2, told):
        os.close(stream)
    time.sleep(seconds)
    libc.ptrace(DETACH, thread, None, None)
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
