"""Values that must not be read in a log, struck out as it passes by. Pure.

A value is struck out by as many ``*`` as it has bytes, so that a log read twice has the same length both times.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

SHORTEST = 6
"""Bytes; shorter values (``1``, ``prod``) would strike out half of a log and are not secret by any measure."""


class Redactor:
    """Feed it the log's pieces; what may be the beginning of a value is held back until the next piece tells."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = sorted(_variants(values), key=len, reverse=True)
        self._found = re.compile(b"|".join(map(re.escape, self._values))) if self._values else None
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """What of this piece, and of those before, can be shown."""
        if self._found is None:
            return data
        shown: list[bytes] = []
        text, at = self._held + data, 0
        while True:
            found, open_end = self._found.search(text, at), self._open_end(text, at)
            if (
                found is None or found.start() >= open_end
            ):  # a value that is there may be the beginning of a longer one
                self._held = text[open_end:]
                return b"".join([*shown, text[at:open_end]])
            shown += [text[at : found.start()], _stars(found)]
            at = found.end()

    def rest(self) -> bytes:
        """What was held back, at the end."""
        rest, self._held = self._held, b""
        return self._found.sub(_stars, rest) if self._found is not None else rest

    def _open_end(self, text: bytes, since: int) -> int:
        """Where the last bytes begin that may be the beginning of a value."""
        return min((_beginning(value, text, since) for value in self._values), default=len(text))


def _stars(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found[0])


def _beginning(value: bytes, text: bytes, since: int) -> int:
    """Where the end of a text begins to read as a value that is not over yet; its length where nothing does."""
    at = text.find(value[:1], max(since, len(text) - len(value) + 1))
    while at >= 0 and not value.startswith(text[at:]):
        at = text.find(value[:1], at + 1)
    return at if at >= 0 else len(text)


def _variants(values: Iterable[bytes]) -> set[bytes]:
    """Each value as it is, without the line feed that files end with, each of its lines, and in base64."""
    found: set[bytes] = set()
    for value in values:
        found |= {
            value,
            value.strip(),
            base64.b64encode(value),
            base64.b64encode(value.strip()),
            *value.splitlines(),
        }
    return {value for value in found if len(value.strip()) >= SHORTEST}
