"""A log's chunks, collected: many small ones cost as much to redact as one large one each.

A thread reads them, so that whoever takes them need not wait for the next one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable
from typing import Protocol, runtime_checkable

MAX_BYTES = 65_536
"""Bytes that are collected; more are not read before these were taken."""

MAX_SECONDS = 0.05
"""Seconds between two takings, in which bytes are collected."""


@runtime_checkable
class Interruptible(Protocol):
    """Chunks whose reading another thread can break off."""

    def interrupt(self) -> None:
        """Have the reading thread get an error soon."""


def collect_chunks(chunks: Iterable[bytes]) -> Generator[bytes]:
    """Yield chunks, several as one if they come fast; raise what reading them raises.

    When this is closed, so is the connection that they come from.
    """
    reading = _ReadingThread(chunks)
    reading.start()
    try:
        while (data := reading.take()) is not None:
            yield data
    finally:
        reading.stop()


class _ReadingThread(threading.Thread):
    """Reads chunks until they end, or nobody takes them any more."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        super().__init__(name="log-chunks", daemon=True)
        self._chunks = chunks
        self._changed = threading.Condition()
        self._read: list[bytes] = []
        self._size = 0
        self._has_ended = self._is_stopped = False
        self._error: BaseException | None = None
        self._taken_at = 0.0

    def run(self) -> None:
        """Read until the end."""
        error = None
        try:
            for chunk in self._chunks:
                if not self._add(chunk):
                    break
        except BaseException as raised:  # it belongs to whoever takes the chunks
            error = raised
        finally:
            if close := getattr(self._chunks, "close", None):
                close()
        with self._changed:
            self._error, self._has_ended = error, True
            self._changed.notify_all()

    def _add(self, chunk: bytes) -> bool:
        """Keep a chunk; return False if nobody wants more."""
        with self._changed:
            self._read.append(chunk)
            self._size += len(chunk)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._size < MAX_BYTES or self._is_stopped)
            return not self._is_stopped

    def take(self) -> bytes | None:
        """Return what was read since the last time, as soon as there is some; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._read or self._has_ended)
            if self._read:
                rest = self._taken_at + MAX_SECONDS - time.monotonic()
                self._changed.wait_for(
                    lambda: self._size >= MAX_BYTES or self._has_ended, max(0.0, rest)
                )
                data = b"".join(self._read)
                self._read, self._size = [], 0
                self._taken_at = time.monotonic()
                self._changed.notify_all()
                return data
            if self._error:
                raise self._error
            return None

    def stop(self) -> None:
        """Have the thread end, if it has not yet."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()
            has_ended = self._has_ended
        if not has_ended and isinstance(self._chunks, Interruptible):
            self._chunks.interrupt()
