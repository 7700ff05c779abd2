"""Secret values, struck out of a log as it passes by. Pure.

A value is replaced by as many ``*`` as it has bytes, so that a log that is read twice has the same
length both times. It is struck out as it is, and as a program may well print it: in base64, in hex,
URL-encoded, escaped as in JSON.
"""

from __future__ import annotations

import base64
import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from urllib.parse import quote_from_bytes

MIN_SECRET_LENGTH = 6
"""Bytes; shorter values (``1``, ``prod``) are no secret by any measure.

To strike them out would destroy half of a log.
"""


class Redactor:
    """Strikes values out of a log that is fed in chunks.

    Bytes that may be the beginning of a value are held back until the next chunk tells.
    """

    def __init__(self, values: Iterable[bytes]) -> None:
        secrets = list(values)
        self._literals = _LiteralRedactor(_literal_variants(secrets))
        self._wrapped = _WrappedRedactor(_base64_needles(secrets), _hex_needles(secrets))

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of this chunk, and of those before."""
        return self._wrapped.feed(self._literals.feed(data))

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        return self._wrapped.feed(self._literals.flush()) + self._wrapped.flush()


class _LiteralRedactor:
    """Strikes out texts; of those that begin in one place, the longest."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._values = sorted(texts, key=len, reverse=True)
        alternatives = b"|".join(map(re.escape, self._values))
        self._pattern = re.compile(alternatives) if self._values else None
        self._partial = _PartialFinder(self._values)
        self._held_back = b""

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of this chunk, and of those before."""
        if self._pattern is None:
            return data
        shown: list[bytes] = []
        text, position = self._held_back + data, 0
        while True:
            match, held_from = (
                self._pattern.search(text, position),
                self._partial.find_start(text, position),
            )
            # A value that is complete may also be the beginning of a longer one.
            if match is None or match.start() >= held_from:
                self._held_back = text[held_from:]
                return b"".join([*shown, text[position:held_from]])
            shown += [text[position : match.start()], _mask_match(match)]
            position = match.end()

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        rest, self._held_back = self._held_back, b""
        return self._pattern.sub(_mask_match, rest) if self._pattern is not None else rest


def _mask_match(match: re.Match[bytes]) -> bytes:
    return b"*" * len(match[0])


def _partial_value_start(value: bytes, text: bytes, start: int) -> int:
    """Return the position from which the end of a text is the beginning of a value.

    Return the text's length if it is the beginning of none.
    """
    position = text.find(value[:1], max(start, len(text) - len(value) + 1))
    while position >= 0 and not value.startswith(text[position:]):
        position = text.find(value[:1], position + 1)
    return position if position >= 0 else len(text)


class _WrappedRedactor:
    """Strikes out base64 and hex, also where they are broken into lines or groups.

    They are looked for in the text without what stands between the groups; hex in either case.
    """

    def __init__(self, base64_needles: Iterable[bytes], hex_needles: Iterable[bytes]) -> None:
        self._base64, self._hex = sorted(base64_needles), sorted(hex_needles)
        self._partial_base64 = _PartialFinder(self._base64)
        self._partial_hex = _PartialFinder(self._hex)
        self._longest = max(map(len, (*self._base64, *self._hex)), default=0)
        self._held_back = b""
        self._masked = 0  # of the bytes held back, those at the beginning that are struck out

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of this chunk, and of those before."""
        if not self._longest:
            return data
        text = self._held_back + data
        dense = text.translate(None, _GAPS)
        lowered = dense.lower()
        spans = [*_find_all(dense, self._base64), *_find_all(lowered, self._hex)]
        partial = min(self._partial_base64.find_start(dense), self._partial_hex.find_start(lowered))
        held_from = self._original_start(text, len(dense) - partial)
        masked = _mask_spans(text, self._masked, spans)
        shown, self._held_back = masked[0][:held_from], text[held_from:]
        self._masked = max(0, masked[1] - held_from)
        return shown

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        rest = _mask_spans(self._held_back, self._masked, [])[0]
        self._held_back, self._masked = b"", 0
        return rest

    def _original_start(self, text: bytes, dense_count: int) -> int:
        """Return where the last so many bytes that are no gap begin.

        Return the text's length where gaps make that too long to be held back.
        """
        position = len(text)
        lowest = max(0, position - 2 * self._longest - _HELD_GAPS_MAX)
        while dense_count and position > lowest:
            position -= 1
            dense_count -= text[position] not in _GAPS
        return position if dense_count == 0 else len(text)


_GAPS = b"\r\n\t :%"
"""Separators of lines, groups and digits: of ``base64``, ``xxd``, a fingerprint, a URL."""

_HELD_GAPS_MAX = 4096
"""Bytes of gaps within a value that is cut by the end of a chunk."""


def _find_all(text: bytes, needles: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Yield the beginning and end of each needle in a text, wherever it stands."""
    for needle in needles:
        position = text.find(needle)
        while position >= 0:
            yield position, position + len(needle)
            position = text.find(needle, position + 1)


class _PartialFinder:
    """Finds where the end of a text may be the beginning of one of some needles.

    Only those are compared that can end so: by their first byte, or by two bytes that they hold.
    """

    def __init__(self, needles: Iterable[bytes]) -> None:
        by_end: dict[bytes, set[bytes]] = {}
        for needle in needles:
            ends = {needle[:1], *(needle[at : at + 2] for at in range(len(needle) - 2))}
            for end in ends:
                by_end.setdefault(end, set()).add(needle)
        self._by_end = by_end

    def find_start(self, text: bytes, start: int = 0) -> int:
        """Return that position, from ``start`` on; the text's length if there is none."""
        needles = {*self._by_end.get(text[-1:], ()), *self._by_end.get(text[-2:], ())}
        return min(
            (_partial_value_start(needle, text, start) for needle in needles), default=len(text)
        )


def _mask_spans(
    text: bytes, masked: int, dense_spans: Iterable[tuple[int, int]]
) -> tuple[bytes, int]:
    """Strike out the first bytes of a text, and spans that are counted without gaps.

    Return the text, and where the last of them ends. Gaps stay, so that lines stay lines.
    """
    spans = _merge_spans(dense_spans)
    if not spans:
        return _mask(text[:masked]) + text[masked:], masked
    gaps = [match.start() for match in _GAP.finditer(text)]
    shift = [gap - number for number, gap in enumerate(gaps)]  # their places without gaps
    parts, position = [_mask(text[:masked])], masked
    for start, end in spans:
        original_start = start + bisect_right(shift, start)
        original_end = end - 1 + bisect_right(shift, end - 1) + 1
        if original_end > position:
            first = max(position, original_start)
            parts += [text[position:first], _mask(text[first:original_end])]
            position = original_end
    return b"".join([*parts, text[position:]]), max(masked, position)


_GAP = re.compile(b"[" + re.escape(_GAPS) + b"]")
_NO_GAP = re.compile(b"[^" + re.escape(_GAPS) + b"]")


def _mask(text: bytes) -> bytes:
    return _NO_GAP.sub(b"*", text) if text else b""


def _merge_spans(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def _literal_variants(values: Iterable[bytes]) -> set[bytes]:
    """Return each value as it is, without the line feed at its end, its lines, and encoded."""
    variants: set[bytes] = set()
    for value in values:
        stripped = value.strip()
        for text in (value, stripped, stripped + b"\n"):
            variants |= {base64.b64encode(text), base64.urlsafe_b64encode(text)}
        variants |= {value, stripped, *value.splitlines()}
        variants |= {*_url_encoded(stripped), *_json_escaped(stripped)}
    return {variant for variant in variants if len(variant.strip()) >= MIN_SECRET_LENGTH}


def _url_encoded(value: bytes) -> Iterator[bytes]:
    """Yield a value as programs put it into a URL or a form: with few or many bytes kept."""
    for safe in ("", "/", "-_.!~*'()", "!#$%&'()*+,/:;=?@[]~"):
        encoded = quote_from_bytes(value, safe).encode()
        lowered = _PERCENT.sub(lambda match: match[0].lower(), encoded)
        yield from (encoded, lowered)
        yield from (encoded.replace(b"%20", b"+"), lowered.replace(b"%20", b"+"))


_PERCENT = re.compile(rb"%[0-9A-F]{2}")


def _json_escaped(value: bytes) -> Iterator[bytes]:
    """Yield a value as it stands in a JSON string, and in one inside another."""
    text = value.decode("utf-8", "replace")
    for ascii_only in (True, False):
        escaped = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        again = json.dumps(escaped, ensure_ascii=False)[1:-1]
        for form in (escaped, escaped.replace("/", "\\/"), again):
            yield form.encode(errors="replace")


def _base64_needles(values: Iterable[bytes]) -> set[bytes]:
    """Return what of each value stands in any base64 of a text that holds it.

    The value may begin at any of three places in a group. Characters that it shares with what
    stands beside it are left out: they hold at most four of its bits.
    """
    needles: set[bytes] = set()
    for value in _encoded_wholes(values):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            for offset, shared in enumerate((0, 2, 3)):
                whole = (offset + len(value)) * 8 // 6
                needles.add(encode(b"\0" * offset + value)[shared:whole])
    return {needle for needle in needles if len(needle) >= MIN_SECRET_LENGTH}


def _hex_needles(values: Iterable[bytes]) -> set[bytes]:
    return {value.hex().encode() for value in _encoded_wholes(values)}


LINES_ENCODED_MAX = 8
"""Lines of a value that are also looked for each in base64 and hex: more cost more than a log's
speed, and are rather one text, such as a key."""


def _encoded_wholes(values: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what is looked for in base64 and hex: each value, and each of a few lines."""
    for value in values:
        lines = value.splitlines()
        wholes = {
            value.strip(),
            *(map(bytes.strip, lines) if len(lines) <= LINES_ENCODED_MAX else ()),
        }
        yield from (whole for whole in wholes if len(whole) >= MIN_SECRET_LENGTH)
