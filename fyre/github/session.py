"""A connection to a forge by PyGithub: one request a call, reads repeated, writes never, no sleep that lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from github import Github
    from github.Auth import Auth

REQUEST_TIMEOUT = 15
"""Seconds for one request."""


def connect_github(url: str, token: Callable[[], str]) -> Github:
    """A connection that asks for its token before each request: one that is renewed or replaced holds at once."""
    from github import Github

    return Github(auth=_dynamic_token_auth(token), **connection_settings(url), lazy=True)


def connection_settings(url: str) -> dict[str, Any]:
    """How we talk to a forge through PyGithub: reads are repeated, writes never are, and nothing sleeps for long."""
    from urllib3.util import Retry

    reads = Retry(
        total=2,
        backoff_factor=0.2,
        allowed_methods={"GET"},
        status_forcelist=(500, 502, 503, 504),
        respect_retry_after_header=False,  # or a read that meets a limit sleeps for as long as that lasts
        raise_on_status=False,  # the last answer says more than that there were too many
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
    from github.Auth import Auth

    class DynamicTokenAuth(Auth):
        """Whatever the token is now; none where it is empty."""

        token_type = "token"  # noqa: S105 - GitHub's word for the scheme
        _masked_token = "token (removed)"  # noqa: S105 - what PyGithub's own log shows

        @property
        def token(self) -> str:
            return token()

        def authentication(self, headers: dict[str, Any]) -> None:
            if now := self.token:
                headers["Authorization"] = f"{self.token_type} {now}"

    return DynamicTokenAuth()
