"""Run an HTTP server: its socket, its ready line, and threads that live as long as it answers."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import AbstractContextManager

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fyre.errors import UserError

REQUEST_HEAD_MAX = 64 * 1024
"""Bytes of a request outside its body: its head, or trailers after it. Data is read in whole
chunks, so it may be a bit more."""


class HeaderLimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on the head of a request.

    uvicorn itself keeps whatever a client sends before the body of a request, or after it.
    """

    _head_bytes = 0  # since a head was complete or a chunk of a body came
    _progressed = False  # True if the last bytes completed a head or belonged to a body

    def data_received(self, data: bytes) -> None:
        """Handle bytes from the client; answer 400 to too many that complete nothing."""
        self._progressed = False
        super().data_received(data)
        self._head_bytes = 0 if self._progressed else self._head_bytes + len(data)
        if self._head_bytes > REQUEST_HEAD_MAX and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """Handle the beginning of a request."""
        super().on_message_begin()
        self._progressed = True

    def on_headers_complete(self) -> None:
        """Handle a complete head."""
        super().on_headers_complete()
        self._progressed = True

    def on_body(self, body: bytes) -> None:
        """Handle a chunk of a body."""
        super().on_body(body)
        self._progressed = True


def uvicorn_config(app: ASGIApp, shutdown_timeout: int | None = None) -> uvicorn.Config:
    """Return the configuration that all of our servers share.

    ``shutdown_timeout`` is in seconds: for requests that are unfinished when the server stops.
    """
    return uvicorn.Config(
        app,
        http=HeaderLimitedProtocol,
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
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UserError(f"port {port} on {host} can't be had: {reason}", hint=hint) from error
