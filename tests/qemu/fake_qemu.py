"""A QEMU that is none: takes QEMU's arguments and descriptors, talks QMP and gdb, plays a guest, and misbehaves on demand.

What it does wrong is chosen by words of `-append`, which both sides of a migration share:

    fault=exit|no-el2|mute|blocked|uncapable|failed|refuses|register|dies-dismissed|dies-off|resets-once|stuck|leaks
    says=skip|garbage|panic|nothing|fail

Several faults have commas between them. `refuses` and `register` concern the side that started with `-incoming`, `failed` the other.
What dies does so when it is told to quit, or when its guest powers off. What is stuck refuses capabilities, and what leaks is blocked,
once it has been a side of a migration. The commands `fake-*` of QMP do
harm at a chosen moment. It runs without the site packages, so that a start costs 40 ms.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable

from tests.qemu.fake_gdb import Stub

TYPE_CHECKING = False  # typing and pathlib would be a sixth of the start
if TYPE_CHECKING:
    from typing import Any

VERSION = {"qemu": {"major": 11, "minor": 1, "micro": 3}, "package": "fake"}
HELLO = "@1 hello guest=fake el=1 e2h=0 vcpus=1 freq=1000 its=0 pauth=0 sve=0 sme=0\n@1 arranged cpu=0\n@1 now\n"
BEGINNINGS = {
    "": HELLO,
    "fail": HELLO,
    "skip": "@1 skip text=this CPU has none\n@1 end\n",
    "garbage": "@1 hello guest=\x01\x02\n",
    "panic": "@1 panic cpu=0 esr=0x96000004 text=data abort\n",
    "nothing": "",
}


def words(argv: list[str], option: str) -> str:
    """Return the last value of an option, the empty string without it."""
    return next((argv[index + 1] for index in reversed(range(len(argv) - 1)) if argv[index] == option), "")


class FakeQemu:
    """One process: its descriptors, the guest's little life, and a migration."""

    def __init__(self, argv: list[str]) -> None:
        append = dict(word.partition("=")[::2] for word in words(argv, "-append").split())
        self.faults = append.get("fault", "").split(",")
        self.says = append.get("says", "")
        self.incoming = bool(words(argv, "-incoming"))
        self.running = "-S" not in argv
        self.begun = self.incoming
        self.status = "none"
        self.resets = 0
        self.selector = selectors.DefaultSelector()
        self.qmp = socket.socket(fileno=0)
        console = next(word for word in argv if word.startswith("socket,id=console,"))
        self.terminal = _listening(next(part.removeprefix("path=") for part in console.split(",") if part.startswith("path=")))
        self.console = self.terminal  # until somebody has connected
        self.stub = _listening(words(argv, "-gdb").split(",")[0].removeprefix("unix:"))

    def run(self) -> None:
        """Serve until somebody ends it."""
        if "exit" in self.faults:
            die("-cpu nonsense: unable to find CPU model 'nonsense'")
        if "no-el2" in self.faults:
            die("mach-virt: host kernel KVM does not support providing Virtualization extensions to the guest CPU")
        if "mute" not in self.faults:
            self.send({"QMP": {"version": VERSION, "capabilities": []}})
        self.watch(self.qmp, self.hear_qmp)
        self.watch(self.terminal, self.accept_console)
        self.watch(self.stub, self.accept_gdb)
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)

    def watch(self, sock: socket.socket, hear: Callable[[socket.socket], None]) -> None:
        """Call `hear` whenever something comes."""
        self.selector.register(sock, selectors.EVENT_READ, hear)

    def begin(self) -> None:
        """Let the guest say its first words, once."""
        if self.running and not self.begun:
            self.begun = True
            if self.console is self.terminal:  # it is knocking: `cont` was read first
                self.accept_console(self.terminal)
            self.console.sendall(BEGINNINGS[self.says].encode())
            if self.says == "skip":
                sys.exit(0)

    def accept_console(self, sock: socket.socket) -> None:
        """Take the one who reads the console."""
        if self.console is not self.terminal:
            return
        self.console, _ = sock.accept()
        self.watch(self.console, self.hear_console)

    def hear_console(self, sock: socket.socket) -> None:
        """Be the guest: `g` and `e` end it."""
        data = sock.recv(100)
        if not data:
            sys.exit(0)
        if b"g" in data or b"e" in data:
            failed = int(self.says == "fail")
            complaint = "@1 fail text=two and two are five\n" * failed
            sock.sendall(f"{complaint}@1 result checks=4 failed={failed}\n@1 end\n".encode())
            self.leave("dies-off")

    def leave(self, badly: str) -> None:
        """End well, or by a signal where the fault is `badly`."""
        if badly in self.faults:
            os.kill(os.getpid(), signal.SIGTERM)
        sys.exit(0)

    def accept_gdb(self, sock: socket.socket) -> None:
        """Take a debugger's connection; connecting stops the machine."""
        self.running = False
        connection, _ = sock.accept()
        changed = "register" in self.faults and self.incoming
        stub = Stub([{0: 7, 1: 0xBEEF if changed else 0x1234, 9: 5, 10: 0}])

        def hear(sock: socket.socket) -> None:
            data = sock.recv(65536)
            if data:
                sock.sendall(stub.feed(data))
            else:
                self.selector.unregister(sock)
                sock.close()

        self.watch(connection, hear)

    # -- QMP

    def send(self, message: dict[str, Any]) -> None:
        """Send a QMP message."""
        self.qmp.sendall(json.dumps(message).encode() + b"\r\n")

    def event(self, name: str, **data: object) -> None:
        """Send an event."""
        self.send({"event": name, "data": data, "timestamp": {"seconds": 1, "microseconds": 2}})

    def hear_qmp(self, sock: socket.socket) -> None:
        """Answer each whole command; they come one at a time."""
        text = sock.recv(65536).decode()
        if not text:
            sys.exit(0)
        decoder = json.JSONDecoder()
        while text := text.strip():
            command, end = decoder.raw_decode(text)
            text = text[end:]
            method = getattr(self, "do_" + command["execute"].replace("-", "_"), None)
            if method is None:
                self.send(_error(f"The command {command['execute']} has not been found", command))
            else:
                try:
                    answer = method(command.get("arguments", {}))
                except ValueError as error:
                    self.send(_error(str(error), command))
                else:
                    self.send({"return": {} if answer is None else answer, "id": command.get("id")})
                    self.after(command["execute"])

    def after(self, command: str) -> None:
        """Do what comes after the answer."""
        if command == "quit":
            self.leave("dies-dismissed")
        if command == "cont":
            self.begin()
        if command == "fake-close-qmp":
            self.selector.unregister(self.qmp)
            self.qmp.shutdown(socket.SHUT_RDWR)

    def do_qmp_capabilities(self, _: dict[str, Any]) -> None:
        """Leave the negotiation."""

    def do_quit(self, _: dict[str, Any]) -> None:
        """End, after the answer."""

    def do_stop(self, _: dict[str, Any]) -> None:
        """Stop."""
        self.running = False

    def do_cont(self, _: dict[str, Any]) -> None:
        """Run."""
        self.running = True

    def do_query_status(self, _: dict[str, Any]) -> dict[str, Any]:
        """Tell the run state."""
        return {"status": "running" if self.running else "paused", "running": self.running}

    def do_human_monitor_command(self, arguments: dict[str, Any]) -> str:
        """Return something to read."""
        return f"you said {arguments['command-line']}\r\n"

    # -- harm at a chosen moment

    def do_fake_die(self, _: dict[str, Any]) -> None:
        """Die in the middle of a command."""
        die("Assertion `bql_locked()' failed.")

    def do_fake_kill(self, _: dict[str, Any]) -> None:
        """Be killed by a signal."""
        os.kill(os.getpid(), 6)

    def do_fake_hang(self, _: dict[str, Any]) -> None:
        """Answer nobody any more, until the console closes."""
        while self.console.recv(100):
            pass

    def do_fake_event(self, arguments: dict[str, Any]) -> None:
        """Send an event of that name with the other arguments as its data."""
        self.event(arguments.pop("name"), **arguments)

    def do_fake_write(self, arguments: dict[str, Any]) -> None:
        """Write to the console, `times` times."""
        self.console.sendall(arguments["text"].encode() * int(arguments.get("times", 1)))

    def do_fake_close_qmp(self, _: dict[str, Any]) -> None:
        """Close the connection after the answer, and run on."""

    def do_system_reset(self, _: dict[str, Any]) -> None:
        """Reset the first time, and never again where the fault is `resets-once`."""
        if self.resets == 0 or "resets-once" not in self.faults:
            self.event("RESET", guest=False, reason="host-qmp-system-reset")
        self.resets += 1

    def do_fake_close_console(self, _: dict[str, Any]) -> None:
        """Close the console and run on."""
        self.selector.unregister(self.console)
        self.console.close()

    # -- migration

    def do_migrate_set_capabilities(self, arguments: dict[str, Any]) -> None:
        """Accept any, or none."""
        if "stuck" in self.faults and self.moved:
            raise ValueError("There's a migration process in progress")
        if "uncapable" in self.faults and len(arguments["capabilities"]) > 1:
            raise ValueError(f"'{arguments['capabilities'][-1]['capability']}' is not supported by this host kernel")

    def do_migrate_incoming(self, arguments: dict[str, Any]) -> None:
        """Listen, or load a file."""
        kind, _, where = arguments["uri"].partition(":")
        self.status_is("setup")
        if kind == "file":
            with open(where, "rb") as stream:  # noqa: PTH123  # see the imports
                self.load(stream.read())
            return
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(where)
        listener.listen()
        self.watch(listener, lambda sock: self.load(sock.accept()[0].recv(100)))

    def load(self, stream: bytes) -> None:
        """Take the guest over, or refuse it."""
        if "refuses" in self.faults:
            die('Unknown ramblock "mach-virt.ram", cannot accept migration\nqemu-system-aarch64: load of migration failed')
        if stream != b"QEVM":
            die("Not a migration stream")
        self.status_is("active")
        self.status_is("completed")

    def do_migrate(self, arguments: dict[str, Any]) -> None:
        """Send the guest away. Like QEMU's, it says `completed` whatever the destination does with it."""
        if self.blocked:
            raise ValueError("disallowing migration blocker")
        kind, _, where = arguments["uri"].partition(":")
        if kind not in ("file", "unix"):
            raise ValueError(f"unknown migration protocol: {kind}")
        self.status_is("setup")
        self.status_is("active")
        if "failed" in self.faults:
            self.status_is("failed")
            return
        self.running = False
        if kind == "file":
            with open(where, "wb") as file:  # noqa: PTH123  # see the imports
                file.write(b"QEVM")
        else:
            with socket.socket(socket.AF_UNIX) as stream:
                stream.connect(where)
                stream.sendall(b"QEVM")
        self.status_is("completed")

    def do_query_migrate(self, _: dict[str, Any]) -> dict[str, Any]:
        """Tell how it stands."""
        answer: dict[str, Any] = {"status": self.status}
        if self.blocked:
            answer["blocked-reasons"] = ["KVM nested virt is enabled", "and another"]
        if self.status == "failed":
            answer["error-desc"] = "Sibling indicated error 1"
        return answer

    @property
    def moved(self) -> bool:
        """Whether it has been a side of a migration."""
        return self.status != "none"

    @property
    def blocked(self) -> bool:
        """Whether it refuses to migrate."""
        return "blocked" in self.faults or ("leaks" in self.faults and self.moved)

    def status_is(self, status: str) -> None:
        """Go to a status, telling so."""
        self.status = status
        self.event("MIGRATION", status=status)


def _listening(path: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen()
    return sock


def _error(text: str, command: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"class": "GenericError", "desc": text}, "id": command.get("id")}


def die(text: str) -> None:
    """End as QEMU does when something is wrong."""
    sys.stderr.write(f"qemu-system-aarch64: {text}\n")
    sys.exit(1)


def identify() -> None:
    """Answer the questions of `--qemu`, on standard input and output."""
    print(json.dumps({"QMP": {"version": VERSION, "capabilities": []}}))
    for line in sys.stdin:
        command = json.loads(line)["execute"]
        print(json.dumps({"return": {"arch": "aarch64"} if command == "query-target" else {}}), flush=True)
        if command == "quit":
            return


if __name__ == "__main__":
    if words(sys.argv, "-qmp") == "stdio":
        identify()
    else:
        FakeQemu(sys.argv).run()
