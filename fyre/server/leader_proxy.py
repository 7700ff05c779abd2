"""A receiver that does not lead: every connection is handed on to the one that does, so that there is one planner.

Bytes are carried, not requests: webhooks, pages, logs that grow and git's packs are all the same to it. While nobody
leads, a connection waits; GitHub gives a delivery ten seconds.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

log = logging.getLogger(__name__)

PATIENCE = 8.0
"""Seconds that a connection waits for somebody to lead; what is lost then is found by the next leader's first sweep."""

_PAUSE = 0.2  # seconds between two looks at who leads
_CONNECT = 2.0  # seconds: the address may be of a node that is gone
_PIECE = 65536
_ALIVE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\n# standby\n"
"""A comment, as Prometheus' text format has them."""

_OWN = (b"GET /healthz ", b"GET /metrics ")  # asked of each receiver, not of whoever leads
_READY = b"GET /readyz "  # answered by whoever leads, except by one who never will
_SILENT = 30.0  # seconds that a visitor may take to say something
_LINGER = 2.0  # seconds that one whom the leader has answered may take to end
_MOST = 400  # connections handed on at once, two descriptors each: of 1,024 in all, where nobody has raised that

Address = tuple[str, int]


class Standby:
    """Carries connections from each of ``doors`` to the address of the same number at whoever leads."""

    def __init__(
        self,
        doors: Sequence[socket.socket],
        leader: Callable[[], Sequence[Address] | None],
        refusal: Callable[[], str] = lambda: "",
    ) -> None:
        """The first of the doors speaks HTTP, and says itself that this process lives; also that it is not ready,
        where there is a ``refusal``: why it can't come to lead. ``leader``: None is nobody.
        """
        self._doors, self._leader, self._refusal = doors, leader, refusal
        self._visits: set[asyncio.Task[None]] = set()
        self._carried = 0

    async def serve(self, until: asyncio.Event) -> None:
        """Carry until then; the doors stay open, and who still waits at one is served by whoever listens next."""
        servers = [
            await asyncio.start_server(self._visit(number), sock=door.dup())
            for number, door in enumerate(self._doors)
        ]
        await until.wait()
        for server in servers:
            server.close()
        for task in tuple(self._visits):
            task.cancel()
        await asyncio.gather(*self._visits, return_exceptions=True)

    def _visit(self, number: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(number, reader, writer))
            self._visits.add(task)
            task.add_done_callback(self._visits.discard)

        return visit

    async def _serve(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(
                _SILENT
            ):  # wait_for, before 3.12, may forget that the task was cancelled
                first = await _first(reader)
            if number == 0 and first.startswith(_OWN):
                writer.write(_ALIVE)
            elif number == 0 and first.startswith(_READY) and (why := self._refusal()):
                writer.write(_unready(why))
            elif first:
                await self._hand_on(number, first, reader, writer)
            writer.close()
            await writer.wait_closed()  # who reads slowly may still hear the end
        except OSError as error:
            log.info(
                "a connection could not be handed on",
                extra={"why": str(error) or "it took too long"},
            )
        finally:
            writer.transport.abort()

    async def _hand_on(
        self, number: int, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if (
            self._carried >= _MOST
        ):  # a flood; or a circle, where what is said to be the leader's address is a Service's
            raise OSError(f"{_MOST} others are being handed on")
        self._carried += 1
        try:
            async with asyncio.timeout(PATIENCE):
                there, back = await self._reach(number)
            try:
                back.write(first)
                await _carry(_pump(reader, back), _pump(there, writer))
            finally:
                back.transport.abort()
        finally:
            self._carried -= 1

    async def _reach(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            leader = self._leader()
            if leader is not None:
                with suppress(OSError, ValueError):  # ValueError: a name that can be no host's
                    async with asyncio.timeout(_CONNECT):
                        return await asyncio.open_connection(*leader[number])
            await asyncio.sleep(_PAUSE)


def _unready(why: str) -> bytes:
    """As ``receiver/health`` says it."""
    told = json.dumps({"lease": why})
    head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(told)}\r\n\r\n{told}".encode()


async def _first(reader: asyncio.StreamReader) -> bytes:
    """What a visitor says first: enough of it to know whom it is for."""
    first = b""
    while any(own.startswith(first) for own in (*_OWN, _READY)) and (
        piece := await reader.read(_PIECE)
    ):
        first += piece
    return first


async def _carry(there: Coroutine[Any, Any, None], back: Coroutine[Any, Any, None]) -> None:
    """Until both ways have ended; soon, where one failed or the leader has ended: it hears no more."""
    loop = asyncio.get_running_loop()
    ways = [loop.create_task(there), loop.create_task(back)]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        ends = ways[1].done() or ways[0].exception() is not None
        await asyncio.wait(ways, timeout=_LINGER if ends else None)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end; then the other side hears of the end, and may still answer."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
