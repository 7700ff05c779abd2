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

LEADER_WAIT = 8.0
"""Seconds that a connection waits for somebody to lead; what is lost then is found by the next leader's first sweep."""

_LEADER_POLL_INTERVAL = 0.2  # seconds between two looks at who leads
_CONNECT_TIMEOUT = 2.0  # seconds: the address may be of a node that is gone
_CHUNK_SIZE = 65536
_HEALTHZ_RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\n# standby\n"
"""A comment, as Prometheus' text format has them."""

_OWN_REQUESTS = (b"GET /healthz ", b"GET /metrics ")  # asked of each receiver, not of whoever leads
_READYZ_REQUEST = b"GET /readyz "  # answered by whoever leads, except by one who never will
_FIRST_BYTES_TIMEOUT = 30.0  # seconds that a visitor may take to say something
_CLOSE_TIMEOUT = 2.0  # seconds that one whom the leader has answered may take to end
_CONNECTIONS_MAX = 400  # connections handed on at once, two descriptors each: of 1,024 in all, where nobody has raised that

Address = tuple[str, int]


class LeaderProxy:
    """Carries connections from each of ``doors`` to the address of the same number at whoever leads."""

    def __init__(
        self,
        listen_sockets: Sequence[socket.socket],
        find_leader: Callable[[], Sequence[Address] | None],
        block_reason: Callable[[], str] = lambda: "",
    ) -> None:
        """The first of the doors speaks HTTP, and says itself that this process lives; also that it is not ready,
        where there is a ``refusal``: why it can't come to lead. ``leader``: None is nobody.
        """
        self._listen_sockets, self._find_leader, self._block_reason = (
            listen_sockets,
            find_leader,
            block_reason,
        )
        self._connections: set[asyncio.Task[None]] = set()
        self._proxied_count = 0

    async def serve(self, stop_event: asyncio.Event) -> None:
        """Carry until then; the doors stay open, and who still waits at one is served by whoever listens next."""
        servers = [
            await asyncio.start_server(self._connection_handler(number), sock=door.dup())
            for number, door in enumerate(self._listen_sockets)
        ]
        await stop_event.wait()
        for server in servers:
            server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _connection_handler(
        self, socket_number: int
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(
                self._serve_connection(socket_number, reader, writer)
            )
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        return handle_connection

    async def _serve_connection(
        self, socket_number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(
                _FIRST_BYTES_TIMEOUT
            ):  # wait_for, before 3.12, may forget that the task was cancelled
                first = await _read_first_bytes(reader)
            if socket_number == 0 and first.startswith(_OWN_REQUESTS):
                writer.write(_HEALTHZ_RESPONSE)
            elif (
                socket_number == 0
                and first.startswith(_READYZ_REQUEST)
                and (why := self._block_reason())
            ):
                writer.write(_not_ready_response(why))
            elif first:
                await self._proxy_connection(socket_number, first, reader, writer)
            writer.close()
            await writer.wait_closed()  # who reads slowly may still hear the end
        except OSError as error:
            log.info(
                "a connection could not be handed on",
                extra={"why": str(error) or "it took too long"},
            )
        finally:
            writer.transport.abort()

    async def _proxy_connection(
        self,
        socket_number: int,
        first_bytes: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if (
            self._proxied_count >= _CONNECTIONS_MAX
        ):  # a flood; or a circle, where what is said to be the leader's address is a Service's
            raise OSError(f"{_CONNECTIONS_MAX} others are being handed on")
        self._proxied_count += 1
        try:
            async with asyncio.timeout(LEADER_WAIT):
                there, back = await self._connect_leader(socket_number)
            try:
                back.write(first_bytes)
                await _relay_both_ways(_copy_stream(reader, back), _copy_stream(there, writer))
            finally:
                back.transport.abort()
        finally:
            self._proxied_count -= 1

    async def _connect_leader(
        self, socket_number: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            leader = self._find_leader()
            if leader is not None:
                with suppress(OSError, ValueError):  # ValueError: a name that can be no host's
                    async with asyncio.timeout(_CONNECT_TIMEOUT):
                        return await asyncio.open_connection(*leader[socket_number])
            await asyncio.sleep(_LEADER_POLL_INTERVAL)


def _not_ready_response(reason: str) -> bytes:
    """As ``receiver/health`` says it."""
    told = json.dumps({"lease": reason})
    head = "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(told)}\r\n\r\n{told}".encode()


async def _read_first_bytes(reader: asyncio.StreamReader) -> bytes:
    """What a visitor says first: enough of it to know whom it is for."""
    first = b""
    while any(own.startswith(first) for own in (*_OWN_REQUESTS, _READYZ_REQUEST)) and (
        piece := await reader.read(_CHUNK_SIZE)
    ):
        first += piece
    return first


async def _relay_both_ways(
    to_leader: Coroutine[Any, Any, None], to_client: Coroutine[Any, Any, None]
) -> None:
    """Until both ways have ended; soon, where one failed or the leader has ended: it hears no more."""
    loop = asyncio.get_running_loop()
    ways = [loop.create_task(to_leader), loop.create_task(to_client)]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        ends = ways[1].done() or ways[0].exception() is not None
        await asyncio.wait(ways, timeout=_CLOSE_TIMEOUT if ends else None)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _copy_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """To the end; then the other side hears of the end, and may still answer."""
    while piece := await reader.read(_CHUNK_SIZE):
        writer.write(piece)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
