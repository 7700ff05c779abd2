"""Secret values, struck out of a log as it passes by. Pure.

A value is replaced by as many ``*`` as it has bytes, so that a log that is read twice has the same
length both times.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable

MIN_SECRET_LENGTH = 6
"""Bytes; shorter values (``1``, ``prod``) are no secret by any measure.

To strike them out would destroy half of a log.
"""


class Redactor:
    """Strikes values out of a log that is fed in chunks.

    Bytes that may be the beginning of a value are held back until the next chunk tells.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        self._values = sorted(_secret_variants(values), key=len, reverse=True)
        alternatives = b"|".join(map(re.escape, self._values))
        self._pattern = re.compile(alternatives) if self._values else None
        self._held_back = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of this chunk, and of those before."""
        if self._pattern is None:
            return data
        shown: list[bytes] = []
        text, position = self._held_back + data, 0
        while True:
            match, held_from = (
                self._pattern.search(text, position),
                self._partial_match_start(text, position),
            )
            # A value that is complete may also be the beginning of a longer one.
            if match is None or match.start() >= held_from:
                self._held_back = text[held_from:]
                return b"".join([*shown, text[position:held_from]])
            shown += [text[position : match.start()], _mask_match(match)]
            position = match.end()

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        rest, self._held_back = self._held_back, b""
        return self._pattern.sub(_mask_match, rest) if self._pattern is not None else rest

    def _partial_match_start(self, text: bytes, start: int) -> int:
        """Return the position from which the last bytes may be the beginning of a value."""
        starts = (_partial_value_start(value, text, start) for value in self._values)
        return min(starts, default=len(text))


def _mask_match(match: re.Match[bytes]) -> bytes:
    return b"*" * len(match[0])


def _partial_value_start(value: bytes, text: bytes, start: int) -> int:
    """Return the position from which the end of a text is the beginning of a value.

    Return the text's length if it is the beginning of none.
    """
    position = text.find(value[:1], max(start, len(text) - len(value) + 1))
    while position >= 0 and not value.startswith(text[position:]):
        position = text.find(value[:1], position + 1)
    return position if position >= 0 else len(text)


def _secret_variants(values: Iterable[bytes]) -> set[bytes]:
    """Return each value as it is, without the line feed at its end, its lines, and in base64."""
    variants: set[bytes] = set()
    for value in values:
        variants |= {
            value,
            value.strip(),
            base64.b64encode(value),
            base64.b64encode(value.strip()),
            *value.splitlines(),
        }
    return {value for value in variants if len(value.strip()) >= MIN_SECRET_LENGTH}
