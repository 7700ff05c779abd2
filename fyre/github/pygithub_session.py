"""Connect to a forge by PyGithub.

One request a call; reads are repeated, writes never; nothing sleeps for long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from fyre import http_deadline
from fyre.github import rate_limit

if TYPE_CHECKING:
    from github import Github
    from github.Auth import Auth
    from requests import Session

REQUEST_TIMEOUT = 15
"""Seconds for one read of an answer."""

REQUEST_SECONDS = http_deadline.REQUEST_SECONDS
"""Seconds for one call: with its retries, its redirects and the whole of the answer."""


def connect_github(
    url: str, token: Callable[[], str], renew: Callable[[str], bool] = lambda _: False
) -> Github:
    """Return a connection that asks for its token before each request.

    So a token that is renewed or replaced is used at once. ``renew`` is called with a token that
    was refused; if it returns True, the request is sent again with another one.
    """
    from github import Github

    auth = _dynamic_token_auth(token)
    connection = Github(auth=auth, **connection_settings(url), lazy=True)
    send = connection.requester.requestJson

    def send_renewed(*args: Any, **settings: Any) -> tuple[int, dict[str, Any], str]:  # noqa: ANN401 - PyGithub's
        used = token()
        with http_deadline.bound_requests(REQUEST_SECONDS):
            answer = send(*args, **settings)
        if not (_is_refusal(*answer) and renew(used)):
            return answer
        with http_deadline.bound_requests(REQUEST_SECONDS):
            return send(*args, **settings)  # what was refused was not done: a write may be, too

    connection.requester.requestJson = send_renewed  # type: ignore[method-assign]
    return connection


@cache
def _use_own_connections() -> None:
    """Have PyGithub make connections that read the environment once, and take IPv6 addresses."""
    from github.Requester import (
        HTTPRequestsConnectionClass,
        HTTPSRequestsConnectionClass,
        Requester,
        RequestsResponse,
    )
    from requests.utils import get_environ_proxies

    class ForgeConnection:
        """Additions to PyGithub's two connections, which share no class."""

        session: Session
        protocol: str
        host: str
        port: int
        verify: bool | str
        retry: Any  # a number, or urllib3's own
        pool_size: int

        def __init__(self, *args: Any, **settings: Any) -> None:  # noqa: ANN401 - PyGithub's
            """Read proxies and certificates: requests reads them for each request.

            That takes a third of the time of a request to this machine.
            """
            super().__init__(*args, **settings)
            url = f"{self.protocol}://{_bracketed(self.host)}:{self.port}"
            self.session.proxies = get_environ_proxies(url)
            if self.verify is True:
                bundles = map(os.environ.get, ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"))
                self.verify = next(filter(None, bundles), True)
            self.session.trust_env = False
            adapter = http_deadline.bounded_adapter(
                REQUEST_SECONDS,
                max_retries=self.retry,
                pool_connections=self.pool_size,
                pool_maxsize=self.pool_size,
            )
            self.session.mount(f"{self.protocol}://", adapter)

        def getresponse(self) -> RequestsResponse:
            """Write an IPv6 address in brackets, where PyGithub puts a port behind it."""
            host = self.host  # PyGithub compares it with the one that it asks for
            self.host = _bracketed(host)
            try:
                response: RequestsResponse = super().getresponse()  # type: ignore[misc] # PyGithub's
                return response
            finally:
                self.host = host

    class HttpConnection(ForgeConnection, HTTPRequestsConnectionClass):
        """A connection over HTTP."""

    class HttpsConnection(ForgeConnection, HTTPSRequestsConnectionClass):
        """A connection over TLS."""

    Requester.injectConnectionClasses(HttpConnection, HttpsConnection)
    # The call above also has PyGithub open a connection for each request.
    Requester._Requester__persist = True  # type: ignore[attr-defined] # noqa: SLF001 - no other way


def _bracketed(host: str) -> str:
    """Return a host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def _is_refusal(status: int, headers: dict[str, Any], output: str) -> bool:
    """Return True if a token was refused, or may not do this; a rate limit is no refusal."""
    if status not in (401, 403):
        return False
    return not rate_limit.parse_rate_limit_headers(status, headers, output, time.time()).refused


def connection_settings(url: str) -> dict[str, Any]:
    """Return PyGithub's settings: reads are repeated, writes never are, nothing sleeps for long.

    From the first call on PyGithub makes connections of ours, which end in time.
    """
    from urllib3.util import Retry

    _use_own_connections()
    reads = Retry(
        total=2,
        backoff_factor=0.2,
        allowed_methods={"GET"},
        status_forcelist=(500, 502, 503, 504),
        respect_retry_after_header=False,  # else a read that meets a limit sleeps until its end
        raise_on_status=False,  # the last response says more than "too many retries"
    )
    return {
        "base_url": url,
        "timeout": REQUEST_TIMEOUT,
        "per_page": 100,
        "retry": reads,
        "seconds_between_requests": None,
        "seconds_between_writes": None,
    }


def _dynamic_token_auth(token: Callable[[], str]) -> Auth:
    """Return an authentication that calls ``token`` before each request."""
    from github.Auth import Auth

    class DynamicTokenAuth(Auth):
        """Authenticates with the token that is valid now; not at all if it is empty."""

        token_type = "token"  # noqa: S105 - GitHub's word for the scheme
        _masked_token = "token (removed)"  # noqa: S105 - what PyGithub's own log shows

        @property
        def token(self) -> str:
            return token()

        def authentication(self, headers: dict[str, Any]) -> None:
            if now := self.token:
                headers["Authorization"] = f"{self.token_type} {now}"

    return DynamicTokenAuth()
