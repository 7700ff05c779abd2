"""Being a GitHub App: which installation a repository belongs to, and a token for it that is renewed before it expires.

An App has one installation for each account, and a token for each installation that lives for an hour; tokens are
opaque here, whatever their length. The private key signs a JWT for a few minutes, and goes nowhere.
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

from fyre.errors import UserError
from fyre.github.client import GitHubClient
from fyre.github.errors import (
    DeniedError,
    NotFoundError,
    RateLimitError,
    UnauthenticatedError,
    translate_errors,
)
from fyre.github.etag_cache import ETagCache
from fyre.github.session import connect_github, connection_settings
from fyre.runs.run import Repository

if TYPE_CHECKING:
    from github import Github, GithubIntegration
    from github.Auth import AppAuth

log = logging.getLogger(__name__)

RENEWAL_MARGIN = 300.0
"""Seconds before its end at which a token is renewed: longer than any one fetch or posting takes."""

TOKEN_LIFETIME = 3600.0
"""Seconds that a token lives: what counts where our clock is behind the forge's."""

JWT_LIFETIMES = (540, 240)
"""Seconds that a signature (a JWT) holds, of the 600 that GitHub takes with ours being dated a minute back; and those
for which it is used: answers' tags hold for one token alone, and each new one is a counted request of the App's own."""

CLOCK_SKEW_MAX = 30.0
"""Seconds that our clock may be off without a word on it: PyGithub dates a JWT a minute back."""

_CLONE_PERMISSIONS = {"contents": "read"}
"""What a token for git gets: it is handed to a process, so it can do nothing but read."""


@dataclass(frozen=True, slots=True)
class _InstallationToken:
    text: str
    expires_at: float  # seconds since the epoch


class GitHubApp:
    """One App on one forge. Thread-safe; one request at a time is made for a token."""

    def __init__(
        self,
        url: str,
        app_id: int,
        private_key: Callable[[], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``key`` is asked for the private key's PEM at each signature, so a rotated one holds at once."""
        self.url, self.app_id, self._key, self._clock = url.rstrip("/"), app_id, private_key, clock
        self._installed: dict[str, int] = {}  # account in lower case → installation
        self._tokens: TLRUCache[tuple[int, bool], _InstallationToken] = TLRUCache(
            math.inf, lambda _, token, __: token.expires_at - RENEWAL_MARGIN, clock
        )  # by installation and whether it is for git; one that is due for renewal is not in it
        self._signed: tuple[str, AppAuth, float] | None = (
            None  # by which key, and until when it is used
        )
        self._answers = ETagCache()
        self._lock = threading.RLock()

    def bot_login(self) -> str:
        """The login of the App's own statuses and comments."""
        with self._app_connection("the App") as hub:
            return self._answers.get(hub.requester, "/app", lambda data: f"{data['slug']}[bot]")

    def get_app_json(self, description: str, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        """What a path of the API answers the App itself; ``what`` is the question, for its errors."""
        with self._app_connection(description) as hub:
            return hub.requester.requestJsonAndCheck("GET", path)[1]

    def list_installations(self) -> dict[str, int]:
        """Every account that has the App, suspended ones left out → its installation."""
        with self._app_connection("the App's installations") as hub:
            listed = self._answers.pages(hub.requester, "/app/installations", _parse_installation)
        found = {account: number for account, number, useless in listed if not useless}
        with self._lock:
            # Whoever uninstalled and installed again has another installation, and the old one's tokens are dead.
            self._installed = {account.lower(): number for account, number in found.items()}
            for key in [key for key in self._tokens if key[0] not in found.values()]:
                self._tokens.pop(key, None)
        return found

    def installation_token(self, name: str, *, for_clone: bool = False) -> str:
        """A token for the repository ``owner/name``, good for minutes at least; for git where ``clone`` says so.

        Raises ``DeniedError`` where the App is not (or no longer) installed, its key is not known, or it is suspended;
        ``TryAgainError`` when the forge can't be reached.
        """
        with self._lock:
            try:
                return self._cached_token(self._installation_id(name), for_clone=for_clone)
            except (
                NotFoundError
            ):  # uninstalled, and perhaps installed again since: that is another installation
                del self._installed[_account_name(name)]
                return self._cached_token(self._installation_id(name), for_clone=for_clone)

    def _installation_id(self, name: str) -> int:
        account = _account_name(name)
        if account not in self._installed:
            owner, _, repo = name.partition("/")
            try:
                with self._app_connection(f"the App's installation on {name}") as hub:
                    self._installed[account] = hub.get_repo_installation(owner, repo).id
            except NotFoundError as error:
                hint = f"an owner of {owner} installs the App, and lets it see the repository"
                raise UnauthenticatedError(
                    f"the App is not installed on {name}", hint=hint
                ) from error
        return self._installed[account]

    def _cached_token(self, installation: int, *, for_clone: bool) -> str:
        kept = self._tokens.get((installation, for_clone))
        if kept is None:
            with self._app_connection(f"a token of installation {installation}") as hub:
                minted = hub.get_access_token(
                    installation, _CLONE_PERMISSIONS if for_clone else None
                )
            until = min(minted.expires_at.timestamp(), self._clock() + TOKEN_LIFETIME)
            kept = self._tokens[installation, for_clone] = _InstallationToken(minted.token, until)
        return kept.text

    @contextmanager
    def _app_connection(self, description: str) -> Iterator[GithubIntegration]:
        """A connection as the App itself, for a moment; a refusal names the key and the clock, which it is due to."""
        from github import GithubIntegration

        try:
            with (
                translate_errors(description),
                GithubIntegration(
                    auth=self._current_app_auth(), **connection_settings(self.url)
                ) as hub,
            ):
                yield hub
        except DeniedError as error:
            self._signed = None  # perhaps it was dated by a clock that is right by now
            hint = f"is {self.app_id} the App's id, its private key not revoked, this clock right, the App not suspended?"
            raise UnauthenticatedError(
                f"{error.message}{_clock_skew_text(error)}", hint=hint
            ) from error

    def _current_app_auth(self) -> AppAuth:
        key, now = self._key(), self._clock()
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
        """The login that our statuses bear as their creator."""
        self._me = self._me or self._app.bot_login()
        return self._me

    def rate_limit_account(self, repository: Repository) -> str:
        """Its owner: an installation, whose limits are its own."""
        return _account_name(repository.name)

    def list_repositories(self) -> list[Repository]:
        """Every repository of every installation; of one that lets nobody ask (now), none: the others go on."""
        found: list[Repository] = []
        for account in self._app.list_installations():
            try:
                with translate_errors(f"the repositories of {account}"):
                    found += self._account_repositories(account)
            except (UserError, RateLimitError) as error:  # limits are each installation's own
                log.warning(
                    "an installation is left out", extra={"account": account, "why": str(error)}
                )
        return found

    def remaining_requests(self) -> int | None:
        """None: each installation has limits of its own. Raises as ``Forge.remaining`` does."""
        self._app.bot_login()
        return None

    def _account_repositories(self, account: str) -> list[Repository]:
        def parse_repository(data: dict[str, Any]) -> Repository | None:
            return None if data["archived"] else self._repository_from_json(data)

        requester = self._thread_connection(account).requester
        listed = self._answers.pages(
            requester,
            "/installation/repositories",
            parse_repository,
            item="repositories",
            whose=account,
        )
        return [one for one in listed if one is not None]

    def _thread_connection(self, name: str = "") -> Github:
        """This thread's connection for an account: all its repositories share the installation."""
        self._app.installation_token(
            name
        )  # asked by that repository's own name, by which its installation is found
        if not hasattr(self._local, "hubs"):
            self._local.hubs = {}
        hubs: dict[str, Github] = self._local.hubs
        if _account_name(name) not in hubs:
            hubs[_account_name(name)] = connect_github(
                self.url, partial(self._app.installation_token, name)
            )
        return hubs[_account_name(name)]


def create_app_auth(app_id: int, pem: str) -> AppAuth:
    """One signature as the App. Raises ``DeniedError`` where the key is none; no part of it is ever shown."""
    from github import Auth

    signing = Auth.AppAuth(app_id, pem or " ", jwt_expiry=JWT_LIFETIMES[0])
    try:
        signed = signing.create_jwt()
    except Exception:  # whatever signing trips over, it is the key: nothing else goes into it
        hint = "it is the .pem file that GitHub gave when the key was made, whole and without a passphrase"
        raise UnauthenticatedError(
            "the App's private key is no RSA private key", hint=hint
        ) from None

    class PresignedAppAuth(Auth.AppAuth):
        """As PyGithub wants it, which would sign anew for each request."""

        @property
        def token(self) -> str:
            return signed

    return PresignedAppAuth(app_id, pem)


def _parse_installation(data: dict[str, Any]) -> tuple[str, int, bool]:
    """Of an installation: account, id, whether it is of no use: suspended, or of nobody who has repositories."""
    login = (data["account"] or {}).get(
        "login", ""
    )  # an enterprise has none, and an account that is gone is null
    return login, data["id"], bool(data.get("suspended_at")) or not login


def _clock_skew_text(error: DeniedError) -> str:
    """A word on our clock, where the forge's answer shows that it is off: a JWT is good for minutes."""
    headers = getattr(error.__cause__, "headers", None) or {}
    try:
        skew = time.time() - parsedate_to_datetime(headers.get("date", "")).timestamp()
    except (ValueError, TypeError):
        return ""
    side = "ahead of" if skew > 0 else "behind"
    return (
        f"; this clock is {abs(skew):.0f} s {side} the forge's"
        if abs(skew) > CLOCK_SKEW_MAX
        else ""
    )


def _account_name(name: str) -> str:
    return name.partition("/")[0].lower()
