"""An HTTP server of ours: its socket, its readiness, and the threads that live as long as it answers."""

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
"""Bytes of a request that are not its body: its head, or what trails after it; read in whole pieces, so a bit more."""


class HeaderLimitedProtocol(HttpToolsProtocol):
    """uvicorn's own, that keeps whatever a visitor says before its request has a body, or after: here it is bounded."""

    _head_bytes = 0  # bytes since a head was whole or a piece of a body came
    _progressed = False

    def data_received(self, data: bytes) -> None:
        """Some bytes from the wire; who sends too many that lead nowhere is turned away."""
        self._progressed = False
        super().data_received(data)
        self._head_bytes = 0 if self._progressed else self._head_bytes + len(data)
        if self._head_bytes > REQUEST_HEAD_MAX and not self.transport.is_closing():
            self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._progressed = True

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        super().on_headers_complete()
        self._progressed = True

    def on_body(self, body: bytes) -> None:
        """A piece of its body."""
        super().on_body(body)
        self._progressed = True


def uvicorn_config(app: ASGIApp, shutdown_timeout: int | None = None) -> uvicorn.Config:
    """How each server of ours is set up; ``patience`` is in seconds: for the requests that go on when it stops."""
    return uvicorn.Config(
        app,
        http=HeaderLimitedProtocol,
        lifespan="off",
        access_log=False,
        log_config=None,
        timeout_graceful_shutdown=shutdown_timeout,
    )


class HttpServer(uvicorn.Server):
    """uvicorn, that says when it is ready; ``threads`` are entered then, as they may talk to it."""

    def __init__(
        self, app: ASGIApp, url: str, background_threads: AbstractContextManager[None]
    ) -> None:
        """``url`` is what the ready line names."""
        super().__init__(uvicorn_config(app, shutdown_timeout=1))
        self._url, self._background_threads = url, background_threads

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then the threads, then the line that scripts wait for."""
        await super().startup(sockets=sockets)
        self._background_threads.__enter__()
        sys.stderr.write(f"ready {self._url}\n")
        sys.stderr.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the threads while the server still answers them, then the server."""
        await asyncio.to_thread(self._background_threads.__exit__, None, None, None)
        await super().shutdown(sockets=sockets)


def bind_socket(host: str, port: int, hint: str) -> socket.socket:
    """A listening socket. Raises ``UserError`` with that hint when the address can't be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UserError(f"port {port} on {host} can't be had: {why}", hint=hint) from error
