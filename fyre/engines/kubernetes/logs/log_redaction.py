"""Secret values, struck out of a log as it passes by. Pure.

A value is replaced by as many ``*`` as it has characters, so that a log that is read twice has the
same length both times. It is struck out as it is, and as a program may well print it. That is no
list of programs: the log is read in several ways (without escapes, without what stands between
digits, as the rows of a dump), and the value is looked for in each of them. What any of them finds
is struck out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence

from fyre.engines.kubernetes.logs import secret_needles, text_readings
from fyre.engines.kubernetes.logs.dump_readings import (
    NUMBER_DUMPS,
    ROW_DUMPS,
    DumpClues,
    DumpReading,
)
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

_LINE_MAX = 512
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
            text = self._text[:line_start] if finder.of_lines else self._text
            self._masked += finder.find(text)
            first, first_held = finder.find_beginning(text, self._held_max)
            needed, held = min(needed, first), min(held, first_held)
        return self._release(*self._hold_row(line_start, needed, held))

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        for finder in self._readings:
            self._masked += finder.find(self._text)
        return self._release(len(self._text), len(self._text))

    def _hold_row(self, line_start: int, needed: int, held: int) -> tuple[int, int]:
        """Return what is needed and held if the last line may be a row of a dump."""
        line = self._text[line_start:]
        if not line or len(line) > _LINE_MAX:
            return needed, held
        starts = (dump.find_unfinished(line) for dump in ROW_DUMPS)
        row_start = min((start for start in starts if start is not None), default=len(line))
        return min(needed, line_start), min(held, line_start + row_start)

    def _release(self, needed: int, held: int) -> bytes:
        """Return what is not held back, and forget what is not needed any more."""
        lowest = len(self._text) - self._held_max
        held = max(held, lowest, self._shown)
        needed = min(max(needed, lowest), held)
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

    def find(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the stretches of a text that are to be struck out."""
        found = self._needles.find(self.reading.read(text)) if text else []
        if found:
            origins = self.reading.origins(text)
            for start, end in found:
                first = self._first_masked(text, origins, start, end)
                spans = list(origins.spans(first, end))
                if self.reading.strikes_out_gaps:
                    spans = [(spans[0][0], spans[-1][1])]
                yield from spans

    def find_beginning(self, text: bytes, tail_size: int) -> tuple[int, int]:
        """Return from where on a text is needed, and from where on it is held back.

        What comes next may complete a needle that begins there.
        """
        places = [self._find_beginning(text, tail_size)]
        for cut in self.reading.loose_ends(text):
            places += [self._find_beginning(text[:cut], tail_size), (cut, cut)]
        return min(place[0] for place in places), min(place[1] for place in places)

    def _find_beginning(self, text: bytes, tail_size: int) -> tuple[int, int]:
        offset, data = self._read_tail(text, tail_size)
        needed = held = sys.maxsize
        beginnings = list(self._needles.find_beginnings(data))
        if beginnings:
            tail = text[offset:]
            origins = self._begun.origins(tail)
            needed = origins.find(beginnings[0])
            if self.of_lines:  # a row is read from its offset on
                needed = tail.rfind(b"\n", 0, needed) + 1
            needed += offset
            for beginning in beginnings:
                start = self._first_masked(tail, origins, beginning, len(data))
                if start < len(data):
                    held = min(held, offset + origins.find(start))
                elif self.of_lines:  # the next line may go on with it
                    held = min(held, len(text))
        return needed, held

    def _read_tail(self, text: bytes, size_max: int) -> tuple[int, bytes]:
        """Read as much of the end of a text as a needle may take; return its beginning too."""
        size = self.reading.stretch * self._needles.longest
        while True:
            offset = max(0, len(text) - min(size, size_max))
            if offset and self.reading.of_lines:
                offset = text.rfind(b"\n", 0, offset) + 1
            data = self._begun.read(text[offset:])
            if len(data) >= self._needles.longest or not offset or size >= size_max:
                return offset, data
            size *= 2

    def _first_masked(self, text: bytes, origins: Origins, start: int, end: int) -> int:
        """Return the first character that is struck out, of those in a reading.

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


class _DumpFinder:
    """Finds needles in dumps. They are read where three bytes of a needle stand as in one."""

    def __init__(self, dumps: Sequence[DumpReading], literals: set[bytes]) -> None:
        needles = Needles(literals)
        self._finders = [_Finder(dump, needles, dump.begun) for dump in dumps]
        self._dumps, self._clues = dumps, DumpClues(dumps, literals)
        self.of_lines = dumps[0].of_lines

    def find(self, text: bytes) -> Iterator[tuple[int, int]]:
        """Yield the stretches of a text that are to be struck out."""
        for number in self._clues.find(text):
            yield from self._finders[number].find(text)

    def find_beginning(self, text: bytes, tail_size: int) -> tuple[int, int]:
        """Return from where on a text is needed, and from where on it is held back."""
        last_line = text[text.rfind(b"\n", 0, -1) + 1 :] if self.of_lines else text[-64:]
        needed = held = sys.maxsize
        for finder, dump in zip(self._finders, self._dumps, strict=True):
            if dump.find_unfinished(last_line) is not None:
                first, first_held = finder.find_beginning(text, tail_size)
                needed, held = min(needed, first), min(held, first_held)
        return needed, held


def _readings_of(values: Sequence[bytes]) -> tuple[_Finder | _DumpFinder, ...]:
    """Return the ways in which a log is read, each with what is looked for in it."""
    literals = literal_texts(values)
    letters = Needles(secret_needles.letter_needles(values))
    return (
        _Finder(PlainReading(), Needles(secret_needles.plain_needles(values))),
        _Finder(text_readings.UNESCAPED, Needles(secret_needles.unescaped_needles(values))),
        _Finder(text_readings.DIGITS, Needles(secret_needles.digit_needles(values))),
        _Finder(text_readings.LETTERS, letters),
        _Finder(text_readings.UNESCAPED_LETTERS, letters, text_readings.BEGUN_LETTERS),
        _Finder(text_readings.LineEndsReading(), letters),
        _DumpFinder(ROW_DUMPS, literals),
        _DumpFinder(NUMBER_DUMPS, literals),
    )
