"""Connect to a forge by PyGithub.

One request a call; reads are repeated, writes never; nothing sleeps for long.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from github import Github
    from github.Auth import Auth

REQUEST_TIMEOUT = 15
"""Seconds for one request."""


def connect_github(url: str, token: Callable[[], str]) -> Github:
    """Return a connection that asks for its token before each request.

    So a token that is renewed or replaced is used at once.
    """
    from github import Github

    return Github(auth=_dynamic_token_auth(token), **connection_settings(url), lazy=True)


def connection_settings(url: str) -> dict[str, Any]:
    """Return PyGithub's settings: reads are repeated, writes never are, nothing sleeps for long."""
    from urllib3.util import Retry

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
