"""Send logs that grow to those who follow them: one look at a log for all its followers.

``?offset=N`` sends what comes after N bytes of the log, as ``fyre.engines.run_log`` counts them.
Such an answer says in a header where it really begins, and ends where something is left out: so
whoever reads always knows where they are, and asks again from there until nothing is left. An
answer that ends before the log is complete, since this server stops, is broken off as a lost
connection is, never ended as if it were whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Send

from fyre.engines import run_log
from fyre.engines.run_log import START_HEADER, LogPiece, LogState, RunLog
from fyre.errors import TransientError

LOG_FOLLOWERS_MAX = 500
"""Logs that can be followed at once; each is a connection."""

_READS_MAX = 8
"""Reads of logs at once, in threads of their own: they hold up nobody but each other."""

_T = TypeVar("_T")

ABORT_EXTENSION = "fyre.abort_connection"
"""Name of the function in an ASGI scope that breaks a connection off."""

NO_STORE_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of everything about a run: no cache keeps it, no browser guesses what it is."""


@dataclass
class _WatchedLog:
    """A log that is followed. ``grown`` is set once it has grown, and is then a new event."""

    run_log: RunLog
    followers: int = 0
    grown: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


@dataclass
class LogStreams:
    """The answers that send logs. One look at a log wakes all who follow it."""

    _watched: dict[str, _WatchedLog] = field(default_factory=dict)
    _limiter: CapacityLimiter | None = None
    _follower_count: int = 0

    def respond(self, request: Request, key: str, opened: RunLog) -> Response:
        """Return the answer to a request for a log.

        With ``follow=1`` it goes on until the log is complete; ``offset=N`` leaves out the first N
        bytes.
        """
        follow = request.query_params.get("follow") == "1"
        if follow and self._follower_count >= LOG_FOLLOWERS_MAX:
            return PlainTextResponse(
                "too many logs are being followed; ask without ?follow=1\n", status_code=503
            )
        offset = request.query_params.get("offset", "")
        if offset and not (offset.isascii() and offset.isdigit() and len(offset) < 19):
            return PlainTextResponse("offset is a number of bytes\n", status_code=400)
        start = int(offset) if offset else None
        pieces = self.read_pieces(key, opened, start or 0, follow=follow)
        return _LogResponse(request, pieces, start)

    async def read_pieces(
        self, key: str, opened: RunLog, offset: int, *, follow: bool
    ) -> AsyncGenerator[LogPiece | None, None]:
        """Yield the pieces of a log, and None while there is no further one.

        Raises ``TransientError`` if the engine is closed before the log is complete.
        """
        if not follow:
            async for piece in self._iterate(opened.read_pieces(offset)):
                yield piece
            return
        watched = self._watched.setdefault(key, _WatchedLog(opened))
        watched.followers += 1
        self._follower_count += 1
        try:
            while True:
                grown = watched.grown
                # Read before the pieces, so that nothing that was written before the end is missed.
                state = await self._run(opened.read_state)
                if state.is_complete or state.end_offset > offset:
                    async for piece in self._iterate(opened.read_pieces(offset)):
                        yield piece
                        offset = piece.end_offset
                if state.is_complete:
                    return
                yield None
                if watched.task is None:
                    watched.task = asyncio.create_task(self._watch(watched, state))
                await grown.wait()
        finally:
            self._follower_count -= 1
            watched.followers -= 1
            if not watched.followers:
                del self._watched[key]
                if watched.task is not None:
                    watched.task.cancel()

    async def _watch(self, watched: _WatchedLog, seen: LogState) -> None:
        """Look at a log some times a second, and wake its followers when it has grown."""
        pause = run_log.SHORTEST_PAUSE
        while True:
            await asyncio.sleep(pause)
            try:
                state = await self._run(watched.run_log.read_state)
            except TransientError:  # its followers meet it themselves
                watched.task = None
                watched.grown.set()
                return
            if state == seen:
                pause = run_log.longer_pause(pause)
                continue
            seen, pause = state, run_log.SHORTEST_PAUSE
            watched.grown.set()
            watched.grown = asyncio.Event()

    async def _iterate(self, pieces: Iterator[LogPiece]) -> AsyncGenerator[LogPiece, None]:
        while (piece := await self._run(lambda: next(pieces, None))) is not None:
            yield piece

    async def _run(self, function: Callable[[], _T]) -> _T:
        self._limiter = self._limiter or CapacityLimiter(_READS_MAX)
        return await to_thread.run_sync(function, limiter=self._limiter)


class _LogResponse(StreamingResponse):
    """Sends a log. ``offset`` is None for an answer with lines in the place of what is left out."""

    def __init__(
        self,
        request: Request,
        pieces: AsyncGenerator[LogPiece | None, None],
        offset: int | None,
    ) -> None:
        self._pieces = pieces
        self._offset = offset
        self._abort = (request.scope.get("extensions") or {}).get(ABORT_EXTENSION)
        super().__init__((), media_type="text/plain; charset=utf-8", headers=NO_STORE_HEADERS)

    async def stream_response(self, send: Send) -> None:
        """Send the head, then the pieces; break the connection off if the log can't be ended."""
        try:
            first = await anext(self._pieces, None)
            if self._offset is not None:
                start = first.offset if first else self._offset
                self.headers[START_HEADER] = str(start)
            self.body_iterator = self._chunks(first)
            await super().stream_response(send)
        except TransientError:
            if self._abort is None:
                raise
            self._abort()
        finally:
            await self._pieces.aclose()

    async def _chunks(self, first: LogPiece | None) -> AsyncGenerator[bytes, None]:
        """Yield the bytes to be sent."""
        position = first.offset if first and self._offset is not None else self._offset or 0
        is_empty = True
        piece = first
        while True:
            if piece is not None and piece.offset > position and self._offset is not None:
                if is_empty:  # an empty answer would say that nothing follows
                    raise TransientError("a part of the log is left out")
                return
            if piece is not None:
                if piece.offset > position:
                    yield run_log.gap_marker(piece.offset - position)
                yield piece.data
                position, is_empty = piece.end_offset, False
            try:
                piece = await anext(self._pieces)
            except StopAsyncIteration:
                return
