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

_KNOWN_HEADER = re.compile(
    r"host|connection|keep-alive|te|trailer|transfer-encoding|upgrade|expect|http2-settings"
    r"|user-agent|accept(-.*)?|content-.*|if-.*|range|cache-control|pragma|date|priority"
    r"|authorization|cookie|origin|referer|sec-.*|upgrade-insecure-requests|dnt|save-data"
    r"|purpose|access-control-request-.*|last-event-id|ping-from|ping-to"
    r"|git-protocol|x-github-api-version|postman-token"
)
"""Headers that git, curl, browsers, Python's clients and Fyre's own verbs send. Any other one may
be a proxy's: each proxy has names of its own for whom it speaks for, and no list has them all."""

_RUN_PAGE = re.compile(
    r"/runs/[^/.]+(?:\.json|/log|/outputs\.json|/outputs/.+|/blobs/[^/]+)?", re.DOTALL
)
"""The pages of one run, whose address nobody can guess. It has no dot, as a repository's has."""

_WEBHOOK = "/webhook"

_CHALLENGE = {"WWW-Authenticate": 'Basic realm="fyre up", charset="UTF-8"'}
_REFUSAL = (
    "give the token of this fyre up ({}): as git's password, FYRE_TOKEN or 'Authorization: Bearer "
    f"TOKEN'; whoever runs it finds it in the file {auth.ACCESS_TOKEN_FILE} under its --root"
)
_NETWORK = "it is open to a network"
_PROXY = "a proxy may have sent the request: it has the header {}"
_OTHER_SITE = "a page of another site sent the request"
_OTHER_USER = "another user, {}, runs it"
_UNKNOWN_USER = "the system does not say who asks"
_LACK = "this machine can't tell now who asks ({}): try again\n"
_HEADER_SHOWN_MAX = 40


@dataclass(frozen=True)
class AccessGate:
    """Middleware that lets the same user in, and everybody who gives a token.

    ``hosts`` are the names of the loopback; None where it listens to a network, so that everybody
    needs a token. ``connection_extension`` names the extension of a scope that keeps facts of a
    connection for all its requests: ``descriptor`` and ``inode`` of its socket, and ``uid`` once it
    is asked for.
    """

    app: ASGIApp
    tokens: Sequence[str]
    hosts: Collection[str] | None
    connection_extension: str
    find_peer_uid: Callable[[int, int], int | None] = peer_user.find_peer_uid

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond 401 to strangers, and 400 to a name that is not this machine's.

        503 where this machine lacks what it takes to know. What is no request, as a WebSocket, is
        let in for nobody.
        """
        if scope["type"] == "http":
            try:
                app = self._refusal(scope) or self.app
            except OSError as error:  # as no free descriptor: that says nothing of who asks
                text = _LACK.format(error.strerror or error)
                app = PlainTextResponse(text, 503, {"Retry-After": "1"})
            await app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self.app(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        """Return the answer to a request that is not let in."""
        headers = Headers(scope=scope)
        if self._has_token(scope, headers):
            return None
        is_forwarded = bool(_unknown_header(headers))
        if self.hosts is not None and not is_forwarded and not self._has_host(headers):
            return PlainTextResponse("unknown host\n", status_code=400)
        if _is_open(scope["method"], scope["path"]):
            return None
        reason = self._reason_for_token(scope, headers)
        if not reason:
            return None
        text = _REFUSAL.format(reason)
        if scope["path"].startswith("/api/"):
            return JSONResponse({"message": text, "status": "401"}, 401, _CHALLENGE)
        return PlainTextResponse(f"{text}\n", 401, _CHALLENGE)

    def _reason_for_token(self, scope: Scope, headers: Headers) -> str:
        """Return why a request needs the token; "" for one of the user who runs this.

        Raises ``OSError`` where that can't be found out now.
        """
        if self.hosts is None:
            return _NETWORK
        if name := _unknown_header(headers):
            return _PROXY.format(name[:_HEADER_SHOWN_MAX])
        if _is_foreign(scope, headers):
            return _OTHER_SITE
        uid = self._peer_uid(scope)
        if uid is None:
            return _UNKNOWN_USER
        return "" if uid == os.geteuid() else _OTHER_USER.format(auth.local_user().login)

    def _has_host(self, headers: Headers) -> bool:
        """Return True if the request names one host, and that is a name of the loopback."""
        hosts = headers.getlist("host")
        return len(hosts) == 1 and strip_port(hosts[0]) in (self.hosts or ())

    def _has_token(self, scope: Scope, headers: Headers) -> bool:
        """Return True if the request has a token that no page of another site made it send."""
        authorization = headers.get("authorization", "")
        # A browser adds a password that it knows to the requests of every page.
        is_own_accord = authorization.lower().startswith("basic") and _is_foreign(scope, headers)
        return not is_own_accord and auth.gives_token(authorization, self.tokens)

    def _peer_uid(self, scope: Scope) -> int | None:
        """Return the uid at the other end of the connection, which is looked up once.

        Raises ``OSError``, and then the next request asks again.
        """
        connection = (scope.get("extensions") or {}).get(self.connection_extension)
        if connection is None:
            return None
        if "uid" not in connection:
            connection["uid"] = self.find_peer_uid(connection["descriptor"], connection["inode"])
        uid: int | None = connection["uid"]
        return uid


def _is_open(method: str, path: str) -> bool:
    """Return True for what has a secret of its own: signed deliveries, the addresses of runs."""
    if path == _WEBHOOK:
        return method == "POST"
    return method in ("GET", "HEAD") and _RUN_PAGE.fullmatch(path) is not None


def _unknown_header(headers: Headers) -> str:
    """Return the name of a header that no client of a person sends; "" if there is none."""
    return next((name for name in headers if not _KNOWN_HEADER.fullmatch(name)), "")


def _is_foreign(scope: Scope, headers: Headers) -> bool:
    """Return True if a browser sent the request for a page of another site.

    A person may follow a link on such a page, which does not see where it leads.
    """
    host = headers.get("host", "").lower()
    own = (f"http://{host}", f"https://{host}")
    if any(origin.lower() not in own for origin in headers.getlist("origin")):
        return True
    sites = set(headers.getlist("sec-fetch-site")) - {"none", "same-origin"}
    return bool(sites) and not _is_followed_link(scope, headers)


def _is_followed_link(scope: Scope, headers: Headers) -> bool:
    """Return True for a page in the browser's window.

    Git's paths are for no browser: the first request of a push makes a repository.
    """
    return (
        headers.get("sec-fetch-mode") == "navigate"
        and scope["method"] in ("GET", "HEAD")
        and ".git/" not in scope["path"]
    )
