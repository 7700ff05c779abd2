"""Read a run's log from the receiver: from any byte, and on from there after an interruption.

The receiver says in a header where its answer begins. It ends the answer where a part of a long log
is left out, and where the log is complete; in between it may be stopped and started again. So an
answer that breaks off is asked for again from the byte that follows, and the log is complete only
when an answer holds nothing more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from fyre import http_session
from fyre.backoff import Backoff
from fyre.client.events import LogChunk, LogEvent, LogGap, LogInterrupted, LogResumed
from fyre.client.run_page import PAGE_TIMEOUT
from fyre.errors import UserError

START_HEADER = "Fyre-Log-Start"
"""The offset at which an answer begins; a receiver of 0.1 sends the log from its beginning."""

_SILENCE_MAX = 120
"""Seconds without a byte after which the same is asked again: the receiver's machine may be gone
without a word."""

_PAUSES = Backoff(0.1, 2.0)  # between two attempts
_PERMANENT_CODES = frozenset({400, 401, 403, 404, 410})

RESUME_PATIENCE = 60.0
"""Seconds that a log is tried again after it broke off."""

_LASTING = 5.0  # seconds after which an answer counts as a success, though nothing came


class LogBrokenOffError(UserError):
    """The log can't be read now. ``is_permanent`` is True for an answer that will not change."""

    is_permanent = False


class _SilenceError(Exception):
    """Nothing came for so long that the connection may be dead."""


@dataclass
class LogReader:
    """Reads one log. ``offset`` is that of the next byte that is to come."""

    url: str  # of the run's page
    live: bool
    offset: int = 0
    is_complete: bool = False
    was_reached: bool = False

    def read_available(self) -> Iterator[LogChunk | LogGap]:
        """Yield the log until it is complete: with ``live`` when the run has ended.

        Raises ``LogBrokenOffError`` where it breaks off; then this may be called again.
        """
        follow_ups = 0
        while not self.is_complete:
            begin, has_jumped = self.offset, False
            try:
                for event in self._read_answer():
                    has_jumped = has_jumped or isinstance(event, LogGap)
                    yield event
            except _SilenceError:
                continue
            # A log that still grows is printed as far as it is now, not for as long as it grows.
            follow_ups = 0 if has_jumped else follow_ups + 1
            self.is_complete = self.offset == begin or (not self.live and follow_ups > 1)

    def _read_answer(self) -> Iterator[LogChunk | LogGap]:
        """Yield what one answer holds after ``offset``."""
        import requests
        import urllib3

        params = {"offset": str(self.offset)} | ({"follow": "1"} if self.live else {})
        try:
            timeout = (PAGE_TIMEOUT, _SILENCE_MAX)
            with (
                http_session.open_session() as session,
                session.get(
                    f"{self.url}/log", params=params, stream=True, timeout=timeout
                ) as response,
            ):
                if not response.ok:
                    raise self._refusal(response.status_code)
                self.was_reached = True
                start = int(response.headers.get(START_HEADER, "0"))
                if start > self.offset:
                    yield LogGap(self.offset, start - self.offset)
                    self.offset = start
                yield from self._chunks_from(start, response.iter_content(chunk_size=None))
        except requests.RequestException as error:
            if error.args and isinstance(error.args[0], urllib3.exceptions.ReadTimeoutError):
                raise _SilenceError from error
            raise LogBrokenOffError(
                f"the log can't be reached ({type(error).__name__})", hint=self.url
            ) from error

    def _chunks_from(self, start: int, pieces: Iterator[bytes]) -> Iterator[LogChunk]:
        """Yield the pieces with their offsets, without what comes before ``offset``."""
        position = start
        for piece in pieces:
            skipped = max(0, self.offset - position)
            position += len(piece)
            if skipped < len(piece):
                chunk = LogChunk(self.offset, piece[skipped:])
                self.offset = chunk.end_offset
                yield chunk

    def _refusal(self, code: int) -> LogBrokenOffError:
        error = LogBrokenOffError(
            f"the log is not there any more (HTTP {code})"
            if code in _PERMANENT_CODES
            else f"the log can't be had now (HTTP {code})",
            hint=self.url,
        )
        # A receiver that has just been started again may not know its runs yet.
        error.is_permanent = code in _PERMANENT_CODES and not self.was_reached
        return error


def read_log(
    url: str, *, live: bool, offset: int = 0, patience: float = RESUME_PATIENCE
) -> Iterator[LogEvent]:
    """Yield a run's log from a byte offset; with ``live`` until the run ends.

    An interruption is an event, and so is that it goes on. Raises ``UserError`` if the log can't be
    read on within ``patience`` seconds after it broke off.
    """
    reader = LogReader(url, live, offset)
    broken_at = 0.0

    def gives_up(error: LogBrokenOffError, is_first: bool, seconds: float) -> bool:  # noqa: FBT001 - as ``GivesUp`` has it
        nonlocal broken_at
        now = time.monotonic()
        if is_first or seconds > _LASTING:
            broken_at = now
        return error.is_permanent or not reader.was_reached or now - broken_at > patience

    yield from resume_reading(reader, _PAUSES, gives_up)


GivesUp = Callable[[LogBrokenOffError, bool, float], bool]
"""Decides whether a log is given up after an error. True: it is the first since something was read.
Then the seconds that the attempt took."""


def resume_reading(reader: LogReader, pauses: Backoff, gives_up: GivesUp) -> Iterator[LogEvent]:
    """Yield a log until it is complete; where it breaks off, say so, and go on after a pause.

    Raises ``LogBrokenOffError`` once it is given up.
    """
    pause, is_interrupted = 0.0, False
    while not reader.is_complete:
        started_at = time.monotonic()
        try:
            for event in reader.read_available():
                if is_interrupted:
                    yield LogResumed(event.offset)
                pause, is_interrupted = 0.0, False
                yield event
        except LogBrokenOffError as error:
            if gives_up(error, not is_interrupted, time.monotonic() - started_at):
                raise
            if not is_interrupted:
                yield LogInterrupted(error.message, reader.offset)
            is_interrupted = True
            pause = pauses.after(pause)
            time.sleep(pause)
    if is_interrupted:
        yield LogResumed(reader.offset)
