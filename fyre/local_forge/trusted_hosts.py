"""Which Host headers are answered: a page on the web that rebinds its name to 127.0.0.1 must not read anything here."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK_HOSTS = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class TrustedHostsMiddleware:
    """Middleware that lets through requests for these hosts alone, on whatever port; an IPv6 address is in brackets."""

    app: ASGIApp
    hosts: Iterable[str] = LOOPBACK_HOSTS

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400 to a request for any other host."""
        if scope["type"] == "http" and strip_port(
            Headers(scope=scope).get("host", "")
        ) not in tuple(self.hosts):
            await PlainTextResponse("unknown host\n", status_code=400)(scope, receive, send)
            return
        await self.app(scope, receive, send)


def strip_port(header: str) -> str:
    """``[::1]:8000`` → ``[::1]``."""
    host, colon, port = header.lower().rpartition(":")
    return host if colon and port.isdigit() else header.lower()
