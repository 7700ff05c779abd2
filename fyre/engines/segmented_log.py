"""A log of bounded size that keeps its head and its tail.

It consists of segments of equal length, of which the middle ones are dropped. Writer and reader
share nothing but the files, so that a reader may be another process at any time. Standard library
only: the supervisor loads it.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import IO

SEGMENT_COUNT = 4
"""Segments that are kept: the first two are the head, the last two the tail."""

_HEAD_SEGMENTS = SEGMENT_COUNT // 2
_CHUNK_SIZE = 256 * 1024
_POLL_INTERVAL = 0.05  # seconds between two reads of a log that is being followed
_HEARTBEAT_INTERVAL = 1.0
"""Seconds of silence after which a follower gets b"", to notice that its reader went away."""


class SegmentedLogWriter:
    """Appends to a log. It never raises on a full disk, but counts the bytes that were lost."""

    def __init__(self, path: str, max_bytes: int) -> None:
        """Begin a log, or continue one. ``max_bytes`` is for all kept segments together."""
        self._path = path
        self._segment_size = max(1, max_bytes // SEGMENT_COUNT)
        self._segment_number = _last_segment_number(path)
        self._file = self._open_segment(self._segment_number)
        present_bytes = os.fstat(self._file).st_size
        self._room_left = max(0, self._segment_size - present_bytes)
        self.bytes_written = self._segment_number * self._segment_size + present_bytes
        """Bytes that were ever written, also those of dropped segments."""
        self.bytes_lost = 0

    def write(self, data: bytes) -> None:
        """Append data; drop and count what the disk has no room for."""
        view = memoryview(data)
        try:
            while view:
                if not self._room_left:
                    self._start_next_segment()
                written = os.write(self._file, view[: self._room_left])
                self._room_left -= written
                self.bytes_written += written
                view = view[written:]
        except OSError:
            self.bytes_lost += len(view)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _start_next_segment(self) -> None:
        """Open the next segment, then close this one.

        In this order, so that where the disk has no room for it the next write tries again.
        """
        file = self._open_segment(self._segment_number + 1)
        os.close(self._file)
        self._file = file
        self._segment_number += 1
        self._room_left = self._segment_size
        dropped = self._segment_number - _HEAD_SEGMENTS
        if dropped >= _HEAD_SEGMENTS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(segment_path(self._path, dropped))

    def _open_segment(self, number: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(segment_path(self._path, number), flags, 0o600)


def segment_path(path: str, number: int) -> str:
    """Return the path of one segment's file."""
    return f"{path}.{number}"


def read_segments(path: str, is_growing: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """Yield the log in chunks, with a line where its middle is left out.

    While it ``is_growing``, go on with what is appended, and yield b"" now and then.
    """
    number, quiet = -1, 0.0
    with contextlib.ExitStack() as files:
        file: IO[bytes] | None = None
        while True:
            # Asked before reading, so that nothing that was written before the end is missed.
            more = is_growing is not None and is_growing()
            data = file.read(_CHUNK_SIZE) if file else b""
            following = None if data else _next_segment_number(path, number)
            if file and following is not None:
                # This segment was completed before the next one began.
                data = file.read(_CHUNK_SIZE)
            if data:
                quiet = 0.0
                yield data
            elif following is not None:
                files.close()
                file = None
                # The writer may have dropped the segment this instant.
                with contextlib.suppress(FileNotFoundError):
                    following_path = segment_path(path, following)
                    file = files.enter_context(open(following_path, "rb", buffering=0))
                    if following > number + 1:
                        yield _gap_marker(path, following - number - 1)
                    number = following
            elif not more:
                return
            else:
                time.sleep(_POLL_INTERVAL)
                quiet = (quiet + _POLL_INTERVAL) % _HEARTBEAT_INTERVAL
                if quiet < _POLL_INTERVAL:
                    yield b""


def read_tail(path: str, length: int) -> bytes:
    """Return the last ``length`` bytes that were written.

    These are fewer where the two newest segments hold fewer.
    """
    newest = _last_segment_number(path)
    data = b""
    for number in (newest, newest - 1):
        if len(data) < length and os.path.exists(segment_path(path, number)):
            with open(segment_path(path, number), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - length + len(data)))
                data = file.read() + data
    return data


def _next_segment_number(path: str, number: int) -> int | None:
    """Return the first existing segment after ``number``, or None."""
    return min((n for n in _segment_numbers(path) if n > number), default=None)


def _last_segment_number(path: str) -> int:
    return max(_segment_numbers(path), default=0)


def _segment_numbers(path: str) -> list[int]:
    """Return the numbers of the existing segments."""
    directory, name = os.path.split(path)
    try:
        files = os.listdir(directory)
    except FileNotFoundError:  # the run was deleted meanwhile
        return []
    numbers = (file.rpartition(".")[2] for file in files if file.startswith(name + "."))
    return [int(number) for number in numbers if number.isdigit()]


def _gap_marker(path: str, segments: int) -> bytes:
    omitted = segments * os.path.getsize(segment_path(path, 0))
    return f"\n[fyre: {omitted:,} bytes are left out here]\n".encode()
