"""A headless Chromium that is spoken to over a pipe (the DevTools protocol), without a port or a driver."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness.deadline import Deadline

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def found() -> str | None:
    """Return the path of a Chromium, None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


# The descriptors that it reads and writes are 3 and 4; those that are given may be these.
LAUNCH = """
import os, sys
ends = [os.dup(int(number)) for number in sys.argv[1:3]]
for end, number in zip([os.dup(end) for end in ends], (3, 4)):
    os.dup2(end, number)
os.execv(sys.argv[3], sys.argv[3:])
"""


class Browser:
    """One page of a browser. Messages are JSON, each ended by a NUL."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._number = 0
        self._rest = b""
        self.events: list[dict[str, Any]] = []
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _read(self, deadline: Deadline) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._answers], [], [], deadline.remaining)
            assert ready, "the browser does not answer"
            data = os.read(self._answers, 1 << 20)
            assert data, "the browser has gone"
            self._rest += data
        text, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _call(self, method: str, session: str | None = None, **params: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        deadline = Deadline.after(60)
        while (answer := self._read(deadline)).get("id") != self._number:
            self.events.append(answer)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def call(self, method: str, **params: Any) -> Any:
        """Return the answer to a command to the page."""
        return self._call(method, self._session, **params)

    def wait(self, event: str) -> dict[str, Any]:
        """Return the first event of that name, once it has come."""
        deadline = Deadline.after(60)
        while not (seen := [each for each in self.events if each.get("method") == event]):
            self.events.append(self._read(deadline))
        return seen[0]

    def show(self, path: Path, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Open a file in a window of that size, in a light or dark scheme, and wait until it is loaded."""
        self.events.clear()
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.wait("Page.loadEventFired")

    def ask(self, script: str) -> Any:
        """Return the value of a JavaScript expression, as data."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, as `Tab` or `Enter`."""
        number = {"Enter": 13, "Tab": 9}[key]
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number, **text)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """Write what the window shows, or the whole page, as PNG."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))


@contextmanager
def browser(program: str) -> Iterator[Browser]:
    """Give a browser with one empty page; nothing of it is left at the end."""
    with tempfile.TemporaryDirectory(prefix="browser-") as home:
        read_commands, commands = os.pipe()
        answers, write_answers = os.pipe()
        options = (
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--remote-debugging-pipe",
            "--no-first-run",
            f"--user-data-dir={home}",
        )
        redirect = [sys.executable, "-c", LAUNCH, str(read_commands), str(write_answers), program, *options, "about:blank"]
        log = (Path(home) / "log").open("w")
        process = subprocess.Popen(
            redirect, pass_fds=(read_commands, write_answers), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={**os.environ, "HOME": home},
        )  # fmt: skip
        os.close(read_commands)
        os.close(write_answers)
        page = None
        try:
            page = Browser(commands, answers)
            yield page
        finally:
            if page is not None:
                page._call("Browser.close")
            else:
                process.kill()
            process.wait(20)
            for each in (commands, answers):
                os.close(each)
            log.close()
