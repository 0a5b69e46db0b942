"""The process that holds a lab that is kept (harness/lab/kept.py): its life, its name, its door for SSH clients."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from harness.assets.progress import PlainProgress
from harness.errors import HarnessError
from harness.host.local import LocalHost
from harness.host.signals import ended_by_signals
from harness.host.streams import lead
from harness.lab import kept
from harness.lab.ground import Choice
from harness.lab.host import Lab
from harness.lab.kept import Kept
from harness.lab.session import switched_on

# Of the server inside, on the lab's own loopback (harness/lab/boot.py).
_SSH_PORT = 22


def main() -> None:
    """Start a lab as standard input says, describe it on standard output, and hold it until SIGTERM or its own end."""
    order = json.loads(sys.stdin.readline())
    choice, progress = Choice(**order["choice"]), PlainProgress(to_stderr=True)
    waited_for = threading.Event()
    waited_for.set()
    threading.Thread(target=_end_with_asker, args=(waited_for,), daemon=True).start()
    try:
        with (
            ended_by_signals(),
            LocalHost() as desk,
            _link(desk.root) as name,
            switched_on(choice, desk, progress, warm=order["warm"], name=name) as lab,
        ):
            made = Kept(
                name=name,
                pid=os.getpid(),
                since=datetime.now(UTC).isoformat(timespec="seconds"),
                kernel=lab.facts().kernel,
                cpu=lab.spec.cpu,
                kvm=lab.kvm.mode,
                qemu=choice.lab_assets().qemu.version_text,
                directory=str(desk.root),
            )
            with _offered(made, lab) as listener:
                waited_for.clear()
                _say({"kept": asdict(made)})
                _detach()
                _serve(listener, lab)
    except HarnessError as error:
        if waited_for.is_set():
            _say({"error": str(error)})


def _end_with_asker(waited_for: threading.Event) -> None:
    """End this process when whoever asked for the lab has gone before it was there."""
    while os.read(0, 4096):
        continue
    if waited_for.is_set():
        os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _link(place: Path) -> Iterator[str]:
    """Give a name that no other lab has, which is a link to the directory meanwhile."""
    kept.root().mkdir(parents=True, exist_ok=True)
    kept.all_kept()
    for number in itertools.count(1):
        link = kept.root() / f"lab-{number}"
        try:
            link.symlink_to(place)
        except FileExistsError:
            continue
        try:
            yield link.name
        finally:
            link.unlink(missing_ok=True)
        return


@contextmanager
def _offered(made: Kept, lab: Lab) -> Iterator[socket.socket]:
    """Listen, and write the files that a user of the lab needs."""
    here = Path(made.directory)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(here / kept.SOCKET))
        listener.listen()
        (here / kept.KEY).touch(0o600)
        (here / kept.KEY).write_bytes(lab.keys.user_key_file)
        (here / kept.KNOWN).write_text(f"{made.name} {lab.keys.host_public}\n")
        (here / kept.HOSTS).write_text(made.inventory)
        # The last, whole or not at all: a link to it is a lab that can be used.
        (here / "part").write_text(json.dumps(asdict(made)))
        (here / "part").rename(here / kept.RECORD)
        yield listener


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _detach() -> None:
    """Let go of the streams of whoever asked: a pipe that reads them would never end."""
    with Path(os.devnull).open("r+b") as nowhere:
        for fd in range(3):
            os.dup2(nowhere.fileno(), fd)


def _serve(listener: socket.socket, lab: Lab) -> None:
    """Lead every client to the lab's SSH server, until the lab ends."""
    over = partial(_end, listener)
    lab.power.machine.process.on_exit(over)
    while True:
        try:
            client, _ = listener.accept()
        except OSError:  # `_end` has shut it down
            return
        threading.Thread(target=_lead, args=(client, lab, over), daemon=True).start()


def _end(listener: socket.socket) -> None:
    with suppress(OSError):  # it is closed, because all ends
        listener.shutdown(socket.SHUT_RDWR)


def _lead(client: socket.socket, lab: Lab, over: Callable[[], None]) -> None:
    try:
        lead(lab.open_loopback(_SSH_PORT), client)
    except HarnessError:
        client.close()
        try:
            lab.check()
        except HarnessError:
            over()


if __name__ == "__main__":
    main()
