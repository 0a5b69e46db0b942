"""Takes the user's name and home directory out of everything that is meant to be sent to others."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

HOME = "$HOME"
USER = "$USER"

IMPERSONAL = (
    *("root", "user", "guest", "admin", "nobody", "runner", "builder", "build", "ci", "jenkins", "test"),
    *("ubuntu", "debian", "fedora", "linux", "vagrant", "qemu", "kvm", "arm", "harness", "max"),
)
"""Account names that are common words of the logs, which would become unreadable: those that say a role and no person, and
`max`, which may be a person and is QEMU's name of a CPU."""

OWN = (
    *("id", "test", "begun", "subject", "platform", "lifecycle", "verdict", "suspect", "known_issue"),
    *("bundle", "folder", "file", "rerun"),
)
"""Keys whose text is the harness's own words, by which a case or a file of its bundle is found again. A word in it that is
somebody's name as well is not meant; a path in it is without the name already (`Params.id`)."""
CHOSEN = ("params", "arguments", "machine")
"""Keys of tables of values that somebody chose: plain words of the harness, and paths."""


@dataclass(frozen=True)
class Redactor:
    """Replaces home directories (with and without symbolic links followed) and one user name, each as a whole word."""

    homes: tuple[str, ...]
    user: str

    @classmethod
    def here(cls) -> Redactor:
        """Return the redactor for whoever runs this process; a process without a user entry has nothing to hide."""
        try:
            user = getpass.getuser()
        except (KeyError, OSError):
            user = ""
        home = os.environ.get("HOME", "").rstrip("/")
        homes = {home, os.path.realpath(home)} if home.startswith("/") else set()
        return cls(tuple(sorted(homes - {"/"})), user)

    def text(self, text: str) -> str:
        """Return `text` with `$HOME` and `$USER` in place of the real ones."""
        text = self._without_home(text)
        if self.user and self.user not in IMPERSONAL:
            text = re.sub(rf"(?<![^\W_]){re.escape(self.user)}(?![^\W_])", lambda _: USER, text)
        return text

    def value(self, text: str) -> str:
        """Return what is a plain word, which stays as it is, or a path: whatever has a `/`."""
        return self.text(text) if "/" in text else text

    def data(self, value: object, key: str = "") -> object:
        """Return JSON data with each string in it redacted, and each key that is a path. `key` is where the data stands."""
        if isinstance(value, str):
            return self._without_home(value) if key in OWN else self.text(value)
        if isinstance(value, Mapping):
            return {
                self.value(name): self.value(item) if key in CHOSEN and isinstance(item, str) else self.data(item, name)
                for name, item in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.data(item, key) for item in value]
        return value

    def _without_home(self, text: str) -> str:
        for home in self.homes:
            text = re.sub(rf"(?<![\w.]){re.escape(home)}(?![\w.-])", lambda _: HOME, text)
        return text
