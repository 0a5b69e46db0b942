"""Asks a program whether it is a QEMU for arm64, and which; remembers the answer while the program stays the same."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness.assets import cache
from harness.errors import UsageError

SECONDS = 30
QUESTIONS = '{"execute": "qmp_capabilities"}\n{"execute": "query-target"}\n{"execute": "quit"}\n'
QUESTION = ("-M", "none", "-nodefaults", "-display", "none", "-qmp", "stdio")
_REMEDY = "name a qemu-system-aarch64"

Version = tuple[int, int, int]


def probe(argv: Sequence[str], env: Mapping[str, str], *, stamp: Path | None) -> tuple[Version, str]:
    """Return the version of the QEMU that `argv` starts, as numbers and with the packager's note.

    The answer is remembered as long as the file `stamp` stays the same one; without `stamp` it is asked each time.
    Raises UsageError when it is not a QEMU that runs, or one for another architecture.
    """
    if stamp is None:
        return _ask(argv, env)
    status = stamp.stat()
    key = json.dumps([*argv, status.st_mtime_ns, status.st_size, status.st_ino])
    memory = cache.root() / "probes" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if memory.is_file():
        try:
            (major, minor, micro), text = json.loads(memory.read_text())
        except (ValueError, TypeError):
            memory.unlink()  # cut short, for example by a full disk: ask again
        else:
            return (major, minor, micro), text
    answer = _ask(argv, env)
    with cache.writable(memory.parent):
        memory.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=memory.parent, delete=False) as file:
            json.dump(answer, file)
        Path(file.name).replace(memory)
    return answer


def _ask(argv: Sequence[str], env: Mapping[str, str]) -> tuple[Version, str]:
    """Ask by QMP: `query-target` is the one answer that names the architecture of the binary."""
    name = next((word for word in argv if Path(word).name.startswith("qemu-system")), argv[0])
    pipe = subprocess.PIPE
    try:
        with ExitStack() as stack:
            with _undisturbed():
                process = stack.enter_context(
                    subprocess.Popen(
                        [*argv, *QUESTION],
                        stdin=pipe,
                        stdout=pipe,
                        stderr=pipe,
                        text=True,
                        errors="replace",
                        env={**os.environ, **env},
                    )
                )
                stack.callback(process.kill)
            stdout, stderr = process.communicate(QUESTIONS, SECONDS)
    except OSError as error:
        raise UsageError(f"{name} cannot be started: {error.strerror}", remedy=_REMEDY) from error
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"{name} did not answer as a QEMU within {SECONDS} s", remedy=_REMEDY) from error
    return read_answer(name, stdout, stderr, process.returncode)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let a signal that ends us wait until the block is done: nobody could end a process whose start it interrupted."""
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP) if threading.current_thread() is threading.main_thread() else ()
    handlers = {number: signal.getsignal(number) for number in numbers}
    caught = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in caught:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield
    finally:
        for number, handler in caught.items():
            signal.signal(number, handler)
        for late in came:
            signal.raise_signal(late)


def read_answer(name: str, stdout: str, stderr: str, status: int) -> tuple[Version, str]:
    """Return what a program said that was started with `QUESTION` and asked `QUESTIONS`. Raises UsageError as `probe`."""
    try:
        replies = [json.loads(line) for line in stdout.splitlines()]
        greeting = next(reply["QMP"]["version"] for reply in replies if "QMP" in reply)
        target = next(reply["return"]["arch"] for reply in replies if "arch" in reply.get("return", {}))
        numbers = greeting["qemu"]
        version = (int(numbers["major"]), int(numbers["minor"]), int(numbers["micro"]))
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration) as error:
        said = (stderr.strip() or stdout.strip() or f"exit status {status}").splitlines()[-1]
        raise UsageError(f"{name} is not a QEMU that runs here ({said[:200]})", remedy=_REMEDY) from error
    if target != "aarch64":
        raise UsageError(f"{name} is a QEMU for {target}, not for aarch64", remedy=_REMEDY)
    package = greeting.get("package") or ""
    return version, ".".join(map(str, version)) + (f" ({package})" if package else "")
