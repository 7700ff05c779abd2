"""Readings of dumps: the bytes that the rows of ``xxd``, ``hexdump`` and ``od`` say. Pure.

A row is a line: an offset, or only space, then cells, which are numbers of one size, and perhaps
the characters that they stand for. Each way to write a number is a reading; lines that do not fit
are left out, so that of two dumps at once each is read by itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache

from fyre.engines.kubernetes.logs.secret_needles import Needles, merge_spans
from fyre.engines.kubernetes.logs.text_readings import CHAIN_END, CellOrigins, Span

_LINES_BETWEEN_MAX = 3
"""Lines after which another row of the same dump comes, if any does."""

_OFFSET = rb"(?<!\S)(?:0[xX])?[0-9a-fA-F]{4,16}"
_OFFSET_ROW = re.compile(
    _OFFSET
    + rb"(?::|(?=[ \t])(?![^\n]*[ \t][0-9a-fA-F]{4,16}:[ \t]))"
    + rb"(?P<body>[ \t]+(?=-?[0-9a-fA-F]{2}|[ ]\S)[^\n]*)"
)
_FIRST_CELL = rb"(?:-?[0-9a-fA-F]{1,64}|\\?[^ \n]|[a-z]{2})"
_BARE_ROW = re.compile(
    rb"\n(?P<body>(?=[ \t]+%b(?:[ \n\r]|\Z)|%b[ ]*\r?(?:\n|\Z))[^\n]*)" % (_FIRST_CELL, _FIRST_CELL)
)
_OFFSET_BEGUN = re.compile(_OFFSET + rb":?(?:[ \t]+-?[0-9a-fA-F]|\ \ [ \\].)")
_BARE_BEGUN = re.compile(
    rb"(?:[ \t]*%b|[ \t]+(?:%b[ ]+)+(?:-?[0-9a-fA-F]{0,64}|[|>].*))[ ]*\Z"
    % ((rb"-?[0-9a-fA-F]{1,64}",) * 2)
)


_ROUGH = bytes(
    ord("0") if byte in b"0123456789abcdefABCDEFxX" else ord(" ") if byte in b" \t\n\r" else byte
    for byte in range(256)
)
_ROUGH_OFFSET = re.compile(rb" 0000[0]{0,14}:?(?= )")


class Rows:
    """The lines of a text that may be rows of a dump: where their cells begin, and their ends."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self.with_offset = list(_find_offset_rows(text))
        spans = (match.span("body") for match in _BARE_ROW.finditer(b"\n" + text))
        self.bare = [(start - 1, end - 1) for start, end in spans]

    def __bool__(self) -> bool:
        return bool(self.with_offset or self.bare)


def _find_offset_rows(text: bytes) -> Iterator[Span]:
    """Yield what follows an offset in each line; it is looked for in a rough copy: much quicker."""
    rough, end = b" " + text.translate(_ROUGH), 0
    for candidate in _ROUGH_OFFSET.finditer(rough):
        if candidate.start() >= end:
            row = _OFFSET_ROW.match(text, candidate.start())
            if row:
                end = row.end()
                yield row.span("body")


def find_unfinished_row(line: bytes) -> int | None:
    """Return where a row may begin in a line whose end is still to come."""
    match = _OFFSET_BEGUN.search(line) or _BARE_BEGUN.match(line) or _CHARACTERS_BEGUN.match(line)
    return match.start() if match else None


class RowReading:
    """The bytes that rows say if their cells are written in one way."""

    def __init__(
        self, cells: re.Pattern[bytes], cell: bytes, decode: Callable[[bytes], bytes], *, bare: bool
    ) -> None:
        """Have ``cells`` match all of a row after its offset; ``bare`` ones have no offset."""
        self._cells, self._cell, self._decode = cells, re.compile(cell), decode
        self._bare = bare

    def find_rows(self, rows: Rows) -> list[re.Match[bytes]]:
        """Return the rows that are written in this way."""
        places = rows.bare if self._bare else rows.with_offset
        found = (self._cells.fullmatch(rows.text, start, end) for start, end in places)
        return [row for row in found if row]

    def read(self, rows: Sequence[re.Match[bytes]]) -> bytes:
        """Return the bytes that rows say."""
        said: list[bytes] = []
        for row, is_far in _mark_far(rows):
            said += [CHAIN_END] if is_far else []
            said += map(self._decode, self._cell.findall(row.string, *row.span("cells")))
        return b"".join(said)

    def origins(self, rows: Sequence[re.Match[bytes]]) -> CellOrigins:
        """Return where each byte is shown."""
        places: list[tuple[Span, ...]] = []
        for row, is_far in _mark_far(rows):
            places += [((row.start(), row.start()),)] * len(CHAIN_END) if is_far else []
            cells = self._cell.finditer(row.string, *row.span("cells"))
            digits = [
                place for cell in cells for place in _digit_places(cell, self._decode(cell[0]))
            ]
            places += _add_characters(digits, row)
        return CellOrigins(places)


def is_far(text: bytes, start: int, end: int) -> bool:
    """Return True if a dump does not go on from one place in a text to another."""
    return text.count(b"\n", start, end) > _LINES_BETWEEN_MAX


def _mark_far(rows: Sequence[re.Match[bytes]]) -> Iterator[tuple[re.Match[bytes], bool]]:
    """Yield each row, and whether it belongs to another dump than the one before."""
    last_end = -1
    for row in rows:
        yield row, last_end >= 0 and is_far(row.string, last_end, row.start())
        last_end = row.end()


def _digit_places(cell: re.Match[bytes], shown: bytes) -> Iterator[Span]:
    """Yield the place of each byte of a cell; of all of it where they do not stand in order."""
    start, end = cell.span()
    width = (end - start) // len(shown)
    for at in range(len(shown)):
        if isinstance(shown, _Turned) or len(shown) == 1:
            yield end - len(cell[0].lstrip(b" ") or b" "), end
        else:
            yield start + at * width, start + (at + 1) * width


def _add_characters(digits: list[Span], row: re.Match[bytes]) -> Iterator[tuple[Span, ...]]:
    """Yield each byte's digits together with its character, where the row ends with them."""
    groups = row.groupdict()
    first, end = row.span("piped") if groups.get("piped") is not None else (0, 0)
    if groups.get("characters") is not None:
        end = row.end("characters")
        first = max(row.end("cells"), end - len(digits))
    for number, place in enumerate(digits):
        if first + number < end:
            yield place, (first + number, first + number + 1)
        else:
            yield (place,)


class _Turned(bytes):
    """The bytes of a word: they stand in another order than its digits."""


def _decode_hex(cell: bytes) -> bytes:
    return bytes.fromhex(cell.decode())


def _decode_word(cell: bytes) -> bytes:
    return _Turned(bytes.fromhex(cell.decode())[::-1])


def _number_decoder(base: int, size: int) -> Callable[[bytes], bytes]:
    bits = (1 << 8 * size) - 1
    return lambda cell: _Turned((int(cell, base) & bits).to_bytes(size, "little"))


_NAMED = {
    b"\\0": 0, b"\\a": 7, b"\\b": 8, b"\\t": 9, b"\\n": 10, b"\\v": 11, b"\\f": 12, b"\\r": 13,
    b"sp": 32, b"nl": 10, b"ht": 9, b"cr": 13, b"del": 127,
}  # fmt: skip


def _decode_character(cell: bytes) -> bytes:
    text = cell.lstrip(b" ") or b" "
    if len(text) == 1:
        return text
    return bytes([_NAMED[text] if text in _NAMED else int(text, 8) & 0xFF])


_CHARACTER = rb"(?:\ {3}[\x20-\x7e]|\ {2}(?:\\[0abfnrtv]|sp|nl|ht|cr)|\ (?:[0-7]{3}|del))"
_CHARACTER_CELLS = re.compile(rb"(?:\ {7}|\ {6})?(?P<cells>" + _CHARACTER + rb"+)[ ]*\r?")
_NAMED_CELLS = re.compile(
    rb"(?=[^\n]*?\ \ (?:\\|\ [^\ 0-9]|\ [0-9](?![0-9])))" + _CHARACTER_CELLS.pattern
)
"""With one that is no number at least: so no row of ``od -to1`` is read beside one of ``od -c``."""

_CHARACTERS_BEGUN = re.compile(rb"(?:\ {7}|\ {6})?" + _CHARACTER + rb"+\ {0,3}[\\a-z0-7]{0,2}\Z")

_PIPED = rb"[ ]*(?:[|>](?P<piped>[^\n\r]*)[|<])?[ \t]*\r?"
_BESIDE = rb"(?:[ ]{2,}(?P<characters>[^\n\r]*))?\r?"
_OCTAL_WIDTHS = ((3, 1), (6, 2), (11, 4), (22, 8))
_DECIMAL_WIDTHS = ((3, 1), (5, 2), (10, 4), (20, 8))
"""Digits of the longest number of so many bytes."""


def _pattern_of_row(cell: bytes, gap: bytes, end: bytes, last: bytes = b"") -> re.Pattern[bytes]:
    return re.compile(rb"[ \t]*(?P<cells>%b(?:%b%b)*%b)%b" % (cell, gap, cell, last, end))


@cache
def _row_readings() -> tuple[RowReading, ...]:
    return tuple(_make_readings())


def _make_readings() -> Iterator[RowReading]:
    pairs, word, bits = rb"(?:[0-9a-fA-F]{2}){1,64}", rb"(?:[0-9a-fA-F]{2}){1,8}", rb"[01]{8}"
    kinds = [
        (pairs, _decode_hex),
        (word, _decode_word),
        (bits, _number_decoder(2, 1)),
        *((b"[0-7]{%d}" % width, _number_decoder(8, size)) for width, size in _OCTAL_WIDTHS),
        *((b"-?[0-9]{1,%d}" % width, _number_decoder(10, size)) for width, size in _DECIMAL_WIDTHS),
    ]
    for bare in (False, True):
        for cell, decode in kinds:
            row = _pattern_of_row(cell, rb"[ ]{1,20}", _PIPED)
            yield RowReading(row, rb"(?<![^ \t\n])" + cell + rb"(?![^ \t\r\n])", decode, bare=bare)
        for row in (_CHARACTER_CELLS, _NAMED_CELLS):
            yield RowReading(row, _CHARACTER, _decode_character, bare=bare)
    last_word = rb"(?:[ ]{2,16}" + word + rb"(?=[ ]{2}))?"
    for (cell, decode), last in zip(kinds[:3], (b"", last_word, b""), strict=True):
        yield RowReading(_pattern_of_row(cell, rb"\ ", _BESIDE, last), cell, decode, bare=False)


_SEVEN_BITS = bytes(byte & 0x7F for byte in range(256))


class RowFinder:
    """Finds texts in the rows of dumps."""

    of_lines = True

    def __init__(self, texts: Iterable[bytes]) -> None:
        # Also with the highest bit cleared, as ``od -a`` reads bytes.
        needles = {form for text in texts for form in (text, text.translate(_SEVEN_BITS))}
        self._needles, self._readings = Needles(needles), _row_readings()

    def find(self, text: bytes, *, is_whole: bool = False) -> Iterator[Span]:  # noqa: ARG002
        """Yield the stretches of whole lines that are to be struck out."""
        rows = Rows(text)
        for reading in self._readings if rows else ():
            found_rows = reading.find_rows(rows)
            found = self._needles.find(reading.read(found_rows)) if found_rows else []
            if found:
                origins = reading.origins(found_rows)
                for start, end in merge_spans(found):
                    yield from origins.spans(start, end)

    def find_beginning(self, text: bytes, line_start: int, tail_size: int) -> tuple[int, int]:
        """Return from where on a text is needed, and from where on it is held back."""
        needed = held = sys.maxsize
        near = line_start
        for _ in range(_LINES_BETWEEN_MAX + 1):
            near = text.rfind(b"\n", 0, max(0, near - 1)) + 1
        if not Rows(text[near:line_start]):
            return needed, held
        rows = Rows(text[max(0, line_start - tail_size) : line_start])
        offset = line_start - len(rows.text)
        for reading in self._readings:
            found = reading.find_rows(rows)
            if found and not is_far(rows.text, found[-1].end(), len(rows.text)):
                beginnings = list(self._needles.find_beginnings(reading.read(found)))
                if beginnings:
                    start = offset + reading.origins(found).find(beginnings[0])
                    needed, held = min(needed, text.rfind(b"\n", 0, start) + 1), min(held, start)
        return needed, held
