"""The part of a log that was not read yet.

It is found where a connection broke, or where the kubelet began another file. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

HEAD_BYTES, TAIL_BYTES = 1024, 4096
"""Bytes by which a log is recognized."""

_OVERLAP_MIN = 32

LOST_MARKER = b"\n[fyre: some output was lost here]\n"


def skip_known(chunks: Iterator[bytes], head: bytes, known_length: int) -> Iterator[bytes]:
    """Yield what is new of a log that is read from its beginning.

    ``known_length`` bytes of it are known, and ``head`` is how they begin. A log that begins
    otherwise was rotated by the kubelet: then all of it is new, and something was missed.
    """
    text = b""
    while len(text) < len(head) and (chunk := next(chunks, None)) is not None:
        text += chunk
    if head.startswith(text) and len(text) < len(head):
        return  # it broke off before anything new came
    if not text.startswith(head):
        yield LOST_MARKER
        known_length = 0
    for chunk in chain([text], chunks):
        if known_length < len(chunk):
            yield chunk[known_length:]
        known_length = max(0, known_length - len(chunk))


def find_missing(current: bytes, head: bytes, known_length: int, tail: bytes) -> bytes:
    """Return what a log holds now after the known bytes, whose first and last ones are given.

    The kubelet gives the newest file alone: after a rotation the last bytes are searched for in it.
    """
    # A file that is shorter than what is known was begun anew, even if it begins in the same way.
    if current.startswith(head) and len(current) >= known_length:
        return current[known_length:]
    tail_start = current.find(tail)
    if tail_start >= 0 and tail:
        return current[tail_start + len(tail) :]
    # A file that had only just begun when its first bytes were read.
    overlap = _find_overlap(tail, current)
    if overlap:
        return current[overlap:]
    if not current and tail.endswith(LOST_MARKER):  # it is marked already
        return b""
    # Also for an empty file: nobody says how the one before it ended.
    return LOST_MARKER + current


def _find_overlap(tail: bytes, current: bytes) -> int:
    """Return how many bytes end the one and begin the other.

    All of a file, or enough that it is no coincidence.
    """
    for length in range(min(len(tail), len(current)), 0, -1):
        is_enough = length == len(current) or length >= _OVERLAP_MIN
        if is_enough and tail.endswith(current[:length]):
            return length
    return 0
