"""Read the log that ``segmented_log`` writes, from any offset, while it is being written.

Apart from the writer, since a supervisor loads that alone and starts in a millisecond.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from fyre.engines import segmented_log
from fyre.engines.run_log import LogPiece, LogState
from fyre.regular_files import NotRegularFileError, open_regular, regular_size

_CHUNK_SIZE = 256 * 1024


@dataclass(frozen=True, slots=True)
class SegmentedLogReader:
    """A log that is read, as ``RunLog`` has it; ``is_complete`` may raise ``TransientError``."""

    path: str
    is_complete: Callable[[], bool]

    def read_state(self) -> LogState:
        """Return how far the log is."""
        is_complete = self.is_complete()
        return LogState(0 if is_complete else end_offset(self.path), is_complete)

    def read_pieces(self, offset: int) -> Iterator[LogPiece]:
        """Yield what is there now, from an offset on."""
        return read_pieces(self.path, offset)


def read_pieces(path: str, offset: int = 0) -> Iterator[LogPiece]:
    """Yield what a log holds now from an offset on; a jump of the offset is what was dropped."""
    size = _segment_size(path)
    number = offset // size - 1 if size else -1
    while (following := segmented_log.next_segment_number(path, number)) is not None:
        number = following
        # The writer may have dropped the segment this instant, or the command replaced it.
        with (
            contextlib.suppress(FileNotFoundError, NotRegularFileError),
            _open_segment(path, number) as file,
        ):
            start = number * _segment_size(path)
            position = max(offset, start)
            file.seek(position - start)
            is_full = False
            while (data := file.read(_CHUNK_SIZE)) or not is_full:
                # A segment is complete before the next one begins: then it is read once more.
                is_full = not data
                if data:
                    yield LogPiece(position, data)
                    position += len(data)
                elif segmented_log.next_segment_number(path, number) is None:
                    return


def _open_segment(path: str, number: int) -> BinaryIO:
    return os.fdopen(open_regular(segmented_log.segment_path(path, number)), "rb")


def end_offset(path: str) -> int:
    """Return how many bytes were ever written."""
    newest = segmented_log.last_segment_number(path)
    try:
        length = regular_size(segmented_log.segment_path(path, newest))
    except (FileNotFoundError, NotADirectoryError):  # not begun, or deleted
        return 0
    return newest * _segment_size(path) + length if newest else length


def _segment_size(path: str) -> int:
    """Return the length of a complete segment: the first one is never dropped.

    It is 0 while the first one may still grow.
    """
    if segmented_log.last_segment_number(path) == 0:
        return 0
    with contextlib.suppress(FileNotFoundError):
        return regular_size(segmented_log.segment_path(path, 0))
    return 0
