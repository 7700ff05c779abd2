"""Readings of lists of numbers, on one line or several: the bytes that they say. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from fyre.engines.kubernetes.logs.secret_needles import MIN_SECRET_LENGTH
from fyre.engines.kubernetes.logs.text_readings import CHAIN_END, CellOrigins, Reading, Span

_NEXT = rb"(?=[\s,;])[ ,;\t\r]*(?:\n[ \t]*(?:-[ ]+(?=[0-9]))?)?"
_DECIMAL = rb"(?<![\w.])-?[0-9]{1,3}(?![\w.])"
_OCTAL = rb"(?<![\w.])[0-3][0-7]{2}(?![\w.])"
_LAST_NUMBER = re.compile(rb"(?:(?<![\w.])-?[0-9]{0,3}|-[ ]*)\Z")
_UNFINISHED = re.compile(rb"[0-9][\s,;]*(?:-[ ]*)?\Z")

_LISTED = b"0123456789 ,;-\t\r\n"
_ONLY_LISTED = bytes(ord("1") if byte in _LISTED else ord("0") for byte in range(256))
"""A list stands where only these bytes are, which are quicker to find than the list."""


class NumberList(Reading):
    """The bytes of lists of so many numbers at least."""

    shown_max = 1

    def __init__(self, number: bytes, decode: Callable[[bytes], int], count: int) -> None:
        self._number, self._decode = re.compile(number), decode
        self._stretch = re.compile(b"1" * (2 * count - 1) + b"1*")
        self._list = re.compile(rb"%b(?:%b%b){%d,}" % (number, _NEXT, number, count - 1))

    def _find_lists(self, text: bytes) -> Iterator[re.Match[bytes]]:
        for stretch in self._stretch.finditer(text.translate(_ONLY_LISTED)):
            yield from self._list.finditer(text, stretch.start(), stretch.end() + 1)

    def read(self, text: bytes) -> bytes:
        """Return the bytes of all lists."""
        lists = (self._number.findall(text, *found.span()) for found in self._find_lists(text))
        return CHAIN_END.join(bytes(map(self._decode, numbers)) for numbers in lists)

    def origins(self, text: bytes) -> CellOrigins:
        """Return where each byte is shown."""
        places: list[tuple[Span, ...]] = []
        for found in self._find_lists(text):
            places += [(found.span()[:1] * 2,)] * len(CHAIN_END) if places else []
            places += [(number.span(),) for number in self._number.finditer(text, *found.span())]
        return CellOrigins(places)

    def loose_ends(self, text: bytes) -> Iterator[int]:
        """Yield where a number begins that may go on."""
        match = _LAST_NUMBER.search(text, max(0, len(text) - 24))
        if match:
            yield match.start()

    def may_go_on(self, text: bytes) -> bool:
        """Return True if a list may have begun at the end of a text."""
        return bool(_UNFINISHED.search(text, max(0, len(text) - 96)))


def _decode_decimal(number: bytes) -> int:
    return int(number) & 0xFF


def _decode_octal(number: bytes) -> int:
    return int(number, 8)


NUMBER_LISTS = tuple(
    (NumberList(number, decode, MIN_SECRET_LENGTH), NumberList(number, decode, 1))
    for number, decode in ((_DECIMAL, _decode_decimal), (_OCTAL, _decode_octal))
)
"""Each with what reads the beginning of such a list."""
