"""Decide who may use ``fyre up``: the user who runs it, and whoever has its token.

What is pushed runs as that user. On the loopback the kernel says whose process is at the other end
of a connection. That is not enough where the process speaks for somebody else: a proxy, or a
browser that shows a page of another site.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from fyre.local_forge import auth, peer_user
from fyre.local_forge.trusted_hosts import strip_port

_FORWARDING_HEADERS = frozenset({"forwarded", "via", "x-real-ip", "x-proxycontextpath"})
_FORWARDING_PREFIX = "x-forwarded-"

_RUN_PAGE = re.compile(r"/runs/[^/]+(?:/log)?")
_WEBHOOK = "/webhook"

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="fyre up", charset="UTF-8"'}
_REFUSAL = (
    "this fyre up belongs to another user, or the request came by a detour: give the token "
    f"as the password; it is in the file {auth.ACCESS_TOKEN_FILE} under the root of fyre up"
)


@dataclass(frozen=True)
class AccessGate:
    """Middleware that lets the same user in, and everybody who gives a token.

    ``hosts`` are the names of the loopback; None where it listens to a network, so that everybody
    needs a token. ``connection_extension`` names the extension of a scope that keeps facts of a
    connection for all its requests: ``descriptor``, that of its socket, and ``uid`` once it is
    asked for.
    """

    app: ASGIApp
    tokens: Sequence[str]
    hosts: Collection[str] | None
    connection_extension: str
    find_peer_uid: Callable[[int], int | None] = peer_user.find_peer_uid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 401 to strangers, and 400 to a name that is not this machine's."""
        app = self.app
        if scope["type"] == "http":
            app = self._refusal(scope) or app
        await app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in."""
        headers = Headers(scope=scope)
        if self._has_token(headers):
            return None
        forwarded = _is_forwarded(headers)
        if self.hosts is not None and not forwarded and not _has_host(headers, self.hosts):
            return PlainTextResponse("unknown host\n", status_code=400)
        if _is_open(scope["method"], scope["path"]):
            return None
        is_direct = self.hosts is not None and not forwarded and not _is_foreign(headers)
        if is_direct and self._is_same_user(scope):
            return None
        if scope["path"].startswith("/api/"):
            return JSONResponse({"message": _REFUSAL, "status": "401"}, 401, _CHALLENGE)
        return PlainTextResponse(f"{_REFUSAL}\n", 401, _CHALLENGE)

    def _has_token(self, headers: Headers) -> bool:
        """Return True if the request has a token that no page of another site made it send."""
        authorization = headers.get("authorization", "")
        # A browser adds a password that it knows to the requests of every page.
        is_own_accord = authorization.lower().startswith("basic") and _is_foreign(headers)
        return not is_own_accord and auth.gives_token(authorization, self.tokens)

    def _is_same_user(self, scope: Scope) -> bool:
        connection = (scope.get("extensions") or {}).get(self.connection_extension)
        if connection is None:
            return False
        if "uid" not in connection:
            connection["uid"] = self.find_peer_uid(connection["descriptor"])
        return bool(connection["uid"] == os.geteuid())


def _is_open(method: str, path: str) -> bool:
    """Return True for what has a secret of its own: signed deliveries, the addresses of runs."""
    if path == _WEBHOOK:
        return method == "POST"
    return method in ("GET", "HEAD") and _RUN_PAGE.fullmatch(path) is not None


def _has_host(headers: Headers, hosts: Collection[str]) -> bool:
    return [strip_port(host) in hosts for host in headers.getlist("host")] == [True]


def _is_forwarded(headers: Headers) -> bool:
    """Return True if a proxy sent the request for somebody else."""
    return any(
        name in _FORWARDING_HEADERS or name.startswith(_FORWARDING_PREFIX) for name in headers
    )


def _is_foreign(headers: Headers) -> bool:
    """Return True if a browser sent the request for a page of another site.

    A link on such a page may be followed: the page does not see where it leads.
    """
    host = headers.get("host", "").lower()
    own = (f"http://{host}", f"https://{host}")
    if any(origin.lower() not in own for origin in headers.getlist("origin")):
        return True
    site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "")
    return site not in ("none", "same-origin") and mode != "navigate"
