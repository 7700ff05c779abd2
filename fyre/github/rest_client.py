"""Raw requests to a forge's REST API through one token, with a connection for each thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from fyre.github import etag_cache, listings, pygithub_session
from fyre.github.errors import NotFoundError, translate_errors
from fyre.github.listings import EndlessListingError
from fyre.runs.run import Repository

if TYPE_CHECKING:
    from github import Github


class RestClient:
    """JSON from one forge through one token. Thread-safe: each thread has its own connection."""

    def __init__(
        self, url: str, token: Callable[[], str], renew: Callable[[str], bool] = lambda _: False
    ) -> None:
        """Set up a client for the API at ``url``, such as ``https://api.github.com``.

        ``token`` is called before each request, ``renew`` with one that was refused: it returns
        True if there is another.
        """
        self.url = url.rstrip("/")
        self._token, self._renew = token, renew
        self._local = threading.local()

    def get_json(self, description: str, repository: Repository, path: str) -> Any:  # noqa: ANN401 - what JSON holds
        """Return the JSON at a path of the API, for which PyGithub has no call.

        ``description`` names the question in errors.
        """
        with translate_errors(description):
            _, data = self._thread_connection(repository.name).requester.requestJsonAndCheck(
                "GET", path
            )
            return data

    def get_json_if_changed(
        self, description: str, repository: Repository, path: str, etag: str
    ) -> tuple[str, dict[str, Any], Any] | None:
        """Return the ETag, the headers and the JSON at a path.

        None if ``etag`` still names the response, which costs nothing.
        """
        with translate_errors(description):
            return etag_cache.get_if_changed(
                self._thread_connection(repository.name).requester, path, etag
            )

    def get_all_entries(
        self, description: str, repository: Repository, path: str
    ) -> list[dict[str, Any]]:
        """Return all entries of a listing."""
        with translate_errors(description):
            headers, data = self._thread_connection(repository.name).requester.requestJsonAndCheck(
                "GET", path
            )
            return list(self._follow_pages(repository.name, path, headers, data))

    def remaining_requests(self) -> int | None:
        """Return how many requests the primary limit has left; None without one. Asking costs none.

        Raises ``TransientError`` if the forge can't be reached, ``DeniedError`` if it does not know
        the token.
        """
        try:
            with translate_errors("the forge's rate limit"):
                _, data = self._thread_connection().requester.requestJsonAndCheck(
                    "GET", "/rate_limit"
                )
                return int(data["resources"]["core"]["remaining"])
        except NotFoundError:  # GitHub Enterprise Server, where limits are off
            return None

    def _follow_pages(
        self,
        name: str,
        path: str,
        headers: dict[str, Any],
        data: Any,  # noqa: ANN401 - what JSON holds
    ) -> Iterator[dict[str, Any]]:
        """Yield the entries of a repository's listing from the page at ``path`` on.

        The next page is that of ``Link: …; rel="next"``. Raises ``EndlessListingError`` after the
        entries of the last page that may be asked for.
        """
        began_at, seen = time.monotonic(), {path}
        while True:
            if not isinstance(data, list):
                raise ValueError("a page that is no list")  # noqa: TRY004 - not a caller's mistake
            yield from data
            url = _next_page(headers)
            if url is None:
                return
            page = url.removeprefix(self.url)
            is_late = time.monotonic() - began_at > listings.LISTING_SECONDS
            if page in seen or len(seen) >= listings.PAGES_MAX or is_late:
                raise EndlessListingError(f"the pages of {name} come to no end")
            seen.add(page)
            headers, data = self._thread_connection(name).requester.requestJsonAndCheck("GET", url)

    def _thread_connection(self, name: str = "") -> Github:
        """Return this thread's connection.

        ``name`` is the repository that it is for, in case that makes a difference.
        """
        del name
        if not hasattr(self._local, "connection"):
            self._local.connection = pygithub_session.connect_github(
                self.url, self._token, self._renew
            )
        connection: Github = self._local.connection
        return connection


def _next_page(headers: dict[str, Any]) -> str | None:
    """Return the URL of the page after that with these headers; None after the last one."""
    from requests.utils import parse_header_links

    links = parse_header_links(headers.get("link", ""))
    return next((link["url"] for link in links if link.get("rel") == "next"), None)
