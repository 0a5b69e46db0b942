from __future__ import annotations

from pathlib import Path

from harness.lab.console_log import ConsoleLog


def test_what_came_after_a_mark(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    assert (log.mark(), log.since()) == (0, [])
    log.path.write_bytes(b"before\r\n")
    mark = log.mark()
    with log.path.open("ab") as file:
        file.write(b"\r\n[ 2.0] after\r\nha\xfflf")
    assert log.since(mark) == ["[ 2.0] after", "ha\\xfflf"]
    assert log.since() == ["before", "[ 2.0] after", "ha\\xfflf"]


def test_a_mark_divides_no_line(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    whole = b"[ 1.0] whole\n"
    for half in (b"[ 2.0] WARN", b"x" * 10_000):
        log.path.write_bytes(whole + half)
        assert log.mark() == len(whole)
        log.path.write_bytes(half)
        assert log.mark() == 0


def test_a_panic_is_quoted(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.path.write_text("[    1.0] all is well\n")
    assert log.panic() is None
    log.path.write_text("[    9.5] Kernel panic - not syncing: sysrq triggered crash\n[    9.6] CPU: 0\n")
    assert log.panic() == "Kernel panic - not syncing: sysrq triggered crash"


def test_what_init_gave_up_for_is_quoted(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.path.write_text("LAB-ERROR: no virtio-serial port 'control' (CONFIG_VIRTIO_CONSOLE)\n")
    assert log.init_gave_up() == "no virtio-serial port 'control' (CONFIG_VIRTIO_CONSOLE)"


def test_troubles_are_those_after_the_mark(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.path.write_text("[ 1.0] WARNING: CPU: 0 PID: 1 at arch/arm64/kvm/arm.c:1 f+0x0/0x10\n")
    mark = log.mark()
    assert len(log.troubles()) == 1
    assert log.troubles(mark) == []
