"""Values that must not be read in a log, struck out as it passes by. Pure.

A value is struck out by as many ``*`` as it has bytes, so that a log read twice has the same length both times.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

MIN_SECRET_LENGTH = 6
"""Bytes; shorter values (``1``, ``prod``) would strike out half of a log and are not secret by any measure."""


class Redactor:
    """Feed it the log's pieces; what may be the beginning of a value is held back until the next piece tells."""

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = sorted(_secret_variants(values), key=len, reverse=True)
        self._pattern = (
            re.compile(b"|".join(map(re.escape, self._values))) if self._values else None
        )
        self._held_back = b""

    def feed(self, data: bytes) -> bytes:
        """What of this piece, and of those before, can be shown."""
        if self._pattern is None:
            return data
        shown: list[bytes] = []
        text, at = self._held_back + data, 0
        while True:
            found, open_end = self._pattern.search(text, at), self._partial_match_start(text, at)
            if (
                found is None or found.start() >= open_end
            ):  # a value that is there may be the beginning of a longer one
                self._held_back = text[open_end:]
                return b"".join([*shown, text[at:open_end]])
            shown += [text[at : found.start()], _mask_match(found)]
            at = found.end()

    def flush(self) -> bytes:
        """What was held back, at the end."""
        rest, self._held_back = self._held_back, b""
        return self._pattern.sub(_mask_match, rest) if self._pattern is not None else rest

    def _partial_match_start(self, text: bytes, start: int) -> int:
        """Where the last bytes begin that may be the beginning of a value."""
        return min(
            (_partial_value_start(value, text, start) for value in self._values), default=len(text)
        )


def _mask_match(match: re.Match[bytes]) -> bytes:
    return b"*" * len(match[0])


def _partial_value_start(value: bytes, text: bytes, start: int) -> int:
    """Where the end of a text begins to read as a value that is not over yet; its length where nothing does."""
    at = text.find(value[:1], max(start, len(text) - len(value) + 1))
    while at >= 0 and not value.startswith(text[at:]):
        at = text.find(value[:1], at + 1)
    return at if at >= 0 else len(text)


def _secret_variants(values: Iterable[bytes]) -> set[bytes]:
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
    return {value for value in found if len(value.strip()) >= MIN_SECRET_LENGTH}
