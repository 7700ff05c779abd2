"""A receiver that does not lead: every connection is handed on to the one that does, so that there is one planner.

Bytes are carried, not requests: webhooks, pages, logs that grow and git's packs are all the same to it. While nobody
leads, a connection waits; GitHub gives a delivery ten seconds.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

log = logging.getLogger(__name__)

PATIENCE = 8.0
"""Seconds that a connection waits for somebody to lead; what is lost then is found by the next leader's first sweep."""

_PAUSE = 0.2  # seconds between two looks at who leads
_CONNECT = 2.0  # seconds: the address may be of a node that is gone
_PIECE = 65536
_ALIVE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\n# standby\n"
"""A comment, as Prometheus' text format has them."""

_OWN = (b"GET /healthz ", b"GET /metrics ")  # asked of each receiver, not of whoever leads

Address = tuple[str, int]


class Standby:
    """Carries connections from each of ``doors`` to the address of the same number at whoever leads."""

    def __init__(self, doors: Sequence[socket.socket], leader: Callable[[], Sequence[Address] | None]) -> None:
        """The first of the doors speaks HTTP, and says itself that this process lives. ``leader``: None is nobody."""
        self._doors, self._leader = doors, leader
        self._carried: set[asyncio.Task[None]] = set()

    async def serve(self, until: asyncio.Event) -> None:
        """Carry until then; the doors stay open, and who still waits at one is served by whoever listens next."""
        servers = [
            await asyncio.start_server(self._visit(number), sock=door.dup()) for number, door in enumerate(self._doors)
        ]
        await until.wait()
        for server in servers:
            server.close()
        for task in tuple(self._carried):
            task.cancel()
        await asyncio.gather(*self._carried, return_exceptions=True)

    def _visit(self, number: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def visit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(number, reader, writer))
            self._carried.add(task)
            task.add_done_callback(self._carried.discard)

        return visit

    async def _serve(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.read(_PIECE)
            if number == 0 and first.startswith(_OWN):
                writer.write(_ALIVE)
                await writer.drain()
            elif first:
                await self._carry(number, first, reader, writer)
        except OSError as error:
            log.info("a connection could not be handed on", extra={"why": str(error)})
        finally:
            writer.close()

    async def _carry(
        self, number: int, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        there, back = await asyncio.wait_for(self._reach(number), PATIENCE)
        try:
            back.write(first)
            await asyncio.gather(_pump(reader, back), _pump(there, writer))
        finally:
            back.close()

    async def _reach(self, number: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            leader = self._leader()
            if leader is not None:
                with suppress(OSError):
                    return await asyncio.wait_for(asyncio.open_connection(*leader[number]), _CONNECT)
            await asyncio.sleep(_PAUSE)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end; then the other side hears of the end, and may still answer."""
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
