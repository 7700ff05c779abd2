"""Readings of a text: what it says without escapes, gaps, quotes and prefixes of lines. Pure.

Each reading knows which bytes of the text each of its own bytes comes from.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from html.entities import html5

Span = tuple[int, int]

CHAIN_END = b"\xff\x00\xfe\x01" * 4
"""Stands in a reading between what does not belong together. No secret holds it."""

Segment = tuple[int, int, int, int]
"""The beginning and end of a stretch of a reading, and of the text that it comes from."""


class Origins:
    """The place that each byte of a reading comes from."""

    def __init__(self, segments: list[Segment]) -> None:
        self._segments = segments
        self._starts = [segment[0] for segment in segments]

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the stretches of the text that a stretch of the reading comes from."""
        place = bisect_right(self._starts, start) - 1
        while place < len(self._segments) and self._segments[place][0] < end:
            first, last, text_start, text_end = self._segments[place]
            if last - first == text_end - text_start:  # byte for byte
                text_end = text_start + min(end, last) - first
                text_start += max(start, first) - first
            yield text_start, text_end
            place += 1

    def find(self, position: int) -> int:
        """Return where in the text a byte of the reading begins."""
        return next(self.spans(position, position + 1))[0]

    def line_starts(self, text: bytes) -> list[int]:
        """Return which bytes of the reading are the first ones of a line."""
        begins = [segment[2] for segment in self._segments]
        starts: set[int] = set()
        for newline in _NEWLINE.finditer(text):
            place = bisect_right(begins, newline.start()) - 1
            if place >= 0:
                first, last, text_start, _ = self._segments[place]
                starts.add(min(last, first + newline.start() - text_start))
        return sorted(starts)


_NEWLINE = re.compile(rb"\n")


class CellOrigins(Origins):
    """The place of each byte of a dump: its digits, and its character beside them."""

    def __init__(self, cells: list[tuple[Span, ...]]) -> None:
        self._cells = cells

    def spans(self, start: int, end: int) -> Iterator[Span]:
        """Yield the places that show a stretch of the bytes."""
        for cell in self._cells[start:end]:
            yield from cell

    def line_starts(self, text: bytes) -> list[int]:
        """Return which bytes are the first ones after the end of a line."""
        begins = [cell[0][0] for cell in self._cells]
        return [bisect_left(begins, newline.start()) for newline in _NEWLINE.finditer(text)]


class Reading(ABC):
    """One way to read a text."""

    shown_max = 3
    """Bytes of a value's encoding that are shown where a line ends after them.

    Else each line that ends with one of them would wait for the next line.
    """

    cut_max = 48
    """Bytes of a reading that may be wrong where it begins in the middle of what is read."""

    stretch = 2  # so many times as long as a value is what is read first of a text's end
    strikes_out_gaps = False  # what is left out between two bytes says something too
    of_lines = False  # only whole lines are read

    @abstractmethod
    def read(self, text: bytes) -> bytes:
        """Return what a text says."""

    @abstractmethod
    def origins(self, text: bytes) -> Origins:
        """Return where each byte of ``read(text)`` comes from."""

    def loose_ends(self, _text: bytes) -> Iterator[int]:
        """Yield where the last bytes begin that may say something else with more after them."""
        yield from ()

    def may_go_on(self, _text: bytes) -> bool:
        """Return False if what comes next can't go on with what a text says at its end."""
        return True


class PlainReading(Reading):
    """The text as it is."""

    shown_max = 0

    def read(self, text: bytes) -> bytes:
        """Return the text."""
        return text

    def origins(self, text: bytes) -> Origins:
        """Return that each byte is its own origin."""
        return Origins([(0, len(text), 0, len(text))])


_ESCAPE_TEXTS = (
    rb"""\\(?<!\\\\)\\*+(?:
        u[dD][89abAB][0-9a-fA-F]{2}\\++u[dD][c-fC-F][0-9a-fA-F]{2}
        | u[0-9a-fA-F]{4} | u\{[0-9a-fA-F]{1,6}\} | U[0-9a-fA-F]{8}
        | [xX][0-9a-fA-F]{1,2} | [0-7]{1,3} | [abefnrtv])""",
    rb"%(?:25)*[0-9a-fA-F]{2}",
    rb"&(?:amp;)*(?:\#(?:[0-9]{1,7}+ | [xX][0-9a-fA-F]{1,8}+);? | [a-zA-Z][a-zA-Z0-9]{1,30};)",
    rb"\x1b(?:\[[0-?]{0,40}[\x20-/]{0,4}[@-~] | [\x20-/]{1,4}[0-~] | [0-OQ-WYZ\\`-~]) | \x08[^\n]",
)
"""Of source code and shells, of URLs, of HTML, and of terminals (colours, overstriking)."""

_ESCAPE_TEXT = b" | ".join(_ESCAPE_TEXTS)
_ESCAPE = re.compile(_ESCAPE_TEXT, re.VERBOSE)
_ESCAPE_KINDS = [re.compile(text, re.VERBOSE) for text in _ESCAPE_TEXTS]
_ESCAPE_BEGUN = re.compile(
    rb"(?=(?:\\(?<!\\\\)\\*+(?:[uUxX]?\{?[0-9a-fA-F]{0,8}(?:\\++u?[0-9a-fA-F]{0,4})?)"
    rb"|%[0-9a-fA-F]{0,9}|&[#0-9A-Za-z;]{0,40}|\x1b(?:\[[0-?]{0,40})?[ -/]{0,4}|\x08)\Z)"
)
_ESCAPE_LENGTH_MAX = 48
_CONTROLS = dict(zip(b"abefnrtv", b"\a\b\x1b\f\n\r\t\v", strict=True))


def _decode_escape(match: re.Match[bytes]) -> bytes:
    """Return what an escape stands for, however often it was escaped itself."""
    text = match[0]
    if text[:1] in b"\x1b\x08%":
        return bytes([int(text[-2:], 16)]) if text[:1] == b"%" else b""
    if text[:1] == b"&":
        quoted = text.count(b"amp;") - text.endswith(b"amp;")
        return _decode_entity(text[1:].replace(b"amp;", b"", quoted))
    letter, digits = chr(text.lstrip(b"\\")[0]), text.lstrip(b"\\")[1:].strip(b"{}")
    if letter in "uU":
        high, _, low = digits.partition(b"\\")
        code = int(high, 16)
        if low:
            code = 0x10000 + (code - 0xD800) * 0x400 + int(low.lstrip(b"\\u"), 16) - 0xDC00
        return _encode_point(code)
    if letter in "xX":
        return bytes([int(digits, 16)])
    if letter.isdigit():
        return bytes([int(letter.encode() + digits, 8) & 0xFF])
    return bytes([_CONTROLS[ord(letter)]])


def _decode_entity(name: bytes) -> bytes:
    if name[:2] in (b"#x", b"#X"):
        return _encode_point(int(name[2:].rstrip(b";"), 16))
    if name[:1] == b"#":
        return _encode_point(int(name[1:].rstrip(b";")))
    known = html5.get(name.decode())
    return known.encode() if known else b"&" + name


def _encode_point(code: int) -> bytes:
    return chr(code).encode("utf-8", "replace") if code < 0x110000 else b"?"


class DroppingReading(Reading):
    """The text without some of its bytes, and with escapes decoded."""

    def __init__(
        self,
        dropped: bytes,
        *,
        table: bytes | None = None,
        dropped_text: bytes = b"",
        escapes: bool = False,
        only_escaped: bool = False,
        marks: bool = False,
    ) -> None:
        """Have ``marks`` if what is dropped is a part of what is said, as a quote is.

        Read nothing if ``only_escaped`` is true and there is no escape in a text.
        """
        self._only_escaped = only_escaped
        self._dropped, self._table, self.strikes_out_gaps = dropped, table, marks
        self.shown_max = 0 if marks else Reading.shown_max
        self._dropped_text, self._escapes = dropped_text, escapes
        self.stretch = 16 if escapes else Reading.stretch
        self._dropped_pattern = re.compile(b"(?i:" + dropped_text + b")")
        changes = [b"(?P<escape>(?x:" + _ESCAPE_TEXT + b"))"] if escapes else []
        changes += [self._dropped_pattern.pattern] if dropped_text else []
        self._changed = re.compile(b"|".join([*changes, b"[" + re.escape(dropped) + b"]"]))

    def read(self, text: bytes) -> bytes:
        """Return what is left of a text."""
        if self._escapes:
            is_escaped = _ESCAPE.search(text)
            if not is_escaped and self._only_escaped:
                return b""
            text = _ESCAPE.sub(_decode_escape, text) if is_escaped else text
        if self._dropped_text and self._dropped_text in text.lower():
            text = self._dropped_pattern.sub(b"", text)
        return text.translate(self._table, self._dropped)

    def loose_ends(self, text: bytes) -> Iterator[int]:
        """Yield where an escape begins that may go on, and a text to drop."""
        if self._escapes:
            offset = max(0, len(text) - _ESCAPE_LENGTH_MAX)
            starts = [match.start() for match in _ESCAPE_BEGUN.finditer(text, offset)]
            yield from starts[-3:]  # a character may take two escapes
        elif self._dropped_text and text.endswith(self._dropped_text[:1]):
            yield len(text) - 1

    def origins(self, text: bytes) -> Origins:
        """Return where what is left comes from."""
        segments: list[Segment] = []
        position = read_length = 0
        for match in self._changed.finditer(text):
            start, end = match.span()
            if start > position:
                segments.append((read_length, read_length + start - position, position, start))
                read_length += start - position
            if self._escapes and match["escape"]:
                size = len(_decode_escape(match).translate(self._table, self._dropped))
                if size:
                    segments.append((read_length, read_length + size, start, end))
                    read_length += size
            position = end
        length = len(text) - position
        return Origins([*segments, (read_length, read_length + length, position, len(text))])


_MARKS = b"\\'\""
_PLUS_IS_SPACE = bytes.maketrans(b"+", b" ")
_STANDARD_BASE64 = bytes.maketrans(b"-_", b"+/")
_LOWER = bytes(range(256)).lower()

UNESCAPED = DroppingReading(_MARKS, table=_PLUS_IS_SPACE, escapes=True, marks=True)
"""As a program says that escapes or quotes for a shell, a URL, JSON, HTML or source code."""

DIGITS = DroppingReading(
    b"\r\n\t !#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\"hHuUxX", table=_LOWER, dropped_text=b"0x"
)
"""The digits of hex, without what stands between them."""

LETTERS = DroppingReading(b"\r\n\t ,\\'\"", table=_STANDARD_BASE64)
"""Base64 and base32 without what stands between lines."""

BEGUN_LETTERS = DroppingReading(b"\r\n\t ,\\'\"", table=_STANDARD_BASE64, escapes=True)
"""The same with escapes decoded, as in a URL or in JSON."""

UNESCAPED_LETTERS = DroppingReading(
    b"\r\n\t ,\\'\"", table=_STANDARD_BASE64, escapes=True, only_escaped=True
)
"""The same again, of a text that has escapes."""


def unescape(value: bytes) -> bytes:
    """Return a value as it is read where it is escaped, however often."""
    return UNESCAPED.read(value)


def unfold(value: bytes) -> bytes:
    """Return a value as it is read where it may be broken into lines."""
    return LETTERS.read(value)


def partly_unescaped(value: bytes) -> set[bytes]:
    """Return a value as it is read where some kinds of its own escapes were escaped, others not.

    With ``%00`` in a value, quoted for a URL once and twice look alike: so each kind may be read.
    """
    texts = {value}
    for kind in _ESCAPE_KINDS:
        texts |= {kind.sub(_decode_escape, text) for text in texts}
    return {text.translate(_PLUS_IS_SPACE, _MARKS) for text in texts}


class LineEndsReading(Reading):
    """The letters that each line ends with: of base64 or hex with something before it on each."""

    of_lines = True
    _BRACKETS_AND_SPACE = b"\"',;|<>[](){}\\\r \t$!#%&*.:?@^`~"

    def __init__(self, letters: bytes) -> None:
        self._letters = letters

    def _find_word(self, line: bytes) -> Span:
        whole = line.rstrip(self._BRACKETS_AND_SPACE)
        before = whole.rstrip(b"=").rstrip(self._letters)
        return len(before), len(whole)

    def read(self, text: bytes) -> bytes:
        """Return the last words, one after the other."""
        lines = text.split(b"\n")
        return b"".join(line[slice(*self._find_word(line))] for line in lines).translate(
            _STANDARD_BASE64
        )

    def origins(self, text: bytes) -> Origins:
        """Return where the words stand."""
        segments: list[Segment] = []
        position = length = 0
        for line in text.split(b"\n"):
            start, end = self._find_word(line)
            if end > start:
                segments.append((length, length + end - start, position + start, position + end))
                length += end - start
            position += len(line) + 1
        return Origins(segments)


_LETTERS_AND_DIGITS = bytes(byte for byte in range(128) if chr(byte).isalnum())
LINE_ENDS = LineEndsReading(_LETTERS_AND_DIGITS + b"+/")
SAFE_LINE_ENDS = LineEndsReading(_LETTERS_AND_DIGITS + b"-_")
"""As RFC 4648 spells base64 in URLs and names of files."""
