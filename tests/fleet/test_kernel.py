"""The kernel of a night: a suite, a file, an address with its SHA-256."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from harness.assets.progress import NoProgress
from harness.errors import MissingError, UsageError
from harness.fleet.kernel import fetch
from tests.assets.lab_samples import image

KERNEL = image()
SHA256 = hashlib.sha256(KERNEL).hexdigest()


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that has a kernel, a page that is none, and a file that is cut short."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/Image", "/page", "/cut"):
                self.send_error(404)
                return
            content = b"<html>" if self.path == "/page" else KERNEL
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // (2 if self.path == "/cut" else 1)])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def _fetch(source: str, into: Path, sha256: str | None = None) -> str:
    return fetch(source, sha256, into, NoProgress())


def test_a_suite(tmp_path: Path) -> None:
    assert _fetch("trixie", tmp_path) == "trixie"
    assert not list(tmp_path.iterdir())


def test_a_file(tmp_path: Path) -> None:
    path = tmp_path / "Image"
    path.write_bytes(KERNEL)
    assert _fetch(str(path), tmp_path / "into") == _fetch(str(path), tmp_path / "into", SHA256) == str(path)


def test_an_address(tmp_path: Path, server: str) -> None:
    into = tmp_path / "kernel"
    assert _fetch(f"{server}/Image", into, SHA256) == str(into / "Image")
    assert (into / "Image").read_bytes() == KERNEL
    assert [path.name for path in into.iterdir()] == ["Image"]


@pytest.mark.parametrize(
    ("page", "sha256", "words"),
    [
        ("/Image", None, "what comes from an address needs its --sha256"),
        ("/Image", "0" * 64, f"is another file: its SHA-256 is {SHA256}; {'0' * 64} was asked for"),
        ("/Image", "00", "--sha256 00: is no SHA-256"),
        ("/page", hashlib.sha256(b"<html>").hexdigest(), "this is no arm64 Image"),
        ("/cut", SHA256, "is another file|cannot be fetched"),
        ("/none", SHA256, "cannot be fetched: Not Found; check the address and the network"),
    ],
)
def test_not_that_kernel(tmp_path: Path, server: str, page: str, sha256: str | None, words: str) -> None:
    with pytest.raises((UsageError, MissingError), match=words):
        _fetch(f"{server}{page}", tmp_path, sha256)
    assert page == "/page" or not list(tmp_path.iterdir()), "whole, or not there"


@pytest.mark.parametrize(
    ("source", "sha256", "words"),
    [
        ("nowhere", None, "nowhere: cannot be read: No such file or directory; give a suite, a file or an address"),
        ("file:///etc/passwd", SHA256, "only https:// and http:// are known"),
        ("trixie", SHA256, "--sha256: apt checks what a suite has; leave it out"),
        ("http://127.0.0.1:1/Image", SHA256, "cannot be fetched: .*refused"),
    ],
)
def test_what_cannot_be_meant(tmp_path: Path, source: str, sha256: str | None, words: str) -> None:
    with pytest.raises((UsageError, MissingError), match=words):
        _fetch(source, tmp_path, sha256)
