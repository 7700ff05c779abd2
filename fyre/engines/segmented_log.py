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

SEGMENTS = 4
"""Segments that are kept: the first two are the head, the last two the tail."""

_HEAD = SEGMENTS // 2
_CHUNK = 256 * 1024
_POLL = 0.05  # seconds between two looks at a log that is being followed
_HEARTBEAT = (
    1.0  # seconds after which a silent follower is given b"" to notice that its reader went away
)


class Writer:
    """Appends to a log; never raises on a full disk, but counts what was lost."""

    def __init__(self, path: str, cap: int) -> None:
        """Begin a log, or go on with one. ``cap`` is in bytes, for all kept segments together."""
        self._path = path
        self._size = max(1, cap // SEGMENTS)
        self._number = _newest(path)
        self._file = self._open(self._number)
        there = os.fstat(self._file).st_size
        self._room = max(0, self._size - there)
        self.written = self._number * self._size + there
        """Bytes that were ever written, those of dropped segments too."""
        self.lost = 0

    def write(self, data: bytes) -> None:
        """Append; what the disk has no room for is dropped and counted."""
        view = memoryview(data)
        try:
            while view:
                if not self._room:
                    self._next_segment()
                written = os.write(self._file, view[: self._room])
                self._room -= written
                self.written += written
                view = view[written:]
        except OSError:
            self.lost += len(view)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _next_segment(self) -> None:
        """Opened before the other is closed: where the disk has no room for it, the next write tries again."""
        file = self._open(self._number + 1)
        os.close(self._file)
        self._file, self._number, self._room = file, self._number + 1, self._size
        old = self._number - _HEAD
        if old >= _HEAD:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(segment(self._path, old))

    def _open(self, number: int) -> int:
        return os.open(
            segment(self._path, number),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )


def segment(path: str, number: int) -> str:
    """The file of one segment."""
    return f"{path}.{number}"


def read(path: str, growing: Callable[[], bool] | None = None) -> Iterator[bytes]:
    """The log in pieces, with a line where its middle is left out; while it is ``growing``, also what comes."""
    number, quiet = -1, 0.0
    with contextlib.ExitStack() as files:
        file: IO[bytes] | None = None
        while True:
            more = (
                growing is not None and growing()
            )  # asked before reading: nothing written before the end is missed
            data = file.read(_CHUNK) if file else b""
            following = None if data else _after(path, number)
            if file and following is not None:
                data = file.read(_CHUNK)  # this segment was completed before the next one began
            if data:
                quiet = 0.0
                yield data
            elif following is not None:
                files.close()
                file = None
                with contextlib.suppress(
                    FileNotFoundError
                ):  # the writer may have dropped it this instant
                    file = files.enter_context(open(segment(path, following), "rb", buffering=0))
                    if following > number + 1:
                        yield _gap(path, following - number - 1)
                    number = following
            elif not more:
                return
            else:
                time.sleep(_POLL)
                quiet = (quiet + _POLL) % _HEARTBEAT
                if quiet < _POLL:
                    yield b""


def tail(path: str, length: int) -> bytes:
    """The last bytes that were written, fewer where the newest segments hold fewer."""
    newest = _newest(path)
    found = b""
    for number in (newest, newest - 1):
        if len(found) < length and os.path.exists(segment(path, number)):
            with open(segment(path, number), "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - length + len(found)))
                found = file.read() + found
    return found


def _after(path: str, number: int) -> int | None:
    """The first segment that is there and comes after ``number``."""
    return min((n for n in _there(path) if n > number), default=None)


def _newest(path: str) -> int:
    return max(_there(path), default=0)


def _there(path: str) -> list[int]:
    """The numbers of the segments that are there."""
    folder, name = os.path.split(path)
    try:
        found = os.listdir(folder)
    except FileNotFoundError:  # the run was forgotten meanwhile
        return []
    numbers = (file.rpartition(".")[2] for file in found if file.startswith(name + "."))
    return [int(number) for number in numbers if number.isdigit()]


def _gap(path: str, segments: int) -> bytes:
    left_out = segments * os.path.getsize(segment(path, 0))
    return f"\n[fyre: {left_out:,} bytes are left out here]\n".encode()
