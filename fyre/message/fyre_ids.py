"""Create and read Fyre-Ids: the time a commit was asked to run, and 80 random bits.

Pure except for the clock and the randomness that are used by default. The form is a ULID
(github.com/ulid/spec): 10 characters of milliseconds and 16 of randomness in Crockford's base 32,
so that ids sort by the time they were made and can be read aloud.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_CHAR_VALUES = {char: value for value, char in enumerate(_ALPHABET)}
FYRE_ID_LENGTH = 26


def new_fyre_id(now: float | None = None, random: bytes | None = None) -> str:
    """Return a new id. ``now`` is in seconds since the epoch, ``random`` is ten bytes."""
    milliseconds = int((time.time() if now is None else now) * 1000)
    bits = (milliseconds << 80) | int.from_bytes(
        os.urandom(10) if random is None else random, "big"
    )
    return "".join(_ALPHABET[(bits >> shift) & 31] for shift in range(125, -1, -5))


def is_valid_fyre_id(text: str) -> bool:
    """Return True if ``new_fyre_id`` could have made it: exact length and alphabet, upper case."""
    return (
        len(text) == FYRE_ID_LENGTH and text[0] < "8" and all(char in _CHAR_VALUES for char in text)
    )


def fyre_id_time(fyre_id: str) -> float:
    """Return the time at which an id was made, in seconds since the epoch; the id must be valid."""
    milliseconds = 0
    for char in fyre_id[:10]:
        milliseconds = milliseconds << 5 | _CHAR_VALUES[char]
    return milliseconds / 1000
