"""How a command ends where a full disk, or a closed pipe, takes no more words."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_STREAMS = (1, 2)


@contextmanager
def last_words() -> Iterator[None]:
    """Have what the block says, and all that was said before, lost where it cannot be written.

    Python would end with 1 or 120 for it, in place of the status that the command ends with.
    """
    try:
        yield
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in _STREAMS:
            os.dup2(nowhere, number)
