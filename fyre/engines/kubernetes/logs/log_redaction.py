"""Secret values, struck out of a log as it passes by. Pure.

A value is replaced by as many ``*`` as it has characters, so that a log that is read twice has the
same length both times. It is struck out as it is, and as a program may well print it. That is no
list of programs: the log is read in several ways (without escapes, without what stands between
digits, as the rows of a dump), and the value is looked for in each of them. What any of them finds
is struck out.
"""

from __future__ import annotations

import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from fyre.engines.kubernetes.logs import secret_needles, text_readings
from fyre.engines.kubernetes.logs.dump_readings import RowFinder, find_unfinished_row
from fyre.engines.kubernetes.logs.marked_readings import MARKED_READINGS
from fyre.engines.kubernetes.logs.number_lists import NUMBER_LISTS
from fyre.engines.kubernetes.logs.secret_needles import (
    MIN_SECRET_LENGTH,
    Needles,
    literal_texts,
    merge_spans,
)
from fyre.engines.kubernetes.logs.text_readings import Origins, PlainReading, Reading

__all__ = ["MIN_SECRET_LENGTH", "Redactor"]

_HELD_MAX = 4096
"""Bytes that are held back besides eight times the longest value: what a dump makes of it."""

_LINE_MAX = 1024
"""Bytes of a line that may be a row of a dump."""

_STAR = bytes(byte if byte in b"\r\n" else ord("*") for byte in range(256))


class Redactor:
    """Strikes values out of a log that is fed in chunks.

    Bytes that may be the beginning of a value are held back until the next chunk tells.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        literals = literal_texts(secrets := list(values))
        self._readings = _readings_of(secrets) if literals else ()
        self._held_max = _HELD_MAX + 8 * max(map(len, literals), default=0)
        self._text = b""  # what may still become a part of a value
        self._shown = 0  # of these, how many were returned
        self._masked: list[tuple[int, int]] = []

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of this chunk, and of those before."""
        if not self._readings:
            return data
        self._text += data
        line_start = self._text.rfind(b"\n") + 1
        needed, held = len(self._text), len(self._text)
        for finder in self._readings:
            self._masked += finder.find(self._text[:line_start] if finder.of_lines else self._text)
            first, first_held = finder.find_beginning(self._text, line_start, self._held_max)
            needed, held = min(needed, first), min(held, first_held)
        return self._release(*self._hold_row(line_start, needed, held))

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        for finder in self._readings:
            self._masked += finder.find(self._text, is_whole=True)
        return self._release(len(self._text), len(self._text))

    def _hold_row(self, line_start: int, needed: int, held: int) -> tuple[int, int]:
        """Return what is needed and held if the last line may be a row of a dump."""
        line = self._text[line_start:]
        if not line or len(line) > _LINE_MAX:
            return needed, held
        row_start = find_unfinished_row(line)
        if row_start is None:
            return needed, held
        return min(needed, line_start), min(held, line_start + row_start)

    def _release(self, needed: int, held: int) -> bytes:
        """Return what is not held back, and forget what is not needed any more.

        A line is read as a whole as long as a part of it is: what a part says depends on the rest.
        """
        lowest = len(self._text) - self._held_max
        held = max(held, lowest, self._shown)
        needed = min(max(needed, lowest), held)
        line_start = self._text.rfind(b"\n", 0, needed) + 1
        needed = line_start if needed - line_start <= _LINE_MAX else needed
        self._masked = merge_spans(self._masked)
        shown = _strike_out(self._text, self._masked)[self._shown : held]
        self._text, self._shown = self._text[needed:], held - needed
        self._masked = [
            (max(0, start - needed), end - needed) for start, end in self._masked if end > needed
        ]
        return shown


def _strike_out(text: bytes, spans: Sequence[tuple[int, int]]) -> bytes:
    parts, position = [], 0
    for start, end in spans:
        parts += [text[position:start], text[start:end].translate(_STAR)]
        position = end
    return b"".join([*parts, text[position:]]) if spans else text


class _Finder:
    """Finds needles in one reading of a text.

    ``begun`` reads what may be the beginning of what ``reading`` reads.
    """

    def __init__(self, reading: Reading, needles: Needles, begun: Reading | None = None) -> None:
        self.reading, self._needles, self._begun = reading, needles, begun or reading
        self.of_lines = reading.of_lines

    def find(self, text: bytes, *, is_whole: bool = False) -> Iterator[tuple[int, int]]:
        """Yield the stretches of a text that are to be struck out.

        Unless the text is whole, its last bytes may still come to say something else.
        """
        found = self._needles.find(self.reading.read(text)) if text else []
        if found:
            origins = self.reading.origins(text)
            if not is_whole:
                cut = min(self.reading.loose_ends(text), default=len(text))
                found = [(start, end) for start, end in found if origins.find(end - 1) < cut]
            if self.reading.strikes_out_gaps:
                for start, end in merge_spans(found, shared=1):
                    spans = list(origins.spans(start, end))
                    yield spans[0][0], spans[-1][1]
            else:
                for start, end in merge_spans(self._masked_parts(text, origins, found)):
                    yield from origins.spans(start, end)

    def _masked_parts(
        self, text: bytes, origins: Origins, found: list[tuple[int, int]]
    ) -> list[tuple[int, int]]:
        """Return what is struck out of what was found, each for itself.

        What was found before it may be forgotten already, and must not matter.
        """
        if not self.reading.shown_max or b"\n" not in text:
            return found
        line_starts = origins.line_starts(text)
        parts = []
        for start, end in found:
            place = bisect_right(line_starts, start + self.reading.shown_max) - 1
            parts.append((max(start, line_starts[place]) if place >= 0 else start, end))
        return parts

    def find_beginning(self, text: bytes, line_start: int, tail_size: int) -> tuple[int, int]:
        """Return from where on a text is needed, and from where on it is held back.

        What comes next may complete a needle that begins there. The last line has begun at
        ``line_start``.
        """
        if not self.reading.may_go_on(text):
            return sys.maxsize, sys.maxsize
        places = []
        if self.of_lines:  # the last line may still come to say nothing
            places.append(self._find_beginning(text[:line_start], tail_size))
        places.append(self._find_beginning(text, tail_size, line_start))
        for cut in self.reading.loose_ends(text):
            places += [self._find_beginning(text[:cut], tail_size), (cut, cut)]
        return min(place[0] for place in places), min(place[1] for place in places)

    def _find_beginning(
        self, text: bytes, tail_size: int, line_start: int = sys.maxsize
    ) -> tuple[int, int]:
        offset, data = self._read_tail(text, tail_size)
        needed = held = sys.maxsize
        beginnings = list(self._needles.find_beginnings(data))
        unproven = self._needles.find(data) if self.of_lines and line_start < len(text) else []
        if beginnings or unproven:
            tail = text[offset:]
            origins = self._begun.origins(tail)
            ends = [(start, offset + origins.find(end - 1)) for start, end in unproven]
            beginnings += [start for start, end in ends if end >= line_start]
        if beginnings:
            needed = origins.find(min(beginnings))
            if self.of_lines:  # a row is read from its offset on
                needed = tail.rfind(b"\n", 0, needed) + 1
            needed += offset
            for beginning in beginnings:
                start = self._first_masked(tail, origins, beginning, len(data))
                if start < len(data):
                    held = min(held, offset + origins.find(start))
        return needed, held

    def _read_tail(self, text: bytes, size_max: int) -> tuple[int, bytes]:
        """Read as much of the end of a text as a needle may take; return its beginning too."""
        cut_max = self.reading.cut_max
        size = self.reading.stretch * self._needles.longest + cut_max
        while True:
            offset = max(0, len(text) - min(size, size_max))
            if offset and self.reading.of_lines:
                offset = text.rfind(b"\n", 0, offset) + 1
            data = self._begun.read(text[offset:])
            enough = self._needles.longest + cut_max
            if len(data) >= enough or not offset or size >= size_max:
                return offset, data
            size *= 2

    def _first_masked(self, text: bytes, origins: Origins, start: int, end: int) -> int:
        """Return the first character that is struck out, of those of a beginning.

        A few that end a line are shown.
        """
        count = self.reading.shown_max
        if not count:
            return start
        places = [origins.find(at) for at in range(start, min(end, start + count + 1))]
        places += [len(text)] if len(places) <= count else []
        for number in range(len(places) - 1, 0, -1):
            if b"\n" in text[places[number - 1] : places[number]]:
                return start + number
        return start


def _readings_of(values: Sequence[bytes]) -> tuple[_Finder | RowFinder, ...]:
    """Return the ways in which a log is read, each with what is looked for in it."""
    literals = literal_texts(values)
    plain = Needles(secret_needles.plain_needles(values))
    letters = Needles(secret_needles.letter_needles(values))
    return (
        _Finder(PlainReading(), plain),
        *(_Finder(reading, plain, begun) for reading, begun in MARKED_READINGS),
        _Finder(text_readings.UNESCAPED, Needles(secret_needles.unescaped_needles(values))),
        _Finder(text_readings.DIGITS, Needles(secret_needles.digit_needles(values))),
        _Finder(text_readings.LETTERS, letters),
        _Finder(text_readings.UNESCAPED_LETTERS, letters, text_readings.BEGUN_LETTERS),
        _Finder(text_readings.LINE_ENDS, letters),
        _Finder(text_readings.SAFE_LINE_ENDS, letters),
        RowFinder(literals),
        *(_Finder(numbers, Needles(literals), begun) for numbers, begun in NUMBER_LISTS),
    )
