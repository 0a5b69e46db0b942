"""A failure's sentence taken apart: what went wrong without where, and what is the same in others of its kind. Pure."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"(0x[0-9a-f]+|\d+(?:\.\d+)?)")
# What else was found in the case, after the worst of it.
_MORE = re.compile(r" \(and \d+ more\)")
_COMPLAINTS = re.compile(r"(?<=the guest found: ).*?(?=; registers differ: |; a storm of exits: |$)")


def core(message: str) -> str:
    """Return what went wrong, without the circumstances before it, which are parameters, and the suspect after it."""
    first = message.partition("\n")[0]
    parts = first.split(": ", 2)
    return re.sub(r"; suspect [^;]*$", "", parts[2] if len(parts) == 3 else first)


def kind(message: str) -> str:
    """Return what failures of one kind have in common: the core, a sign for each number, and not how much more there is."""
    return each_once(_NUMBER.sub("#", _MORE.sub("", core(message))))


def each_once(words: str) -> str:
    """Return words without numbers with each complaint of the guest once, however many of its vCPUs have it."""
    return _COMPLAINTS.sub(lambda found: " | ".join(sorted(set(found[0].split(" | ")))), words)


def escaped(text: str) -> str:
    """Return a regular expression for a text that people can still read."""
    return re.escape(text).replace("\\ ", " ")


def pattern(sentence: str) -> str:
    """Return a regular expression for a sentence in which every number may be another one."""
    parts = _NUMBER.split(sentence)
    return "".join(
        escaped(part) if index % 2 == 0 else r"0x[0-9a-f]+" if part.startswith("0x") else r"[\d.]+"
        for index, part in enumerate(parts)
    )
