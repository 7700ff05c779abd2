"""The looks of a secret value in each reading of a log. Pure.

A needle is what is looked for: a value, or the part of its encoding that does not depend on what
stands beside it.
"""

from __future__ import annotations

import base64
import quopri
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from email.quoprimime import header_encode

from ahocorasick_rs import BytesAhoCorasick

from fyre.engines.kubernetes.logs.text_readings import partly_unescaped, unescape, unfold

MIN_SECRET_LENGTH = 6
"""Bytes; shorter values (``1``, ``prod``) are no secret by any measure.

To strike them out would destroy half of a log.
"""

LINES_ENCODED_MAX = 64
"""Lines of a value that are also looked for each in every encoding."""

_BEGINNING = 4  # bytes of a needle by which its beginnings are found


class Needles:
    """Many texts that are looked for at once, by Aho and Corasick's automaton."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        needles = {text for text in texts if len(text) >= MIN_SECRET_LENGTH}
        self._sorted = sorted(needles)
        self.longest = max(map(len, needles), default=0)
        self._short_beginnings = {text[:size] for text in needles for size in range(1, _BEGINNING)}
        self._whole = _automaton(self._sorted)
        self._beginnings = _automaton(sorted({text[:_BEGINNING] for text in needles}))

    def find(self, data: bytes) -> list[tuple[int, int]]:
        """Return where each of them stands, in order, also those that overlap others."""
        if not self._sorted:
            return []
        found = self._whole.find_matches_as_indexes(data, overlapping=True)
        return sorted((start, end) for _, start, end in found)

    def find_beginnings(self, data: bytes) -> Iterator[int]:
        """Yield in order the positions from which the end of a text begins a needle."""
        if not self._sorted:
            return
        offset = max(0, len(data) - self.longest + 1)
        tail = data[offset:]
        for _, start, _ in self._beginnings.find_matches_as_indexes(tail, overlapping=True):
            if self._is_beginning(tail[start:]):
                yield offset + start
        for size in range(min(_BEGINNING - 1, len(tail)), 0, -1):
            if tail[-size:] in self._short_beginnings:
                yield len(data) - size

    def _is_beginning(self, text: bytes) -> bool:
        place = bisect_left(self._sorted, text)
        place += place < len(self._sorted) and self._sorted[place] == text
        return place < len(self._sorted) and self._sorted[place].startswith(text)


def _automaton(texts: Sequence[bytes]) -> BytesAhoCorasick:
    return BytesAhoCorasick(texts)


def merge_spans(spans: Iterable[tuple[int, int]], *, shared: int = 0) -> list[tuple[int, int]]:
    """Return the stretches that some spans cover together, in order.

    Two are made one if they share so many bytes at least; else if they touch.
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start + shared <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def literal_texts(values: Iterable[bytes]) -> set[bytes]:
    """Return each value, without the space at its ends too, and its lines."""
    texts: set[bytes] = set()
    for value in values:
        texts |= {value, value.strip(), *value.splitlines()}
    return {text for text in texts if len(text.strip()) >= MIN_SECRET_LENGTH}


def plain_needles(values: Iterable[bytes]) -> set[bytes]:
    """Return what is looked for in the text as it is.

    That are values, also in UTF-16, with ``$`` or ``%`` doubled, as ``cat -v`` shows them and
    quoted for mail, and what base85 makes of them.
    """
    needles = literal_texts(values)
    for text in tuple(needles):
        points = text.decode("utf-8", "replace")
        needles |= {points.encode("utf-16-le"), points.encode("utf-16-be")}
        needles |= {text.replace(b"$", b"$$"), text.replace(b"%", b"%%")}
        needles |= {b"".join(map(_show_byte, text)), *_mail_texts(text)}
    return needles | set(_base85_texts(values))


def _mail_texts(text: bytes) -> Iterator[bytes]:
    """Yield a text as mail quotes it: in a body, in a header, and each of its bytes."""
    for tabs, header in ((False, False), (True, False), (True, True), (False, True)):
        yield quopri.encodestring(text, quotetabs=tabs, header=header).replace(b"=\n", b"")
    yield header_encode(text).removeprefix("=?iso-8859-1?q?").removesuffix("?=").encode()
    yield text.replace(b" ", b"_")


def _base85_texts(values: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what base85 makes of each value, by its three alphabets."""
    for value in _encoded_wholes(values):
        skipped = (value[place:] for place in range(4))
        groups = [part[: len(part) // 4 * 4] for part in skipped]
        for part in (value, value + b"\n", *(part for part in groups if len(part) >= 8)):
            coded = base64.b85encode(part)
            yield from (coded, coded.translate(_TO_Z85), base64.a85encode(part))


_TO_Z85 = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~",
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#",
)


def _show_byte(byte: int) -> bytes:
    """Return a byte as ``cat -v`` shows it."""
    low = byte & 0x7F
    shown = b"%c" % low if 0x20 <= low < 0x7F or byte in b"\n\t" else b"^%c" % (low ^ 0x40)
    return b"M-" * (byte > 0x7F) + shown


def unescaped_needles(values: Iterable[bytes]) -> set[bytes]:
    """Return what is left of each value where escapes are read and quotes left out."""
    texts = literal_texts(values)
    for points in [text.decode("utf-8", "replace") for text in texts]:
        # Source code may write a character as \\xe4 that is two bytes in UTF-8.
        short = (point.encode("latin-1" if point < "\u0100" else "utf-8") for point in points)
        texts |= {points.encode(), b"".join(short)}
    return {form for text in texts for form in (unescape(text), *partly_unescaped(text))}


def digit_needles(values: Iterable[bytes]) -> set[bytes]:
    """Return the hexadecimal digits of each value: as bytes, and as words of two bytes."""
    needles: set[bytes] = set()
    for value in _encoded_wholes(values):
        points = value.decode("utf-8", "replace")
        needles |= {value.hex().encode(), b"".join(b"%06x" % ord(point) for point in points)}
        needles |= {points.encode(wide).hex().encode() for wide in ("utf-16-le", "utf-16-be")}
        for skipped in range(2):
            words = value[skipped:][: (len(value) - skipped) // 2 * 2]
            if len(words) >= 8:
                needles.add(_swap_pairs(words).hex().encode())
    return needles


def _swap_pairs(words: bytes) -> bytes:
    return b"".join(words[at : at + 2][::-1] for at in range(0, len(words), 2))


def letter_needles(values: Iterable[bytes]) -> set[bytes]:
    """Return each value, and its base64, also of its base64 and of its UTF-16, base32 and hex."""
    needles: set[bytes] = set()
    for value in _encoded_wholes(values):
        once = {base64.b64encode(value), base64.b64encode(value + b"\n"), *_base64_cores(value)}
        inner = {*once, base64.encodebytes(value)}
        points = value.decode("utf-8", "replace")
        wide = {points.encode("utf-16-le"), points.encode("utf-16-be")}
        needles |= once | {core for text in inner | wide for core in _base64_cores(text)}
        for encode in (base64.b32encode, _base32hex):
            needles |= {encode(value), encode(value + b"\n"), *_cores(value, encode, 5, 5)}
        needles |= {value.hex().encode(), value.hex().upper().encode()}
    return needles | {unfold(text) for text in (*literal_texts(values), *_base85_texts(values))}


def _base64_cores(value: bytes) -> Iterator[bytes]:
    return _cores(value, base64.b64encode, 3, 6)


def _cores(
    value: bytes, encode: Callable[[bytes], bytes], group: int, bits: int
) -> Iterator[bytes]:
    """Yield what of a value stands in any encoding of a text that holds it.

    The value may begin at any byte of a group. Characters that it shares with what stands beside
    it are left out.
    """
    for offset in range(group):
        shared = -(-offset * 8 // bits)
        yield encode(b"\0" * offset + value)[shared : (offset + len(value)) * 8 // bits]


def _base32hex(value: bytes) -> bytes:
    return base64.b32encode(value).translate(_TO_BASE32HEX)


_TO_BASE32HEX = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHIJKLMNOPQRSTUV"
)


def _encoded_wholes(values: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is looked for in each encoding: each value, and each of its lines."""
    for value in values:
        lines = value.splitlines()
        wholes = {
            value.strip(),
            *(map(bytes.strip, lines) if len(lines) <= LINES_ENCODED_MAX else ()),
        }
        yield from (whole for whole in wholes if len(whole) >= MIN_SECRET_LENGTH)
