"""What of a log was not read yet, where a connection broke or the kubelet began another file. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

HEAD, TAIL = 1024, 4096
"""Bytes by which a log is known again."""

LOST = b"\n[fyre: some output was lost here]\n"


def unseen(pieces: Iterator[bytes], head: bytes, known: int) -> Iterator[bytes]:
    """What of a log, read from its beginning, is new: so many bytes are ``known``, and ``head`` is how they begin.

    A log that begins otherwise was rotated by the kubelet: then all of it is new, and something was missed.
    """
    text = b""
    while len(text) < len(head) and (piece := next(pieces, None)) is not None:
        text += piece
    if head.startswith(text) and len(text) < len(head):
        return  # broken off before it came to anything new
    if not text.startswith(head):
        yield LOST
        known = 0
    for piece in chain([text], pieces):
        if known < len(piece):
            yield piece[known:]
        known = max(0, known - len(piece))


def missed(now: bytes, head: bytes, known: int, tail: bytes) -> bytes:
    """What a log holds ``now`` after the ``known`` bytes, of which the first and the last are given.

    The kubelet gives the newest file alone: after a rotation the last bytes are looked for in it.
    """
    if now.startswith(head):
        return now[known:]
    at = now.find(tail)
    if at >= 0 and tail:
        return now[at + len(tail) :]
    if now and tail.endswith(now[:TAIL]):  # a file that has only just begun, all of which is known
        return b""
    if not now and tail.endswith(LOST):  # said already
        return b""
    return LOST + now  # an empty file too: how the one before it ended, nobody says
