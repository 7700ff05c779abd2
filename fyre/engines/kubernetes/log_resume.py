"""What of a log was not read yet, where a connection broke or the kubelet began another file. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

HEAD_BYTES, TAIL_BYTES = 1024, 4096
"""Bytes by which a log is known again."""

LOST_MARKER = b"\n[fyre: some output was lost here]\n"


def skip_known(chunks: Iterator[bytes], head: bytes, known_length: int) -> Iterator[bytes]:
    """What of a log, read from its beginning, is new: so many bytes are ``known``, and ``head`` is how they begin.

    A log that begins otherwise was rotated by the kubelet: then all of it is new, and something was missed.
    """
    text = b""
    while len(text) < len(head) and (piece := next(chunks, None)) is not None:
        text += piece
    if head.startswith(text) and len(text) < len(head):
        return  # broken off before it came to anything new
    if not text.startswith(head):
        yield LOST_MARKER
        known_length = 0
    for piece in chain([text], chunks):
        if known_length < len(piece):
            yield piece[known_length:]
        known_length = max(0, known_length - len(piece))


def find_missing(current: bytes, head: bytes, known_length: int, tail: bytes) -> bytes:
    """What a log holds ``now`` after the ``known`` bytes, of which the first and the last are given.

    The kubelet gives the newest file alone: after a rotation the last bytes are looked for in it.
    """
    if current.startswith(head):
        return current[known_length:]
    at = current.find(tail)
    if at >= 0 and tail:
        return current[at + len(tail) :]
    if current and tail.endswith(
        current[:TAIL_BYTES]
    ):  # a file that has only just begun, all of which is known
        return b""
    if not current and tail.endswith(LOST_MARKER):  # said already
        return b""
    return LOST_MARKER + current  # an empty file too: how the one before it ended, nobody says
