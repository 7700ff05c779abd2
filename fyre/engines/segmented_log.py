"""A log of bounded size that keeps its head and its tail: segments of equal length, of which the middle ones go.

Writing and reading share nothing but the files, so that a reader may be another process at any time. Standard
library only: the supervisor loads it.
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
_POLL_INTERVAL = 0.05  # seconds between two looks at a log that is being followed
_HEARTBEAT_INTERVAL = (
    1.0  # seconds after which a silent follower is given b"" to notice that its reader went away
)


class SegmentedLogWriter:
    """Appends to a log; never raises on a full disk, but counts what was lost."""

    def __init__(self, path: str, max_bytes: int) -> None:
        """Begin a log, or go on with one. ``cap`` is in bytes, for all kept segments together."""
        self._path = path
        self._segment_size = max(1, max_bytes // SEGMENT_COUNT)
        self._segment_number = _last_segment_number(path)
        self._file = self._open_segment(self._segment_number)
        there = os.fstat(self._file).st_size
        self._room_left = max(0, self._segment_size - there)
        self.bytes_written = self._segment_number * self._segment_size + there
        """Bytes that were ever written, those of dropped segments too."""
        self.bytes_lost = 0

    def write(self, data: bytes) -> None:
        """Append; what the disk has no room for is dropped and counted."""
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
        """Opened before the other is closed: where the disk has no room for it, the next write tries again."""
        file = self._open_segment(self._segment_number + 1)
        os.close(self._file)
        self._file, self._segment_number, self._room_left = (
            file,
            self._segment_number + 1,
            self._segment_size,
        )
        old = self._segment_number - _HEAD_SEGMENTS
        if old >= _HEAD_SEGMENTS:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(segment_path(self._path, old))

    def _open_segment(self, number: int) -> int:
        return os.open(
            segment_path(self._path, number),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )


def segment_path(path: str, number: int) -> str:
    """The file of one segment."""
    return f"{path}.{number}"


def read_segments(path: str, is_growing: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """The log in pieces, with a line where its middle is left out; while it is ``growing``, also what comes."""
    number, quiet = -1, 0.0
    with contextlib.ExitStack() as files:
        file: IO[bytes] | None = None
        while True:
            more = (
                is_growing is not None and is_growing()
            )  # asked before reading: nothing written before the end is missed
            data = file.read(_CHUNK_SIZE) if file else b""
            following = None if data else _next_segment_number(path, number)
            if file and following is not None:
                data = file.read(
                    _CHUNK_SIZE
                )  # this segment was completed before the next one began
            if data:
                quiet = 0.0
                yield data
            elif following is not None:
                files.close()
                file = None
                with contextlib.suppress(
                    FileNotFoundError
                ):  # the writer may have dropped it this instant
                    file = files.enter_context(
                        open(segment_path(path, following), "rb", buffering=0)
                    )
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
    """The last bytes that were written, fewer where the newest segments hold fewer."""
    newest = _last_segment_number(path)
    found = b""
    for number in (newest, newest - 1):
        if len(found) < length and os.path.exists(segment_path(path, number)):
            with open(segment_path(path, number), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - length + len(found)))
                found = file.read() + found
    return found


def _next_segment_number(path: str, number: int) -> int | None:
    """The first segment that is there and comes after ``number``."""
    return min((n for n in _segment_numbers(path) if n > number), default=None)


def _last_segment_number(path: str) -> int:
    return max(_segment_numbers(path), default=0)


def _segment_numbers(path: str) -> list[int]:
    """The numbers of the segments that are there."""
    folder, name = os.path.split(path)
    try:
        found = os.listdir(folder)
    except FileNotFoundError:  # the run was forgotten meanwhile
        return []
    numbers = (file.rpartition(".")[2] for file in found if file.startswith(name + "."))
    return [int(number) for number in numbers if number.isdigit()]


def _gap_marker(path: str, segments: int) -> bytes:
    left_out = segments * os.path.getsize(segment_path(path, 0))
    return f"\n[fyre: {left_out:,} bytes are left out here]\n".encode()
