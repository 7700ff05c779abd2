"""Check the Host header: a web page that rebinds its name to 127.0.0.1 must not read the forge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class TrustedHostsMiddleware:
    """Middleware that accepts requests for these hosts only, on any port.

    An IPv6 address is in brackets.
    """

    app: ASGIApp
    hosts: Iterable[str] = LOOPBACK_HOSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 400 to a request for any other host."""
        if scope["type"] == "http":
            host = strip_port(Headers(scope=scope).get("host", ""))
            if host not in tuple(self.hosts):
                response = PlainTextResponse("unknown host\n", status_code=400)
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


def strip_port(header: str) -> str:
    """Return the host of a Host header without its port: ``[::1]:8000`` → ``[::1]``."""
    host, colon, port = header.lower().rpartition(":")
    return host if colon and port.isdigit() else header.lower()
