"""Readings of dumps: the bytes that ``xxd``, ``hexdump``, ``od`` and lists of numbers say. Pure.

A dump has an offset before each row and characters after it; a row's cells are its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from ahocorasick_rs import BytesAhoCorasick

from fyre.engines.kubernetes.logs.secret_needles import MIN_SECRET_LENGTH
from fyre.engines.kubernetes.logs.text_readings import Origins, Reading

Span = tuple[int, int]


class CellOrigins(Origins):
    """Where each byte of a dump is shown: its digits, and its character beside them."""

    def __init__(self, cells: list[tuple[Span, ...]]) -> None:
        self._cells = cells

    def spans(self, start: int, end: int) -> Iterator[Span]:
        """Yield the places that show a stretch of the bytes."""
        for cell in self._cells[start:end]:
            yield from cell


class DumpReading(Reading):
    """The cells of a dump's rows, one after the other.

    ``write`` says how three bytes stand in a row: without any such three, there is nothing to read.
    """

    def __init__(
        self,
        write: Callable[[bytes], Iterator[str]],
        row: re.Pattern[bytes],
        cell: re.Pattern[bytes],
        decode: Callable[[bytes], bytes],
        unfinished: re.Pattern[bytes],
        *,
        begun_row: re.Pattern[bytes] | None = None,
    ) -> None:
        """Read whole lines only, if there is no ``begun_row``, which begins a row of any length."""
        self.write, self.of_lines = write, begun_row is None
        self.shown_max = 0 if self.of_lines else 1
        self._row, self._cell, self._decode, self._unfinished = row, cell, decode, unfinished
        self.begun = self
        if begun_row:
            self.begun = DumpReading(write, begun_row, cell, decode, unfinished, begun_row=None)

    def read(self, text: bytes) -> bytes:
        """Return the bytes of all rows."""
        cells = (self._cell.findall(row["cells"]) for row in self._row.finditer(text))
        return b"".join(self._decode(cell) for row in cells for cell in row)

    def origins(self, text: bytes) -> Origins:
        """Return where each byte is shown."""
        found: list[tuple[Span, ...]] = []
        for row in self._row.finditer(text):
            shown = [
                (self._cell_span(cell, at, size),)
                for cell in self._cell.finditer(text, *row.span("cells"))
                for size in [len(self._decode(cell[0]))]
                for at in range(size)
            ]
            found += _add_characters(shown, row)
        return CellOrigins(found)

    def _cell_span(self, cell: re.Match[bytes], at: int, size: int) -> Span:
        """Return the place of one byte of a cell; of all of a word: its bytes are turned round."""
        if self._decode is _decode_word:
            return cell.span()
        if size == 1:
            shown = cell[0].lstrip(b" ") or b" "
            return cell.end() - len(shown), cell.end()
        width = (cell.end() - cell.start()) // size
        return cell.start() + at * width, cell.start() + (at + 1) * width

    def loose_ends(self, text: bytes) -> Iterator[int]:
        """Yield where a number begins that may go on."""
        match = None if self.of_lines else _LAST_NUMBER.search(text, max(0, len(text) - 8))
        if match:
            yield match.start()

    def find_unfinished(self, line: bytes) -> int | None:
        """Return where a row may begin in a line whose end is still to come."""
        match = self._unfinished.search(line)
        return match.start() if match else None


def _add_characters(
    cells: Sequence[tuple[Span, ...]], row: re.Match[bytes]
) -> Iterator[tuple[Span, ...]]:
    """Yield each cell together with its character, where the row ends with them."""
    groups = row.groupdict()
    characters = groups.get("characters")
    start = row.end("characters") - len(cells) if characters is not None else 0
    for number, cell in enumerate(cells):
        place = start + number
        if characters is not None and start >= row.start("characters"):
            yield (*cell, (place, place + 1))
        else:
            yield cell


_GROUP = rb"(?:[0-9a-fA-F]{2}){1,8}"
_OFFSET = rb"(?<!\S)[0-9a-fA-F]{6,16}"
_HEX_ROW = re.compile(
    rb"(?m)" + _OFFSET + rb"(?:"
    rb":\ (?P<cells>" + _GROUP + rb"(?:\ " + _GROUP + rb"){0,63})(?:\ \ (?P<characters>[^\n\r]*))?"
    rb")\r?$"
)
_PIPED_ROW = re.compile(
    rb"(?m)" + _OFFSET + rb"[ ]{1,2}(?P<cells>" + _GROUP + rb"(?:[ ]{1,2}" + _GROUP + rb"){0,63})"
    rb"(?:[ ]+[|>](?P<characters>[^\n\r]*)[|<])?[ ]*\r?$"
)
_HEX_CELL = re.compile(_GROUP)
_HEX_BEGUN = re.compile(_OFFSET + rb":?\ +[0-9a-fA-F]")

_CHARACTER = rb"(?:\ {3}[\x20-\x7e]|\ {2}\\[0abfnrtv]|\ [0-7]{3})"
_CHARACTER_ROW = re.compile(
    rb"(?m)^(?:[0-9a-fA-F]{6,16})?(?P<cells>" + _CHARACTER + rb"{1,64})[ ]*\r?$"
)
_CHARACTER_BEGUN = re.compile(rb"^(?:[0-9a-fA-F]{6,16})?" + _CHARACTER)

_NEXT = rb"(?:[ ,\t]+|[ \t\r]*\n(?:[0-9a-fA-F]{6,16}(?![^\s]))?[ \t]*)"
_NUMBER = rb"(?<![\w.])-?[0-9]{1,3}(?![\w.])"
_OCTAL = rb"(?<![\w.])[0-3][0-7]{2}(?![\w.])"
_LAST_NUMBER = re.compile(rb"(?<![\w.])-?[0-9]{0,3}\Z")


def _numbers(number: bytes, count: int) -> re.Pattern[bytes]:
    """Return the pattern of so many numbers, and more, with what may stand between them."""
    return re.compile(rb"(?P<cells>%b(?:%b%b){%d,})" % (number, _NEXT, number, count - 1))


def _decode_hex(cell: bytes) -> bytes:
    return bytes.fromhex(cell.decode())


def _decode_word(cell: bytes) -> bytes:
    return bytes.fromhex(cell.decode())[::-1]


def _decode_character(cell: bytes) -> bytes:
    text = cell.lstrip(b" ") or b" "
    if len(text) == 1:
        return text
    if text[:1] == b"\\":
        return _NAMED[text[1:]]
    return bytes([int(text, 8) & 0xFF])


_NAMED = {
    b"0": b"\0", b"a": b"\a", b"b": b"\b", b"f": b"\f",
    b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v",
}  # fmt: skip


def _decode_number(cell: bytes) -> bytes:
    return bytes([int(cell) & 0xFF])


def _decode_octal(cell: bytes) -> bytes:
    return bytes([int(cell, 8)])


def _write_hex(three: bytes) -> Iterator[str]:
    first, second, third = (f"{byte:02x}" for byte in three)
    for left, right in (("", ""), (" ", ""), ("", " "), (" ", " ")):
        text = f"{first}{left}{second}{right}{third}"
        yield from (text, text.upper())


def _write_words(three: bytes) -> Iterator[str]:
    first, second, third = (f"{byte:02x}" for byte in three)
    yield from (f"{third}{second}{first}", f"{second}{first} ", f" {third}{second}")


def _write_characters(three: bytes) -> Iterator[str]:
    yield "".join(
        f"   {chr(byte)}"
        if 0x20 <= byte < 0x7F
        else f"  \\{_NAMES[bytes([byte])].decode()}"
        if bytes([byte]) in _NAMES
        else f" {byte:03o}"
        for byte in three
    )


_NAMES = {character: name for name, character in _NAMED.items()}


def _write_numbers(three: bytes) -> Iterator[str]:
    signed = [byte - 256 if byte > 127 else byte for byte in three]
    for numbers in {tuple(three), tuple(signed)}:
        for gap in (", ", " ", ",", "\n", ",\n  ", ",\n    "):
            yield gap.join(map(str, numbers))
        for gap, width in (("", 4), ("", 5), (",", 4)):
            yield gap.join(f"{number:{width}d}" for number in numbers)


def _write_octal(three: bytes) -> Iterator[str]:
    yield " ".join(f"{byte:03o}" for byte in three)


ROW_DUMPS = (
    DumpReading(_write_hex, _HEX_ROW, _HEX_CELL, _decode_hex, _HEX_BEGUN),
    DumpReading(_write_hex, _PIPED_ROW, _HEX_CELL, _decode_hex, _HEX_BEGUN),
    DumpReading(_write_words, _PIPED_ROW, _HEX_CELL, _decode_word, _HEX_BEGUN),
    DumpReading(
        _write_characters,
        _CHARACTER_ROW,
        re.compile(_CHARACTER),
        _decode_character,
        _CHARACTER_BEGUN,
    ),
)
"""Dumps of rows, each of which is one line."""

NUMBER_DUMPS = tuple(
    DumpReading(
        write,
        _numbers(number, MIN_SECRET_LENGTH),
        re.compile(number),
        decode,
        re.compile(rb"[0-9][\s,]*-?\Z"),
        begun_row=_numbers(number, 1),
    )
    for write, number, decode in (
        (_write_numbers, _NUMBER, _decode_number),
        (_write_octal, _OCTAL, _decode_octal),
    )
)
"""Lists of numbers, on one line or several."""


class DumpClues:
    """Three bytes of a value, as each dump would show them. Without them no dump is read."""

    def __init__(self, dumps: Sequence[DumpReading], values: Iterable[bytes]) -> None:
        self._all_dumps = dumps
        self._dumps: dict[bytes, set[int]] = {}
        for value in values:
            step = (
                3 if len(value) > 16 else 1
            )  # a row of eight bytes, and a word, holds one of these
            for start in range(0, len(value) - 2, step):
                self._add(value[start : start + 3])
        self._clues = list(self._dumps)
        self._automaton = BytesAhoCorasick(self._clues)

    def _add(self, three: bytes) -> None:
        for number, dump in enumerate(self._all_dumps):
            for clue in dump.write(three):
                self._dumps.setdefault(clue.encode(), set()).add(number)

    def find(self, text: bytes) -> set[int]:
        """Return the numbers of those dumps that may show a value in a text."""
        found = self._automaton.find_matches_as_indexes(text, overlapping=True)
        clues = {self._clues[place] for place, _, _ in found}
        return {number for clue in clues for number in self._dumps[clue]}
