"""Find the lines that ask for runs in other messages, such as those of squashed commits. Pure.

GitHub shows a message as text, and git has bytes: so what differs between the two (spaces, case,
everything beyond ASCII) does not count.
"""

from __future__ import annotations

import re

from fyre.message import trailers

_PREFIX = "fyre-"
_NOT_COMPARED = re.compile(r"[^!-~]+")
_RUN_MENTION = re.compile(r"fyre-run\s*:", re.IGNORECASE)


def requesting_lines(message: str) -> frozenset[str]:
    """Return the lines of a message's ``Fyre-`` trailers, those that continue one included."""
    lines = trailers.message_lines(message)
    found = set[str]()
    for trailer in trailers.parse(message):
        if trailer.key.lower().startswith(_PREFIX):
            found.add(_compared(lines[trailer.line - 1]))
            for line in lines[trailer.line :]:
                if not line[:1].isspace():
                    break
                found.add(_compared(line))
    return frozenset(found - {""})


def held_lines(message: str, wanted: frozenset[str]) -> frozenset[str]:
    """Return those of the wanted lines that a message holds, wherever they stand in it."""
    return wanted & {_compared(line) for line in message.split("\n")}


def mentions_run(message: str) -> bool:
    """Return True if a message has the words of a ``Fyre-Run`` trailer anywhere."""
    return _RUN_MENTION.search(message) is not None


def _compared(line: str) -> str:
    """Return the part of a line that is the same however a forge shows it."""
    return _NOT_COMPARED.sub(" ", line).strip().lower()
