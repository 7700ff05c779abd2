"""A run's log as a sequence of bytes with offsets, which can be read from any of them.

An offset counts every byte that the command ever wrote, also those that were dropped since from the
middle of a long log: so it means the same before and after a restart. Standard library only.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

START_HEADER = "Fyre-Log-Start"
"""Header of HTTP with the offset at which an answer begins, where it was asked for from an offset;
a receiver of 0.1 does not send it, and sends the log from its beginning."""

_POLL_INTERVALS = (0.05, 0.25)  # seconds: while a log grows, and after a long silence


@dataclass(frozen=True, slots=True)
class LogPiece:
    """A piece of a log. ``offset`` counts the bytes before it; a jump is a part left out."""

    offset: int
    data: bytes

    @property
    def end_offset(self) -> int:
        """The offset of the byte that follows the piece."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class LogState:
    """The progress of a log. Where it is complete, ``end_offset`` need not be known and is 0."""

    end_offset: int
    is_complete: bool


class RunLog(Protocol):
    """The log of one run, while it grows and afterwards. May be read from several threads."""

    def read_state(self) -> LogState:
        """Return how far the log is; costs a few system calls.

        Raises ``TransientError`` if the engine was closed before the log was complete.
        """
        ...

    def read_pieces(self, offset: int) -> Iterator[LogPiece]:
        """Yield what is there now, from an offset on."""
        ...


def follow_pieces(run_log: RunLog, offset: int = 0) -> Iterator[LogPiece]:
    """Yield a log from an offset until it is complete, in the caller's thread.

    Raises ``TransientError`` if the engine is closed before.
    """
    pause = _POLL_INTERVALS[0]
    while True:
        # Read before the pieces, so that nothing that was written before the end is missed.
        state = run_log.read_state()
        if state.is_complete or state.end_offset > offset:
            for piece in run_log.read_pieces(offset):
                yield piece
                offset = piece.end_offset
                pause = _POLL_INTERVALS[0]
        if state.is_complete:
            return
        time.sleep(pause)
        pause = longer_pause(pause)


def longer_pause(pause: float) -> float:
    """Return the seconds between two looks at a log that is still silent after ``pause``."""
    return min(pause * 1.1, _POLL_INTERVALS[1])


SHORTEST_PAUSE = _POLL_INTERVALS[0]
"""Seconds between two looks at a log that just grew."""


def join_pieces(pieces: Iterator[LogPiece], offset: int = 0) -> Iterator[bytes]:
    """Yield the bytes of pieces from an offset on, with a line where something is left out."""
    for piece in pieces:
        if piece.offset > offset:
            yield gap_marker(piece.offset - offset)
        yield piece.data
        offset = piece.end_offset


def read_bytes(opened: RunLog, *, follow: bool) -> Iterator[bytes]:
    """Yield a log from its beginning as bytes; with ``follow`` until it is complete."""
    return join_pieces(follow_pieces(opened) if follow else opened.read_pieces(0))


def gap_marker(length: int) -> bytes:
    """Return the line that stands for bytes that are left out."""
    return f"\n[fyre: {length:,} bytes are left out here]\n".encode()
