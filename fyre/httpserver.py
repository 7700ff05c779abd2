"""An HTTP server of ours: its socket, its readiness, and the threads that live as long as it answers."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from contextlib import AbstractContextManager

import uvicorn
from starlette.types import ASGIApp

from fyre.errors import UserError


class Server(uvicorn.Server):
    """uvicorn, that says when it is ready; ``threads`` are entered then, as they may talk to it."""

    def __init__(self, app: ASGIApp, url: str, threads: AbstractContextManager[None]) -> None:
        """``url`` is what the ready line names."""
        super().__init__(
            uvicorn.Config(
                app, http="httptools", lifespan="off", access_log=False, log_config=None, timeout_graceful_shutdown=1
            )
        )
        self._url, self._threads = url, threads

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then the threads, then the line that scripts wait for."""
        await super().startup(sockets=sockets)
        self._threads.__enter__()
        sys.stderr.write(f"ready {self._url}\n")
        sys.stderr.flush()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop the threads while the server still answers them, then the server."""
        await asyncio.to_thread(self._threads.__exit__, None, None, None)
        await super().shutdown(sockets=sockets)


def listen(host: str, port: int, hint: str) -> socket.socket:
    """A listening socket. Raises ``UserError`` with that hint when the address can't be had."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise UserError(f"port {port} on {host} can't be had: {why}", hint=hint) from error
