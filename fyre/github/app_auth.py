"""Authenticate as a GitHub App: find a repository's installation, and keep its token renewed.

An App has one installation for each account, and a token for each installation that lives for an
hour; tokens are opaque here, whatever their length. The private key signs a JWT for a few minutes,
and is sent nowhere.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from cachetools import TLRUCache

from fyre.errors import TransientError, UserError
from fyre.github.client import GitHubClient
from fyre.github.errors import (
    DeniedError,
    NotFoundError,
    RateLimitError,
    UnauthenticatedError,
    translate_errors,
)
from fyre.github.etag_cache import ETagCache
from fyre.github.pygithub_session import connect_github, connection_settings
from fyre.runs.run import Repository

if TYPE_CHECKING:
    from github import Github, GithubIntegration
    from github.Auth import AppAuth

log = logging.getLogger(__name__)

RENEWAL_MARGIN = 300.0
"""Seconds before its end at which a token is renewed: longer than any one fetch or posting takes.
"""

RENEWAL_INTERVAL = 60.0
"""Seconds between two renewals of a token because it was refused."""

TOKEN_LIFETIME = 3600.0
"""Seconds that a token lives: counted by our clock, in case that is behind the forge's."""

JWT_LIFETIMES = (540, 240)
"""Seconds that a signature (a JWT) is valid, and seconds for which it is used.

GitHub takes 600, and ours is dated a minute back. It is used again because ETags hold for one token
only, and each new one costs a counted request of the App's own.
"""

CLOCK_SKEW_MAX = 30.0
"""Seconds that our clock may be off before an error names it: PyGithub dates a JWT a minute back.
"""

_CLONE_PERMISSIONS = {"contents": "read"}
"""Permissions of a token for git: it is handed to a process, so it can do nothing but read."""


@dataclass(frozen=True, slots=True)
class _InstallationToken:
    """A token, and the time until which it is valid."""

    text: str
    expires_at: float  # seconds since the epoch


class GitHubApp:
    """One App on one forge. Thread-safe; one request at a time is made for an account's tokens.

    Nobody waits for the token of another account.
    """

    def __init__(
        self,
        url: str,
        app_id: int,
        private_key: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Set up the App with this id.

        ``private_key`` is asked for the key's PEM at each signature, so a rotated one is used at
        once.
        """
        self.url, self.app_id, self._private_key, self._clock = (
            url.rstrip("/"),
            app_id,
            private_key,
            clock,
        )
        self._installations: dict[str, int] = {}  # account in lower case → installation
        # By installation and purpose (git or not); a token that is due for renewal is not in it.
        self._tokens: TLRUCache[tuple[int, bool], _InstallationToken] = TLRUCache(
            math.inf, lambda _, token, __: token.expires_at - RENEWAL_MARGIN, clock
        )
        self._renewed_at: dict[tuple[int, bool], float] = {}
        """By the same: when a token was replaced last because it was refused."""

        # The last signature: its key, and the time until which it is used.
        self._signed: tuple[str, AppAuth, float] | None = None
        self._etag_cache = ETagCache()
        self._lock = threading.Lock()  # never held during a request
        self._account_locks: dict[str, threading.Lock] = {}

    def bot_login(self) -> str:
        """Return the login of the App's own statuses and comments."""
        with self._app_connection("the App") as connection:
            return self._etag_cache.get_cached(
                connection.requester, "/app", lambda data: f"{data['slug']}[bot]"
            )

    def get_app_json(self, description: str, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Return the JSON at a path of the API, asked as the App itself.

        ``description`` names the question in errors.
        """
        with self._app_connection(description) as connection:
            return connection.requester.requestJsonAndCheck("GET", path)[1]

    def list_installations(self) -> dict[str, int]:
        """Return every account that has the App → its installation, suspended ones left out."""
        with self._app_connection("the App's installations") as connection:
            listed = self._etag_cache.list_cached(
                connection.requester, "/app/installations", _parse_installation
            )
        installations = {
            account: installation for account, installation, useless in listed if not useless
        }
        with self._lock:
            # An account that uninstalled the App and installed it again has another installation,
            # and the tokens of the old one are dead.
            self._installations = {
                account.lower(): installation for account, installation in installations.items()
            }
            for key in [key for key in self._tokens if key[0] not in installations.values()]:
                self._tokens.pop(key, None)
        return installations

    def installation_token(self, name: str, *, for_clone: bool = False) -> str:
        """Return a token for the repository ``owner/name``, valid for minutes at least.

        ``for_clone`` asks for one for git, which can only read. Raises ``DeniedError`` if the App
        is not (or no longer) installed, its key is not known, or it is suspended;
        ``TransientError`` if the forge can't be reached.
        """
        account = _account_name(name)
        with self._lock:
            account_lock = self._account_locks.setdefault(account, threading.Lock())
        with account_lock:
            try:
                return self._cached_token(self._installation_id(name), for_clone=for_clone)
            except NotFoundError:
                # Uninstalled, and perhaps installed again since: that is another installation.
                with self._lock:
                    self._installations.pop(account, None)
                return self._cached_token(self._installation_id(name), for_clone=for_clone)

    def renew_token(self, name: str, refused: str, *, for_clone: bool = False) -> bool:
        """Replace a token that was refused; return True if there is another one now.

        It may have been revoked, or be older than a right that was granted since. One that replaced
        another so is not replaced again for a while: then the right is missing.
        """
        try:
            if self.installation_token(name, for_clone=for_clone) != refused:
                return True  # somebody else has replaced it
            key, now = (self._installation_id(name), for_clone), self._clock()
            with self._lock:
                if now - self._renewed_at.get(key, -math.inf) < RENEWAL_INTERVAL:
                    return False
                self._renewed_at[key] = now
                self._tokens.pop(key, None)
            return self.installation_token(name, for_clone=for_clone) != refused
        except (UserError, TransientError) as error:
            log.info("a token that was refused is not replaced: %s", error)
            return False

    def _installation_id(self, name: str) -> int:
        """Return the id of the installation that a repository belongs to."""
        account = _account_name(name)
        with self._lock:
            installation = self._installations.get(account)
        if installation is None:
            owner, _, repo = name.partition("/")
            try:
                with self._app_connection(f"the App's installation on {name}") as connection:
                    installation = connection.get_repo_installation(owner, repo).id
            except NotFoundError as error:
                hint = f"an owner of {owner} installs the App, and lets it see the repository"
                raise UnauthenticatedError(
                    f"the App is not installed on {name}", hint=hint
                ) from error
            with self._lock:
                self._installations[account] = installation
        return installation

    def _cached_token(self, installation: int, *, for_clone: bool) -> str:
        """Return the installation's token, a new one if it expires soon."""
        with self._lock:
            token = self._tokens.get((installation, for_clone))
        if token is None:
            with self._app_connection(f"a token of installation {installation}") as connection:
                new_token = connection.get_access_token(
                    installation, _CLONE_PERMISSIONS if for_clone else None
                )
            expires_at = min(new_token.expires_at.timestamp(), self._clock() + TOKEN_LIFETIME)
            token = _InstallationToken(new_token.token, expires_at)
            with self._lock:
                self._tokens[installation, for_clone] = token
        return token.text

    @contextmanager
    def _app_connection(self, description: str) -> Iterator[GithubIntegration]:
        """Open a connection as the App itself, for a moment.

        The error for a refusal names the key and the clock, which are its likely causes.
        """
        from github import GithubIntegration

        try:
            with (
                translate_errors(description),
                GithubIntegration(
                    auth=self._current_app_auth(), **connection_settings(self.url)
                ) as connection,
            ):
                yield connection
        except DeniedError as error:
            self._signed = None  # perhaps it was dated by a clock that is right by now
            hint = (
                f"check that {self.app_id} is the App's id, its private key is not revoked, "
                "this clock is right and the App is not suspended"
            )
            raise UnauthenticatedError(
                f"{error.message}{_clock_skew_text(error)}", hint=hint
            ) from error

    def _current_app_auth(self) -> AppAuth:
        """Return a signature of the App, the last one while that is still to be used."""
        key, now = self._private_key(), self._clock()
        with self._lock:
            if self._signed is None or self._signed[0] != key or now >= self._signed[2]:
                self._signed = key, create_app_auth(self.app_id, key), now + JWT_LIFETIMES[1]
            return self._signed[1]


class GitHubAppClient(GitHubClient):
    """A forge seen through an App: each repository with its installation's token."""

    def __init__(self, app: GitHubApp) -> None:
        super().__init__(app.url, lambda: "")
        self._app = app

    def own_login(self) -> str:
        """Return the login that our statuses have as their creator."""
        self._login = self._login or self._app.bot_login()
        return self._login

    def rate_limit_account(self, repository: Repository) -> str:
        """Return the repository's owner: an installation, which has limits of its own."""
        return _account_name(repository.name)

    def list_repositories(self) -> list[Repository]:
        """Return every repository of every installation.

        One that can't be asked at the moment is left out: the others go on.
        """
        repositories: list[Repository] = []
        for account in self._app.list_installations():
            try:
                with translate_errors(f"the repositories of {account}"):
                    repositories += self._account_repositories(account)
            except (UserError, RateLimitError) as error:  # limits are each installation's own
                log.warning(
                    "an installation is left out", extra={"account": account, "why": str(error)}
                )
        return repositories

    def remaining_requests(self) -> int | None:
        """Return None: each installation has limits of its own.

        Raises as ``GitHubClient.remaining_requests`` does.
        """
        self._app.bot_login()
        return None

    def _account_repositories(self, account: str) -> list[Repository]:
        """Return the repositories of one installation that are not archived."""

        def parse_repository(data: dict[str, Any]) -> Repository | None:
            return None if data["archived"] else self._repository_from_json(data)

        requester = self._thread_connection(account).requester
        listed = self._etag_cache.list_cached(
            requester,
            "/installation/repositories",
            parse_repository,
            entries_key="repositories",
            owner=account,
        )
        return [repository for repository in listed if repository is not None]

    def _thread_connection(self, name: str = "") -> Github:
        """Return this thread's connection for an account.

        All repositories of an account share its installation.
        """
        # Ask by the repository's own name, by which its installation is found.
        self._app.installation_token(name)
        if not hasattr(self._local, "connections"):
            self._local.connections = {}
        connections: dict[str, Github] = self._local.connections
        if _account_name(name) not in connections:
            connections[_account_name(name)] = connect_github(
                self.url,
                partial(self._app.installation_token, name),
                partial(self._app.renew_token, name),
            )
        return connections[_account_name(name)]


def create_app_auth(app_id: int, pem: str) -> AppAuth:
    """Return one signature as the App.

    Raises ``DeniedError`` if the key is not a private key; no part of it is ever shown.
    """
    from github import Auth

    auth = Auth.AppAuth(app_id, pem or " ", jwt_expiry=JWT_LIFETIMES[0])
    try:
        jwt = auth.create_jwt()
    except Exception:  # any failure of signing is due to the key: nothing else goes into it
        hint = (
            "it is the .pem file that GitHub gave when the key was made, "
            "whole and without a passphrase"
        )
        raise UnauthenticatedError(
            "the App's private key is not an RSA private key", hint=hint
        ) from None

    class PresignedAppAuth(Auth.AppAuth):
        """One signature in the form that PyGithub wants, which would sign anew for each request."""

        @property
        def token(self) -> str:
            return jwt

    return PresignedAppAuth(app_id, pem)


def _parse_installation(data: dict[str, Any]) -> tuple[str, int, bool]:
    """Return an installation's account and id, and True if it is of no use.

    It is of no use if it is suspended, or belongs to nobody who has repositories.
    """
    # An enterprise has no login, and an account that is gone is null.
    login = (data["account"] or {}).get("login", "")
    return login, data["id"], bool(data.get("suspended_at")) or not login


def _clock_skew_text(error: DeniedError) -> str:
    """Return a note on our clock, if the forge's response shows that it is off.

    A JWT is valid for minutes.
    """
    headers = getattr(error.__cause__, "headers", None) or {}
    try:
        skew = time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return ""
    direction = "ahead of" if skew > 0 else "behind"
    return (
        f"; this clock is {abs(skew):.0f} s {direction} the forge's"
        if abs(skew) > CLOCK_SKEW_MAX
        else ""
    )


def _account_name(name: str) -> str:
    """Return the account of a repository's name, in lower case."""
    return name.partition("/")[0].lower()
