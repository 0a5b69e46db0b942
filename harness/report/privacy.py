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
    *("ubuntu", "debian", "fedora", "linux", "vagrant", "qemu", "kvm", "arm"),
)
"""Account names that say a role and no person; they are common words of the logs, which would become unreadable."""


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
        for home in self.homes:
            text = re.sub(rf"(?<![\w.]){re.escape(home)}(?![\w.-])", lambda _: HOME, text)
        if self.user and self.user not in IMPERSONAL:
            text = re.sub(rf"(?<![^\W_]){re.escape(self.user)}(?![^\W_])", lambda _: USER, text)
        return text

    def data(self, value: object) -> object:
        """Return JSON data with each string in it redacted; the keys are ours and stay."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {key: self.data(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.data(item) for item in value]
        return value
