"""A log of bounded size that keeps its head and its tail.

It consists of segments of equal length, of which the middle ones are dropped. Writer and reader
share nothing but the files, so that a reader may be another process at any time. Standard library
only: the supervisor loads it.
"""

from __future__ import annotations

import contextlib
import os

from fyre.regular_files import open_for_writing, open_regular

SEGMENT_COUNT = 4
"""Segments that are kept: the first two are the head, the last two the tail."""

_HEAD_SEGMENTS = SEGMENT_COUNT // 2


class SegmentedLogWriter:
    """Appends to a log. It never raises on a full disk, but counts the bytes that were lost."""

    def __init__(self, path: str, max_bytes: int) -> None:
        """Begin a log, or continue one. ``max_bytes`` is for all kept segments together."""
        self._path = path
        self._segment_size = max(1, max_bytes // SEGMENT_COUNT)
        self._segment_number = last_segment_number(path)
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
        return open_for_writing(segment_path(self._path, number), os.O_APPEND)


def segment_path(path: str, number: int) -> str:
    """Return the path of one segment's file."""
    return f"{path}.{number}"


def read_tail(path: str, length: int) -> bytes:
    """Return the last ``length`` bytes that were written.

    These are fewer where the two newest segments hold fewer.
    """
    newest = last_segment_number(path)
    data = b""
    for number in (newest, newest - 1):
        if len(data) < length and os.path.exists(segment_path(path, number)):
            with os.fdopen(open_regular(segment_path(path, number)), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - length + len(data)))
                data = file.read() + data
    return data


def next_segment_number(path: str, number: int) -> int | None:
    """Return the first existing segment after ``number``, or None."""
    return min((n for n in _segment_numbers(path) if n > number), default=None)


def last_segment_number(path: str) -> int:
    """Return the newest segment, 0 where there is none."""
    return max(_segment_numbers(path), default=0)


def _segment_numbers(path: str) -> list[int]:
    """Return the numbers of the existing segments."""
    directory, name = os.path.split(path)
    try:
        files = os.listdir(directory)
    except (FileNotFoundError, NotADirectoryError):  # the run was deleted meanwhile
        return []
    numbers = (file.rpartition(".")[2] for file in files if file.startswith(name + "."))
    return [int(number) for number in numbers if number.isascii() and number.isdecimal()]
