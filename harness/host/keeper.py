"""The keeper of a remote host: one shell that holds the private directory and ends everything with the connection.

It reads orders from its standard input. When that ends, because the harness closed it, died, or the connection broke, it kills
every program that is recorded and removes the directory. So it does when nothing is heard of the harness for two minutes: of a
computer without power, or a network that drops everything, an SSH server learns after hours.
"""

from __future__ import annotations

import re
import secrets
import shlex
import threading
from contextlib import suppress
from pathlib import PurePosixPath

from paramiko import Channel

from harness.deadline import Deadline
from harness.errors import HostFailure
from harness.host.link import BROKEN, Link, status_of

_SECONDS = 30.0
# The harness shows that it is there so often; the keeper gives it up after four ticks without. It counts ticks, so that a host
# which stood still, or whose clock was set, has missed one at most.
_BEAT_SECONDS = 15.0
_TICK_SECONDS = 30

# The remote login shell reads these; an `exec sh -c` more costs an emulated CPU some 20 ms. mkdir refuses a name that
# somebody has taken. `pids` goes before the recorded are killed: a program that starts too late finds no place for its record,
# and ends. `watch` hears by signals, which need no room on a disk, that the harness is there (USR1) and that all is over
# (USR2); it also does the work of a shell that somebody has killed, and lets that one's end be heard before those of programs.
# `true` and not `:`, which ends a shell that cannot write (POSIX, 2.8.1).
_KEEPER = r"""
trap "" INT TERM HUP PIPE USR1
umask 077
export LC_ALL=C
end() { read -r p <"$1" && { kill -9 "-$p" || kill -9 "$p"; }; } 2>/dev/null
leave() {
    mv "$d/pids" "$d/ended"
    for f in "$d"/ended/*; do end "$f"; done
    rm -rf "$d" || { sleep 1; rm -rf "$d"; }
}
watch() {
    trap 'silent=0; kill -9 $!' USR1
    trap 'kill -9 $!; exit' USR2
    silent=0
    while [ $silent -lt 4 ] && kill -0 $$; do
        silent=$((silent + 1))
        sleep $tick &
        wait $!
    done
    kill -9 $$
    sleep 1
    leave
}
d=${TMPDIR:-/tmp}/armvirt-$token
e=$(mkdir "$d" "$d/pids" "$d/killed" 2>&1) || { echo "! $e"; exit 1; }
watch </dev/null >/dev/null 2>&1 &
w=$!
echo "$d"
while read -r verb what; do
    case $verb in
        mkdir) if e=$(mkdir "$d/$what" 2>&1); then echo ok; else echo "! $e"; fi ;;
        beat) kill -USR1 $w ;;
        kill) true >"$d/killed/$what"; end "$d/pids/$what" ;;
        forget) rm -f "$d/pids/$what" "$d/killed/$what" ;;
    esac
done
kill -USR2 $w
leave
"""

# $d: the directory, $i: its number there, $@: the command. It leads a process group, so that its children end with it. Whoever
# kills it marks it first and looks for its record then, and who kills all moves the records first; here it is the other way
# round, so one of the two sees the other, although a record is there, and empty, for a moment before it is written.
_START = r"""
echo $$ >"$d/pids/$i" && [ -e "$d/pids/$i" ] || exit 126
[ ! -e "$d/killed/$i" ] || kill -9 $$
read -r _ _ _ _ group _ </proc/$$/stat
[ "$group" = $$ ] || exec setsid "$@"
exec "$@"
"""


class Keeper:
    """The shell, its directory, and the numbers of what was started. Safe to use from several threads."""

    def __init__(self, link: Link, name: str) -> None:
        """Start it. Raises HostFailure with its reason where it cannot make its directory."""
        self._name = name
        self._lock = threading.Lock()
        self._heard = b""
        self._count = 0
        self._channel: Channel = link.execute(f"token={secrets.token_hex(6)} tick={_TICK_SECONDS}{_KEEPER}", _SECONDS)
        self._channel.settimeout(_SECONDS)
        self.root = PurePosixPath(self._answer())
        threading.Thread(target=self._beat, name="harness-keeper", daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether it is known to have ended; of a connection that is lost nothing is known."""
        return status_of(self._channel) is not None

    def guarded(self, argv: list[str]) -> tuple[int, str]:
        """Return a number, and the command line for the remote shell that runs `argv` under that number."""
        with self._lock:
            self._count += 1
            number = self._count
        return number, f"d={shlex.quote(str(self.root))} i={number}; set -- {shlex.join(argv)}{_START}"

    def directory(self, name: str) -> PurePosixPath:
        """Return a new directory. Raises HostFailure."""
        with self._lock:
            self._count += 1
            made = f"{self._count}-{name}"
            self._order(f"mkdir {made}")
            self._answer()
        return self.root / made

    def kill(self, number: int) -> None:
        """Have a program and its process group killed, started or about to start."""
        with self._lock:
            self._order(f"kill {number}")

    def forget(self, number: int) -> None:
        """Have the record of an ended program removed: its pid may be another's tomorrow."""
        with self._lock:
            self._order(f"forget {number}")

    def close(self, deadline: Deadline) -> None:
        """Let it kill, remove and end, and wait for that."""
        try:
            with self._lock:
                self._channel.shutdown_write()
        except BROKEN as error:
            raise HostFailure("its keeper cannot be reached", where=self._name) from error
        if not self._channel.status_event.wait(deadline.remaining):
            raise HostFailure(f"did not remove {self.root} in time", where=self._name)

    def _beat(self) -> None:
        """Show it that the harness is there, until it has ended or the connection has."""
        while not self._channel.status_event.wait(_BEAT_SECONDS):
            with self._lock, suppress(HostFailure):  # it may be told the next time
                if not self._channel.eof_sent:  # paramiko would try for ever to send after that
                    self._order("beat")

    def _order(self, line: str) -> None:
        try:
            self._channel.sendall(f"{line}\n".encode())
        except BROKEN as error:
            raise HostFailure("its keeper cannot be reached", where=self._name) from error

    def _answer(self) -> str:
        """Return the next line. Raises HostFailure where it is an error, or none comes."""
        try:
            while b"\n" not in self._heard:
                data = self._channel.recv(4096)
                if not data:
                    raise HostFailure("its keeper ended", where=self._name, remedy="is the login shell there a POSIX shell?")
                self._heard += data
        except BROKEN as error:
            raise HostFailure("its keeper does not answer", where=self._name) from error
        line, _, self._heard = self._heard.partition(b"\n")
        said = line.decode("utf-8", "replace")
        if said.startswith("! "):
            raise refused(said.removeprefix("! "), self._name)
        return said


def refused(words: str, name: str) -> HostFailure:
    """Return the failure for what a command of the host printed to standard error (LC_ALL=C)."""
    if "No space left on device" in words or "quota exceeded" in words:
        return HostFailure(f"the disk of {name} is full", where=name)
    # The shell puts its own name and line before what it says of a file.
    words = re.sub(r"^\w+: (?:line )?\d+: ", "", words)
    return HostFailure(words or "a command failed without a word", where=name)
