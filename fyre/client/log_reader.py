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
from fyre.client import run_page
from fyre.client.events import LogChunk, LogEvent, LogGap, LogInterrupted, LogResumed
from fyre.client.run_page import PAGE_TIMEOUT
from fyre.engines.run_log import START_HEADER
from fyre.errors import UserError
from fyre.runs.state import PENDING_STATES

_SILENCE_MAX = 120.0
"""Seconds without a byte after which the receiver's machine may be gone without a word. A run that
is silent looks the same."""

_PAUSES = Backoff(0.1, 2.0)  # between two attempts
_PERMANENT_CODES = frozenset({400, 401, 403, 404, 410})

RESUME_PATIENCE = 60.0
"""Seconds that a log is tried again after it broke off."""

_DIGITS_MAX = 19  # of an offset
_LASTING = 5.0  # seconds after which an answer counts as a success, though nothing came


class LogBrokenOffError(UserError):
    """The log can't be read now."""

    is_permanent = False
    """True for an answer that will not change."""

    follows_success = False
    """True for an answer that broke off after a while: what was wrong before it, is over."""


class _SilenceError(Exception):
    """Nothing came for so long, after an answer had begun, that the connection may be dead."""


@dataclass
class LogReader:
    """Reads one log. ``offset`` is that of the next byte that is to come.

    ``has_ended`` is asked while a live log is silent: True where no run is known that goes on.
    """

    url: str  # of the run's page
    live: bool
    has_ended: Callable[[], bool]
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
            except _SilenceError as error:
                if not self.live or self.has_ended():
                    raise self._silence() from error
                continue
            # A log that still grows is printed as far as it is now, not for as long as it grows.
            follow_ups = 0 if has_jumped else follow_ups + 1
            self.is_complete = self.offset == begin or (not self.live and follow_ups > 1)

    def _read_answer(self) -> Iterator[LogChunk | LogGap]:
        """Yield what one answer holds after ``offset``."""
        import requests

        params = {"offset": str(self.offset)} | ({"follow": "1"} if self.live else {})
        timeout = (PAGE_TIMEOUT, _SILENCE_MAX)
        began_at: float | None = None
        try:
            with (
                http_session.open_session() as session,
                session.get(
                    f"{self.url}/log", params=params, stream=True, timeout=timeout
                ) as response,
            ):
                if not response.ok:
                    raise self._refusal(response.status_code)
                if "html" in response.headers.get("Content-Type", "").lower():
                    raise self._web_page()
                self.was_reached = True
                began_at = time.monotonic()
                start = self._start_offset(response.headers.get(START_HEADER, "0"))
                if start > self.offset:
                    yield LogGap(self.offset, start - self.offset)
                    self.offset = start
                yield from self._chunks_from(start, response.iter_content(chunk_size=None))
        except requests.RequestException as error:
            if began_at is None:
                raise self._interruption(error) from error
            if _is_silence(error):
                raise _SilenceError from error
            broken_off = self._interruption(error)
            broken_off.follows_success = time.monotonic() - began_at > _LASTING
            raise broken_off from error

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

    def _start_offset(self, text: str) -> int:
        """Return where an answer begins; that of 0.1 does not say it, and begins at 0.

        Raises ``LogBrokenOffError``.
        """
        if text.isascii() and text.isdigit() and len(text) < _DIGITS_MAX:
            return int(text)
        error = LogBrokenOffError(
            f"the log can't be read: {START_HEADER} is no number of bytes", hint=self.url
        )
        error.is_permanent = True
        raise error

    def _interruption(self, error: Exception) -> LogBrokenOffError:
        if _is_silence(error):
            return self._silence()
        reason = http_session.describe_failure(error)
        return LogBrokenOffError(f"the log can't be reached: {reason}", hint=self.url)

    def _silence(self) -> LogBrokenOffError:
        return LogBrokenOffError(f"nothing of the log came for {_SILENCE_MAX:g} s", hint=self.url)

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

    def _web_page(self) -> LogBrokenOffError:
        """Return the error for a page of a proxy, as to log in: no log of ours is HTML."""
        error = LogBrokenOffError(
            "a web page came in place of the log, as of a proxy that asks for a login",
            hint=self.url,
        )
        error.is_permanent = not self.was_reached
        return error


def _is_silence(error: Exception) -> bool:
    """Return True if nothing came for too long, before an answer or in the middle of one."""
    import requests
    import urllib3

    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ReadTimeout) or isinstance(
        cause, urllib3.exceptions.ReadTimeoutError
    )


class Patience:
    """The time for which a log that broke off is tried again."""

    def __init__(self, reader: LogReader, seconds: float) -> None:
        self._reader, self._seconds = reader, seconds
        self._broken_at: float | None = None

    def renew(self) -> None:
        """Begin anew: something was read."""
        self._broken_at = None

    def is_over(self, error: LogBrokenOffError) -> bool:
        """Return True if the log is given up after this error."""
        now = time.monotonic()
        if self._broken_at is None or error.follows_success:
            self._broken_at = now
        is_late = now - self._broken_at > self._seconds
        return error.is_permanent or not self._reader.was_reached or is_late


def read_log(
    url: str, *, live: bool, offset: int = 0, patience: float = RESUME_PATIENCE
) -> Iterator[LogEvent]:
    """Yield a run's log from a byte offset; with ``live`` until the run ends.

    An interruption is an event, and so is that it goes on. Raises ``UserError`` if the log can't be
    read on within ``patience`` seconds after it broke off.
    """
    reader = LogReader(url, live, lambda: not _is_pending(url), offset)
    yield from resume_reading(reader, _PAUSES, Patience(reader, patience))


def _is_pending(url: str) -> bool:
    """Return True if the run's page says that the run has not ended."""
    return run_page.read_facts(url).get("state") in PENDING_STATES


def resume_reading(reader: LogReader, pauses: Backoff, patience: Patience) -> Iterator[LogEvent]:
    """Yield a log until it is complete; where it breaks off, say so, and go on after a pause.

    Raises ``LogBrokenOffError`` once the patience is over.
    """
    pause, is_interrupted = 0.0, False
    while not reader.is_complete:
        try:
            for event in reader.read_available():
                if is_interrupted:
                    yield LogResumed(event.offset)
                pause, is_interrupted = 0.0, False
                patience.renew()
                yield event
        except LogBrokenOffError as error:
            if patience.is_over(error):
                raise
            if not is_interrupted:
                yield LogInterrupted(error.message, reader.offset)
            is_interrupted = True
            pause = pauses.after(pause)
            time.sleep(pause)
    if is_interrupted:
        yield LogResumed(reader.offset)
