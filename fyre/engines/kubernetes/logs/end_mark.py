"""The end mark of a log: a line that ``command.sh`` writes when all of a command has ended. Pure.

Pipes are first in, first out, so whoever has the mark has all that came before. It is not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator


class EndMarkFilter:
    """Takes the mark out of a log that is fed in chunks.

    Bytes that may be the beginning of a mark are held back until the next chunk tells.
    """

    def __init__(self, end_mark: bytes) -> None:
        self._end_mark, self._held_back = end_mark, b""
        self.is_found = False

    def feed(self, data: bytes) -> bytes:
        """Return what can be shown of this chunk, and of those before."""
        if not self._held_back and self._end_mark[:1] not in data:
            return data  # nearly all: a log may come in millions of chunks
        text = self._held_back + data
        if self._end_mark in text:
            self.is_found = True
            text = text.replace(self._end_mark, b"")
        held_from = self._partial_mark_start(text)
        self._held_back = text[held_from:]
        return text[:held_from]

    def flush(self) -> bytes:
        """Return what was held back, at the end."""
        rest, self._held_back = self._held_back, b""
        return rest

    def _partial_mark_start(self, text: bytes) -> int:
        """Return where the beginning of a mark begins that ends the text; else its length."""
        position = text.find(self._end_mark[:1], max(0, len(text) - len(self._end_mark) + 1))
        while position >= 0 and not self._end_mark.startswith(text[position:]):
            position = text.find(self._end_mark[:1], position + 1)
        return position if position >= 0 else len(text)


def without_end_mark(chunks: Iterable[bytes], end_mark: bytes) -> Iterator[bytes]:
    """Yield a whole log without its mark, which version 0.1 keeps: it knows no such thing."""
    end_mark_filter = EndMarkFilter(end_mark)
    yield from map(end_mark_filter.feed, chunks)
    yield end_mark_filter.flush()
