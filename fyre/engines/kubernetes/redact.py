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
        text = self._struck(self._held + data)
        keep = self._beginning(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def rest(self) -> bytes:
        """What was held back, at the end."""
        rest, self._held = self._held, b""
        return rest

    def _struck(self, text: bytes) -> bytes:
        return self._found.sub(lambda found: b"*" * len(found[0]), text) if self._found is not None else text

    def _beginning(self, text: bytes) -> int:
        """How many of the last bytes may be the beginning of a value."""
        longest = min(len(text), len(self._values[0]) - 1)
        return next((n for n in range(longest, 0, -1) if any(v.startswith(text[-n:]) for v in self._values)), 0)


def _variants(values: Iterable[bytes]) -> set[bytes]:
    """Each value as it is, without the line feed that files end with, each of its lines, and in base64."""
    found: set[bytes] = set()
    for value in values:
        found |= {value, value.strip(), base64.b64encode(value), base64.b64encode(value.strip()), *value.splitlines()}
    return {value for value in found if len(value.strip()) >= SHORTEST}
