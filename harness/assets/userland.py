"""The programs of a lab, picked out of unpacked Debian packages: a shell, an SSH server, Python; and QEMU for arm64.

What is left out makes the boot faster: the kernel unpacks all of it before the first process runs.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from harness.assets import command, elf, initramfs
from harness.assets.initramfs import Entry
from harness.assets.kernels import Module
from harness.assets.progress import Progress
from harness.errors import MissingError, UsageError

PACKAGES = ("busybox-static", "dropbear-bin", "python3")
PYTHON_PACKAGES = ("python3-minimal",)
"""What the compiler of the modules is in, for this computer's architecture."""

QEMU_HOME = "/opt/qemu"
KERNEL = "boot/Image"
QEMU = "usr/bin/qemu-system-aarch64"
_LOADER = "ld-linux-aarch64.so.1"
_INIT = Path(__file__).with_name("lab_init.sh")

# Of Python's library: what no program of the harness imports, or what is of use only with libraries that cost megabytes.
_LEFT_OUT = re.compile(
    r"(^|/)(test|idlelib|ensurepip|venv|pydoc_data|unittest|_pyrepl|tkinter|turtledemo|curses|sqlite3|dbm|xmlrpc|wsgiref|config-[^/]*|__pycache__"
    r"|lib-dynload/_(codecs_|curses|dbm|gdbm|hashlib|sqlite3|ssl|test|tkinter|xx|crypt|uuid|zoneinfo)[^/]*"
    r"|lib-dynload/(readline|xx)[^/]*|EXTERNALLY-MANAGED|LICENSE\.txt|sitecustomize\.py)(/|$)"
)
_EMPTY = {
    ".": 0o755,
    "proc": 0o755,
    "sys": 0o755,
    "dev": 0o755,
    "run": 0o755,
    "tmp": 0o1777,
    "etc/dropbear": 0o700,
    "root": 0o700,
    "root/.ssh": 0o700,
}
_TEXTS = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "etc/shells": "/bin/sh\n",
    "etc/hosts": "127.0.0.1 localhost lab\n",
}


def libraries(raw: Path) -> dict[str, Path]:
    """Return the shared libraries of an unpacked tree by soname. Before trixie, some are below /lib."""
    places = (*raw.glob("usr/lib/*-linux-gnu"), *raw.glob("lib/*-linux-gnu"))
    return {path.name: path.resolve() for place in places for path in place.glob("*.so*") if path.is_file()}


def pick_base(raw: Path, interpreter: Path, target: Path, progress: Progress, log: Path) -> None:
    """Fill `target` with shell, SSH server and Python out of the arm64 tree `raw`.

    `interpreter` is a tree with a Python of the same version for this computer: what a lab would compile at each import, it
    compiles once. Raises MissingError.
    """
    pythons = sorted((raw / "usr/bin").glob("python3.[0-9]*"))
    if len(pythons) != 1:
        raise MissingError("the packages hold no python3, or several", where=str(raw))
    name = pythons[0].name
    programs = {f"usr/bin/{name}": pythons[0], "usr/sbin/dropbear": raw / "usr/sbin/dropbear"}
    try:
        for place, program in {**programs, "usr/bin/busybox": raw / "usr/bin/busybox"}.items():
            _copy(program, target / place)
    except FileNotFoundError as error:
        raise MissingError(f"the packages hold no {error.filename}", where="the lab's base") from error
    (target / "usr/bin/python3").symlink_to(name)
    _python_library(raw / "usr/lib" / name, target / "usr/lib" / name)
    _compile(interpreter, name, target, progress, log)
    asking = [*programs.values(), *(target / "usr/lib" / name).rglob("*.so")]
    found, lacking = elf.closure((path.read_bytes() for path in asking), libraries(raw))
    if lacking:
        raise MissingError(f"the packages lack {', '.join(lacking)}", where="the lab's base")
    for soname, path in found.items():
        _copy(path, target / "usr/lib/aarch64-linux-gnu" / soname)
    (target / "usr/lib" / _LOADER).symlink_to(f"aarch64-linux-gnu/{_LOADER}")


def _python_library(source: Path, target: Path) -> None:
    for path in sorted(source.rglob("*")):
        name = path.relative_to(source)
        if path.is_file() and path.suffix in (".py", ".so") and not _LEFT_OUT.search(str(name)):
            _copy(path, target / name)


def _compile(interpreter: Path, name: str, target: Path, progress: Progress, log: Path) -> None:
    """Replace each .py by its compiled form, which depends on nothing but the source."""
    library = target / "usr/lib" / name
    found = libraries(interpreter)
    loader = next((str(path) for soname, path in sorted(found.items()) if soname.startswith("ld-linux")), None)
    if loader is None:
        raise MissingError("the tree holds no dynamic loader", where=str(interpreter))
    places = {str(path.parent) for path in found.values()}
    words = [
        loader,
        "--library-path",
        ":".join(sorted(places)),
        str(interpreter / "usr/bin" / name),
        "-B",
        "-S",
        "-m",
        "compileall",
    ]
    words += ["-q", "-b", "--invalidation-mode", "unchecked-hash", "-s", str(target), "-p", "/", str(library)]
    command.run(words, progress, log=log, remedy="see the log", env={**os.environ, "PYTHONHOME": str(target / "usr")})
    for source in sorted(library.rglob("*.py")):
        if not source.with_suffix(".pyc").is_file():
            raise MissingError(f"{source.name} has not been compiled", where=str(log))
        source.unlink()


def pick_qemu(program: Path, available: Mapping[str, Path], target: Path) -> None:
    """Fill `target` with a QEMU and the libraries that it needs. Raises UsageError naming those that are not `available`.

    Firmware and modules are left out: what the harness runs under KVM needs none. Functions are bound lazily (`elf.lazy`).
    """
    try:
        found, lacking = elf.closure([program.read_bytes()], available)
    except ValueError as error:
        raise UsageError(str(error), where=str(program)) from error
    if lacking:
        remedy = "put them into a directory `lib` beside it, or link it statically"
        raise UsageError(
            f"libraries that it needs are not in Debian's QEMU: {', '.join(lacking)}", where=str(program), remedy=remedy
        )
    _copy(program, target / "bin/qemu-system-aarch64")
    for soname, path in found.items():
        _copy(path, target / "lib" / soname)


def qemu_argv(tree: Path) -> tuple[str, ...]:
    """Return the words that start, inside a lab, the QEMU that is in `tree` on this computer."""
    program = f"{QEMU_HOME}/bin/qemu-system-aarch64"
    if not (tree / "lib" / _LOADER).exists():
        return (program,)
    return f"{QEMU_HOME}/lib/{_LOADER}", "--library-path", f"{QEMU_HOME}/lib", program


def entries(base: Path, qemu: Path, kernel: Path) -> list[Entry]:
    """Return all that is in a lab's initramfs; modules are NUMBER-NAME.ko, in the order in which they are loaded."""
    modules = kernel / "modules"
    loaded = [f"/lib/modules/{path.name}" for path in sorted(modules.glob("*.ko"))]
    return [
        *initramfs.tree(base),
        *initramfs.tree(qemu / "bin", f"{QEMU_HOME[1:]}/bin/"),
        *initramfs.tree(qemu / "lib", f"{QEMU_HOME[1:]}/lib/"),
        *initramfs.tree(modules, "usr/lib/modules/"),
        # A guest hypervisor boots it as well (harness/lab/linux.py).
        initramfs.file(KERNEL, kernel / "Image"),
        *own_entries(qemu_argv(qemu), loaded),
    ]


def own_entries(qemu: tuple[str, ...], modules: list[str]) -> list[Entry]:
    """Return what is the harness's own in it: the first process, a few directories, how to start QEMU."""
    return [
        initramfs.file("init", _INIT, 0o755),
        initramfs.link("bin", "usr/bin"),
        initramfs.link("sbin", "usr/sbin"),
        initramfs.link("lib", "usr/lib"),
        initramfs.character_device("dev/console", 5, 1),
        *(initramfs.directory(path, mode) for path, mode in _EMPTY.items()),
        *(initramfs.file(path, text.encode()) for path, text in _TEXTS.items()),
        initramfs.file("etc/shadow", b"root:*:20000::::::\n", 0o600),
        initramfs.file("usr/lib/modules/load", "".join(f"{path}\n" for path in modules).encode()),
        # A fixed text of fixed words: nothing in it comes from a user.
        initramfs.file(QEMU, f'#!/bin/sh\nexec {" ".join(qemu)} "$@"\n'.encode(), 0o755),
    ]


def write_modules(modules: tuple[Module, ...], target: Path) -> None:
    """Write the modules as `entries` expects them."""
    target.mkdir(parents=True)
    for number, module in enumerate(modules):
        (target / f"{number:02}-{module.name}.ko").write_bytes(module.data)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; a program or library so that it starts faster."""
    data = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(elf.lazy(data) if elf.machine(data) is not None else data)
    target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
