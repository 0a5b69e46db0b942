"""The gdb client against stubs of every temper, and once against QEMU's own."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from harness.assets import guests
from harness.assets import qemu as assets_qemu
from harness.deadline import Deadline
from harness.errors import DeadlineExpired, QemuFailure
from harness.events import Timeline
from harness.qemu.gdb import GdbStub, Target
from harness.qemu.machine import Machine
from harness.qemu.spec import MachineSpec, Start
from tests.qemu.fake_gdb import CORE, DOCUMENTS, Stub, escaped, packet
from tests.qemu.fakes import workshop

VALUES = {0: 7, 1: 0x1122334455667788, 9: 2**64 - 1, 10: 0}
NAMED = {"x0": 7, "x1": 0x1122334455667788, "ESR_EL1": 2**64 - 1, "SVCR": 0}
Answer = Callable[[socket.socket, bytes], None]


@contextmanager
def served(directory: Path, answer: Answer, seconds: float = 10) -> Iterator[GdbStub]:
    """Give a client whose peer calls `answer` with all that comes, in a thread; it hangs up when `answer` closes."""
    path = directory / "gdb"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while data := connection.recv(65536):
                answer(connection, data)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        ours = socket.socket(socket.AF_UNIX)
        ours.connect(str(path))
        stub = GdbStub(ours, Deadline.after(seconds), "source")
        try:
            yield stub
        finally:
            stub.__exit__()
    finally:
        thread.join(10)
        listener.close()
    assert not thread.is_alive()


def polite(stub: Stub) -> Answer:
    return lambda connection, data: connection.sendall(stub.feed(data))


def in_single_bytes(stub: Stub) -> Answer:
    def answer(connection: socket.socket, data: bytes) -> None:
        for byte in stub.feed(data):
            connection.send(bytes([byte]))

    return answer


@pytest.mark.parametrize("manner", [polite, in_single_bytes])
@pytest.mark.parametrize("piece", [1, 7, 4000])
def test_registers_by_name(tmp_path: Path, manner: Callable[[Stub], Answer], piece: int) -> None:
    stub = Stub([VALUES], piece=piece)
    with served(tmp_path, manner(stub)) as client, client:
        target = client.target()
        assert dict(target.numbers) == {"x0": 0, "x1": 1, "ESR_EL1": 9, "SVCR": 10}
        assert set(target.bits.values()) == {64}
        assert client.registers(target, "1") == NAMED
    assert stub.asked[0] == "QStartNoAckMode"


def test_several_vcpus(tmp_path: Path) -> None:
    vcpus = [{0: 10 * number} for number in range(1, 4)]
    with served(tmp_path, polite(Stub(vcpus))) as client, client:
        threads = client.threads()
        assert threads == ["1", "2", "3"]
        target = Target({"x0": 0}, {"x0": 64})
        assert [client.registers(target, thread) for thread in threads] == [{"x0": 10}, {"x0": 20}, {"x0": 30}]
        with pytest.raises(QemuFailure, match="the gdb stub has no vCPU 4"):
            client.registers(target, "4")


def test_more_registers_than_fit_one_write(tmp_path: Path) -> None:
    values = {number: number * number for number in range(300)}
    with served(tmp_path, in_single_bytes(Stub([values]))) as client, client:
        target = Target({f"r{number}": number for number in values}, {})
        assert client.registers(target, "1") == {f"r{number}": value for number, value in values.items()}


def test_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    with served(tmp_path, polite(Stub([{0: 1, 9: 2}]))) as client, client:
        assert client.registers(client.target(), "1") == {"x0": 1, "ESR_EL1": 2}


def test_escaped_documents(tmp_path: Path) -> None:
    core = b'<feature name="#$}*"><reg name="x0" bitsize="64" regnum="0"/></feature>'
    assert b"}\x03}\x04}]}\n" in escaped(core)
    stub = Stub([{0: 1}], documents={**DOCUMENTS, "core.xml": core}, piece=5)
    with served(tmp_path, polite(stub)) as client, client:
        assert "x0" in client.target().numbers


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ({"target.xml": b"<target/>"}, "describes no registers"),
        ({"target.xml": b'<target><include href="lost.xml"/></target>'}, "has no lost.xml"),
        ({"target.xml": b"<target>" + CORE[:40]}, "target.xml is no XML"),
    ],
)
def test_a_description_that_says_nothing(tmp_path: Path, documents: dict[str, bytes], words: str) -> None:
    stub = Stub([VALUES], documents=documents)
    with served(tmp_path, polite(stub)) as client, client, pytest.raises(QemuFailure, match=words):
        client.target()


@pytest.mark.parametrize("reply", [b"$OK#00", b"$OK#zz", b"#00", b"OK#9a$OK#9a"])
def test_nonsense_is_quoted(tmp_path: Path, reply: bytes) -> None:
    nonsense = pytest.raises(QemuFailure, match="source: the gdb stub answered nonsense: b'")
    with served(tmp_path, lambda connection, _: connection.sendall(reply)) as client, nonsense as caught:
        client.__enter__()
    assert repr(reply)[2:-1] in caught.value.what


def test_a_value_that_is_no_number(tmp_path: Path) -> None:
    stub = Stub([VALUES])

    def answer(connection: socket.socket, data: bytes) -> None:
        reply = stub.feed(data)
        connection.sendall(packet(b"xyz") if stub.asked[-1].startswith("p") else reply)

    with served(tmp_path, answer) as client, client, pytest.raises(QemuFailure, match="answered nonsense: b'xyz'"):
        client.registers(Target({"x0": 0}, {}), "1")


def test_a_stub_that_hangs_up(tmp_path: Path) -> None:
    hung_up = pytest.raises(QemuFailure, match="source: the gdb stub hung up")
    with served(tmp_path, lambda connection, _: connection.close()) as client, hung_up:
        client.__enter__()


def test_a_stub_that_hung_up_before_we_asked(tmp_path: Path) -> None:
    with served(tmp_path, polite(Stub([VALUES]))) as client, client:
        client._socket.shutdown(socket.SHUT_RDWR)
        with pytest.raises(QemuFailure, match="source: the gdb stub hung up"):
            client.threads()


def test_silence_until_the_deadline(tmp_path: Path) -> None:
    late = pytest.raises(DeadlineExpired, match="source: the gdb stub does not answer")
    with served(tmp_path, lambda *_: None, seconds=0.1) as client, late:
        client.__enter__()


def test_the_real_one() -> None:
    """Two vCPUs of a machine that has not begun: an outsider's view of their reset state."""
    spec = MachineSpec(kernel=guests.path("timers"), cpu="cortex-a57", vcpus=2)
    with workshop() as shared:
        qemu = assets_qemu.resolve()
        with Machine(spec, qemu, shared, Timeline(), side="source", start=Start.PAUSED) as machine:
            registers = machine.look(Deadline.after(10)).registers
            assert machine.status() in ("prelaunch", "paused")
    assert {name.partition("/")[0] for name in registers} == {"cpu0", "cpu1"}
    assert registers["cpu0/PC"] == 0x4000_0000  # RAM's beginning, where QEMU puts what precedes the kernel
    assert {"cpu1/X30", "cpu1/SP", "cpu1/PC", "cpu1/V31", "cpu1/TTBR0_EL1"} <= registers.keys()
    assert len(registers) > 2 * 150
