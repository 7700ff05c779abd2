"""Ask conditionally: a request that names the last answer gets a 304 if it still holds, for free.

GitHub's facts: a 304 counts against no limit; an ETag holds for one page and for one token, so that
the first response after a token's renewal is a whole one; a 304 has no ``Link``, and an ETag does
not cover whether there is a next page. So pages are asked for by number, until one is not full.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import FIFOCache

from fyre.github import listings

if TYPE_CHECKING:
    from github.Requester import Requester

T = TypeVar("T")

PER_PAGE = 100
"""Entries of a full page: the most that GitHub gives."""

CACHED_MAX = 1000
"""Responses that are kept."""


def get_if_changed(
    requester: Requester, path: str, etag: str
) -> tuple[str, dict[str, Any], Any] | None:
    """Return the ETag, the headers and the JSON at a path of the API.

    Returns None if ``etag`` still names the response. Raises what PyGithub raises; ``ValueError``
    for a response without a body.
    """
    # PyGithub takes a 304 for a response like any other, without a body; no forge's JSON is null.
    headers, data = requester.requestJsonAndCheck(
        "GET", path, headers={"If-None-Match": etag} if etag else {}
    )
    if data is not None:
        return str(headers.get("etag", "")), headers, data
    if not etag:
        raise ValueError("a response without a body")
    return None


@dataclass
class ETagCache:
    """The last responses as they were parsed, each with its ETag: at most ``CACHED_MAX``.

    Thread-safe.
    """

    _cache: FIFOCache[tuple[str, str], tuple[str, Any]] = field(
        default_factory=lambda: FIFOCache(CACHED_MAX)
    )
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get_cached(
        self, requester: Requester, path: str, parse: Callable[[Any], T], owner: str = ""
    ) -> T:
        """Return what ``parse`` makes of the response, now or when it last changed.

        ``owner`` tells equal paths apart.
        """
        with self._lock:
            etag, cached = self._cache.get((owner, path), ("", None))
        response = get_if_changed(requester, path, etag)
        if response is None:
            unchanged: T = cached
            return unchanged
        parsed = parse(response[2])
        with self._lock:
            self._cache[owner, path] = response[0], parsed
        return parsed

    def list_cached(
        self,
        requester: Requester,
        path: str,
        parse: Callable[[Any], T],
        *,
        entries_key: str = "",
        owner: str = "",
    ) -> list[T]:
        """Return every entry of a listing that can be read, parsed.

        ``entries_key`` is the key of a response that holds its entries.
        """

        def parse_page(data: Any) -> tuple[int, list[T]]:  # noqa: ANN401 - what JSON holds
            page = data[entries_key] if entries_key else data
            return len(page), list(listings.parse_readable(path, page, parse))

        entries: list[T] = []
        for number in range(1, listings.PAGES_MAX + 1):
            page_path = f"{path}?per_page={PER_PAGE}&page={number}"
            size, page = self.get_cached(requester, page_path, parse_page, owner)
            entries += page
            if size != PER_PAGE:  # the last page, or that of a forge without pages
                break
        return entries
