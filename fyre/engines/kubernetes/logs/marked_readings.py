"""Readings of a text without the marks that a terminal or a mail reader does not show. Pure.

What is looked for in them is looked for in the text as it is, too: so they are read only where
there is a mark, and cost nothing in a log without any.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fyre.engines.kubernetes.logs.text_readings import Origins, Reading, Segment


class MarkedReading(Reading):
    """The text without some marks; nothing if it has none."""

    shown_max = 0
    strikes_out_gaps = True

    def __init__(
        self,
        mark: bytes,
        begun: bytes,
        hints: Sequence[bytes],
        endings: tuple[bytes, ...],
        length_max: int,
    ) -> None:
        """Have ``begun`` match the beginning of a mark.

        One of ``hints`` stands in each mark, or one of ``endings`` at the end of its beginning.
        """
        self._mark, self._begun = re.compile(mark), re.compile(begun)
        self._hints, self._endings = hints, endings
        self.cut_max = self._length_max = length_max

    def _may_be_marked(self, text: bytes) -> bool:
        return any(hint in text for hint in self._hints)

    def read(self, text: bytes) -> bytes:
        """Return what is left of a text."""
        return self._mark.sub(b"", text) if self._may_be_marked(text) else b""

    def origins(self, text: bytes) -> Origins:
        """Return where what is left comes from."""
        segments: list[Segment] = []
        position = length = 0
        for start, end in [
            *(match.span() for match in self._mark.finditer(text)),
            (len(text),) * 2,
        ]:
            if start > position:
                segments.append((length, length + start - position, position, start))
                length += start - position
            position = end
        return Origins(segments)

    def loose_ends(self, text: bytes) -> Iterator[int]:
        """Yield where a mark begins that may go on."""
        match = self._begun.search(text, max(0, len(text) - self._length_max))
        if match:
            yield match.start()

    def may_go_on(self, text: bytes) -> bool:
        """Return True if there is a mark, or the beginning of one."""
        return text.endswith(self._endings) or self._may_be_marked(text)


class BegunMarkedReading(MarkedReading):
    """The same where a mark may still come."""

    def _may_be_marked(self, _text: bytes) -> bool:
        return True


_STRING_MAX = 1000
_STRING = rb"\x1b[\]PX^_][^\n\x07\x1b]{0,%d}" % _STRING_MAX
_CONTROL = rb"(?:\x1b\[|\xc2?\x9b)[0-?]{0,40}[ -/]{0,4}"
_TERMINAL = (
    rb"_\x08|\x08[^\n]|%b[@-~]|%b(?:\x07|\x1b\\)|\x1b[ -/]{1,4}[0-~]|\x1b[0-OQ-WYZ\\`-~]"
    % (_CONTROL, _STRING),
    rb"(?:_|\x08|\xc2|%b|%b\x1b?|\x1b[ -/]{0,4})\Z" % (_CONTROL, _STRING),
    (b"\x08", b"\x1b", b"\x9b"),
    (b"_", b"\xc2"),
    _STRING_MAX + 64,
)
"""ECMA-48's control sequences and strings, other escapes, and overstriking."""

_ENCODED_WORD = rb"=\?[-\w]{1,40}\?[qQ]\?"
_SOFT_BREAKS = (
    rb"=\r?\n|\?=\r?\n?[ \t]{0,8}" + _ENCODED_WORD,
    rb"(?:=\r?|\?(?:=\r?\n?[ \t]{0,8})?(?:=(?:\?[-\w]{0,40}(?:\?[qQ]?)?)?)?)\Z",
    (b"=\n", b"=\r\n", b"?="),
    (b"=", b"=\r", b"?"),
    128,
)
"""The breaks of a line in quoted-printable (RFC 2045), and of a header's words (RFC 2047)."""

MARKED_READINGS = tuple(
    (MarkedReading(*marks), BegunMarkedReading(*marks)) for marks in (_TERMINAL, _SOFT_BREAKS)
)
"""Each with what reads a text in which such a mark may still come."""
