"""Run an HTTP server: its socket, its ready line, and threads that live as long as it answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
from contextlib import AbstractContextManager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fyre.errors import UserError
from fyre.server.log_stream import ABORT_EXTENSION

REQUEST_HEAD_MAX = 64 * 1024
"""Bytes of a request outside its body: its head, or trailers after it. Data is read in whole
chunks, so it may be a bit more."""


CONNECTION_EXTENSION = "fyre.connection"
"""Extension of a scope: a dict of facts of the connection, the same for all its requests. It has
``descriptor``, that of the socket, and ``inode``, which no other socket has had; others may add
what they ask once."""

HEAD_TIMEOUT = 30.0
"""Seconds in which the head of a request has to be complete, from the connection's first moment."""

BODY_TIMEOUT = 30.0
"""Seconds in which something of the body that a client has announced has to come, again and
again, while it is waited for."""

BODY_BYTES_MIN = 4096
"""Bytes of a body that come in this time at least: with one byte now and then a client would hold
for ever what others wait for."""

STALLED_READER_TIMEOUT = 300.0
"""Seconds that a client may take nothing of what waits for it. A log that is followed goes on at
its byte when its reader asks again."""

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 60, 15, 4
"""Seconds until the kernel asks whether a silent client is still there, seconds between further
questions, and how many without an answer end the connection."""

CONNECTIONS_MOST = 8192
"""Connections at most, whatever the limit of descriptors."""

CONNECTIONS_SHARE = 0.4
"""Share of this process's descriptors that connections may have. Each may hold a file besides, as
an upload does; what is left is for git, pipes and our own requests."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with limits for clients that send or take nothing, and for their number.

    uvicorn itself keeps whatever a client sends before the body of a request, or after it, and
    waits without end for the rest of a head.
    """

    _head_bytes = 0  # since a head was complete or a chunk of a body came
    _progressed = False  # True if the last bytes completed a head or belonged to a body

    connection_facts: dict[str, int | None]
    heard_at = 0.0  # by the loop's clock: when the client last sent something
    _head_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None
    _body_timer: asyncio.TimerHandle | None = None
    _body_bytes = 0  # of the body, since it was last looked at

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Handle a new connection; where there are too many, close the one that waits longest."""
        super().connection_made(transport)
        descriptor = transport.get_extra_info("socket").fileno()
        self.connection_facts = {"descriptor": descriptor, "inode": os.fstat(descriptor).st_ino}
        self.heard_at = self.loop.time()
        self._start_head_timer()
        if len(self.connections) > connections_max():
            self._close_idle_connection()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of a connection."""
        for timer in (self._head_timer, self._stall_timer, self._body_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Handle a client that takes less than it is sent."""
        super().pause_writing()
        self._stall_timer = self.loop.call_later(STALLED_READER_TIMEOUT, self.transport.abort)

    def resume_writing(self) -> None:
        """Handle a client that took something."""
        super().resume_writing()
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None

    def abort_response(self) -> None:
        """End the connection in the middle of an answer, after what was written of it."""
        self.cycle.disconnected = True
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client; answer 400 to too many that complete nothing."""
        self._progressed = False
        self.heard_at = self.loop.time()
        super().data_received(data)
        self._head_bytes = 0 if self._progressed else self._head_bytes + len(data)
        if self._head_bytes > REQUEST_HEAD_MAX and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Handle the beginning of a request."""
        super().on_message_begin()
        self._progressed = True
        self.scope["extensions"] = {
            ABORT_EXTENSION: self.abort_response,  # type: ignore[dict-item]
            CONNECTION_EXTENSION: self.connection_facts,  # type: ignore[dict-item]
        }
        self._start_head_timer()

    def on_headers_complete(self) -> None:
        """Handle a complete head."""
        super().on_headers_complete()
        self._progressed, self._body_bytes = True, 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        self._body_timer = self.loop.call_later(BODY_TIMEOUT, self._check_body)

    def on_message_complete(self) -> None:
        """Handle a complete request."""
        super().on_message_complete()
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def on_body(self, body: bytes) -> None:
        """Handle a chunk of a body."""
        super().on_body(body)
        self._progressed, self._body_bytes = True, self._body_bytes + len(body)

    def _start_head_timer(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIMEOUT, self.transport.abort)

    def _check_body(self) -> None:
        """End the connection if the rest of a body does not come; else look again later.

        While we take nothing, since whoever reads the body is slow, nothing can come.
        """
        if self._body_bytes < BODY_BYTES_MIN and not self.flow.read_paused:
            self.transport.abort()
        else:
            self._body_bytes = 0
            self._body_timer = self.loop.call_later(BODY_TIMEOUT, self._check_body)

    @property
    def waits_for_client(self) -> bool:
        """True if nothing is being answered, or the client has not sent all of its request."""
        return not self.cycle or self.cycle.response_complete or self.cycle.more_body

    def _close_idle_connection(self) -> None:
        """Close the connection whose client has been silent longest; this one if none is."""
        waiting = [
            one
            for one in self.connections
            if isinstance(one, BoundedProtocol) and one.waits_for_client
        ]
        min(waiting, key=lambda one: one.heard_at, default=self).transport.abort()


def connections_max() -> int:
    """Return how many connections this process may have by its limit of descriptors."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MOST
    return min(CONNECTIONS_MOST, int(soft * CONNECTIONS_SHARE))


def _enable_keepalive(listening: socket.socket) -> None:
    """Have the kernel notice clients that are gone without a word.

    The sockets of connections inherit it.
    """
    with contextlib.suppress(OSError):  # no TCP
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if sys.platform == "linux":
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL)
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_PROBES)


def uvicorn_config(app: ASGIApp, shutdown_timeout: int | None = None) -> uvicorn.Config:
    """Return the configuration that all of our servers share.

    ``shutdown_timeout`` is in seconds: for requests that are unfinished when the server stops.
    """
    return uvicorn.Config(
        app,
        http=BoundedProtocol,
        ws="none",  # whatever is installed: a WebSocket would pass by what looks at requests
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=shutdown_timeout,
    )


class HttpServer(uvicorn.Server):
    """uvicorn that prints a line when it is ready.

    ``background_threads`` are entered at that moment, as they may send requests to it.
    """

    def __init__(
        self, app: ASGIApp, url: str, background_threads: AbstractContextManager[None]
    ) -> None:
        """Serve ``app``; ``url`` is printed in the ready line."""
        super().__init__(uvicorn_config(app, shutdown_timeout=1))
        self._url, self._background_threads = url, background_threads

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, then the threads, then print the line that scripts wait for."""
        await super().startup(sockets=sockets)
        self._background_threads.__enter__()
        sys.stderr.write(f"ready {self._url}\n")
        sys.stderr.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the threads while the server still answers them, then the server."""
        await asyncio.to_thread(self._background_threads.__exit__, None, None, None)
        await super().shutdown(sockets=sockets)


def bind_socket(host: str, port: int, hint: str) -> socket.socket:
    """Return a listening socket.

    Raises ``UserError`` with that hint if the address can't be used.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UserError(f"port {port} on {host} can't be had: {reason}", hint=hint) from error
    _enable_keepalive(listening)
    return listening
