"""Forward every connection of a follower to the leader, so that there is one controller.

Bytes are forwarded, not requests: webhooks, pages, growing logs and git packs all look the same.
While there is no leader, a connection waits; GitHub gives a delivery ten seconds.
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
"""Seconds that a connection waits for a leader; a delivery that is lost then is found by the next
leader's first sweep."""

_LEADER_POLL_INTERVAL = 0.2  # seconds between two looks for the leader
_CONNECT_TIMEOUT = 2.0  # seconds: the address may be of a node that is gone
_CHUNK_SIZE = 65536
_HEALTHZ_RESPONSE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\n"
    b"Connection: close\r\n\r\n# standby\n"
)
"""Its body is a comment in Prometheus' text format, as it answers ``/metrics`` too."""

_OWN_REQUESTS = (b"GET /healthz ", b"GET /metrics ")
"""The beginnings of requests that each replica answers for itself."""

_READYZ_REQUEST = b"GET /readyz "
"""The beginning of a request that the leader answers, except for a replica that can never lead."""

_FIRST_BYTES_TIMEOUT = 30.0  # seconds that a client may take to send something
_CLOSE_TIMEOUT = 2.0  # seconds that a client may take to end after the leader's response
_CONNECTIONS_MAX = 400
"""Connections that are forwarded at once. Each has two descriptors, of 1,024 in all where nobody
has raised that limit."""

Address = tuple[str, int]


class LeaderProxy:
    """A TCP proxy from each listening socket to the leader's address of the same number."""

    def __init__(
        self,
        listen_sockets: Sequence[socket.socket],
        find_leader: Callable[[], Sequence[Address] | None],
        block_reason: Callable[[], str] = lambda: "",
    ) -> None:
        """Forward from these sockets to the addresses of ``find_leader``; None where nobody leads.

        The first socket speaks HTTP. On it this process answers itself that it lives, and that it
        is not ready if ``block_reason`` returns why it can never lead.
        """
        self._listen_sockets = listen_sockets
        self._find_leader, self._block_reason = find_leader, block_reason
        self._connections: set[asyncio.Task[None]] = set()
        self._proxied_count = 0

    async def serve(self, stop_event: asyncio.Event) -> None:
        """Forward connections until the event is set.

        The sockets stay open: whoever listens on them next serves the connections that still wait.
        """
        servers = [
            await asyncio.start_server(self._connection_handler(number), sock=listen_socket.dup())
            for number, listen_socket in enumerate(self._listen_sockets)
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
            # Not wait_for, which before Python 3.12 may forget that the task was cancelled.
            async with asyncio.timeout(_FIRST_BYTES_TIMEOUT):
                first_bytes = await _read_first_bytes(reader)
            own_response = self._own_response(first_bytes) if socket_number == 0 else b""
            if own_response:
                writer.write(own_response)
            elif first_bytes:
                await self._proxy_connection(socket_number, first_bytes, reader, writer)
            writer.close()
            await writer.wait_closed()  # a slow reader may still receive the end
        except OSError as error:
            reason = str(error) or "it took too long"
            log.info("a connection could not be forwarded", extra={"why": reason})
        finally:
            writer.transport.abort()

    def _own_response(self, first_bytes: bytes) -> bytes:
        """Return what this replica answers for itself; empty for what the leader answers."""
        if first_bytes.startswith(_OWN_REQUESTS):
            return _HEALTHZ_RESPONSE
        if first_bytes.startswith(_READYZ_REQUEST) and (reason := self._block_reason()):
            return _not_ready_response(reason)
        return b""

    async def _proxy_connection(
        self,
        socket_number: int,
        first_bytes: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if self._proxied_count >= _CONNECTIONS_MAX:
            # A flood; or a circle, where the leader's address is in fact that of a Service.
            raise OSError(f"{_CONNECTIONS_MAX} others are being forwarded")
        self._proxied_count += 1
        try:
            async with asyncio.timeout(LEADER_WAIT):
                leader_reader, leader_writer = await self._connect_leader(socket_number)
            try:
                leader_writer.write(first_bytes)
                to_leader = _copy_stream(reader, leader_writer)
                await _relay_both_ways(to_leader, _copy_stream(leader_reader, writer))
            finally:
                leader_writer.transport.abort()
        finally:
            self._proxied_count -= 1

    async def _connect_leader(
        self, socket_number: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while True:
            addresses = self._find_leader()
            if addresses is not None:
                with suppress(OSError, ValueError):  # ValueError: a name that can be no host's
                    async with asyncio.timeout(_CONNECT_TIMEOUT):
                        return await asyncio.open_connection(*addresses[socket_number])
            await asyncio.sleep(_LEADER_POLL_INTERVAL)


def _not_ready_response(reason: str) -> bytes:
    """Return a response in the form of ``/readyz`` in ``fyre.server.health``."""
    body = json.dumps({"lease": reason})
    head = (
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return f"{head}{body}".encode()


async def _read_first_bytes(reader: asyncio.StreamReader) -> bytes:
    """Read enough of a connection to know if this replica answers it."""
    first_bytes = b""
    beginnings = (*_OWN_REQUESTS, _READYZ_REQUEST)
    while any(beginning.startswith(first_bytes) for beginning in beginnings) and (
        chunk := await reader.read(_CHUNK_SIZE)
    ):
        first_bytes += chunk
    return first_bytes


async def _relay_both_ways(
    to_leader: Coroutine[Any, Any, None], to_client: Coroutine[Any, Any, None]
) -> None:
    """Copy in both directions until both have ended.

    If sending to the leader fails, or the leader ends, the other direction has two seconds more:
    the leader reads nothing any more.
    """
    loop = asyncio.get_running_loop()
    directions = [loop.create_task(to_leader), loop.create_task(to_client)]
    try:
        await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        is_ending = directions[1].done() or directions[0].exception() is not None
        await asyncio.wait(directions, timeout=_CLOSE_TIMEOUT if is_ending else None)
    finally:
        for direction in directions:
            direction.cancel()
        await asyncio.gather(*directions, return_exceptions=True)


async def _copy_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy to the end, then close this direction alone: the other side may still answer."""
    while chunk := await reader.read(_CHUNK_SIZE):
        writer.write(chunk)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
