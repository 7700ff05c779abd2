"""Asking conditionally: who names the answer that they have hears 304 where it still holds, which costs nothing.

GitHub's facts: a 304 counts against no limit; an ETag holds for one page and for one token, so that the first answer
after a token's renewal is a whole one; a 304 has no ``Link``, and whether there is a next page is no part of an ETag.
So pages are asked for by number, until one is not full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from cachetools import FIFOCache

if TYPE_CHECKING:
    from github.Requester import Requester

T = TypeVar("T")

PER_PAGE = 100
"""Entries of a full page: the most that GitHub gives."""

PAGES_MAX = 1000
"""Pages of a listing that are asked for: 100,000 repositories."""

CACHED_MAX = 1000
"""Answers that are kept."""


def get_if_changed(
    requester: Requester, path: str, etag: str
) -> tuple[str, dict[str, Any], Any] | None:
    """What a path of the API answers: its tag, headers and JSON; None where it is what ``tag`` names.

    Raises what PyGithub raises; ``ValueError`` for an answer without a body.
    """
    # PyGithub takes a 304 for an answer like any other, without a body; no JSON of a forge's is null.
    headers, data = requester.requestJsonAndCheck(
        "GET", path, headers={"If-None-Match": etag} if etag else {}
    )
    if data is not None:
        return str(headers.get("etag", "")), headers, data
    if not etag:
        raise ValueError("an answer without a body")
    return None


@dataclass
class ETagCache:
    """What was answered last, as far as it was read: at most ``KEPT_MAX`` answers, each with its tag."""

    _kept: FIFOCache[tuple[str, str], tuple[str, Any]] = field(
        default_factory=lambda: FIFOCache(CACHED_MAX)
    )

    def get(self, requester: Requester, path: str, read: Callable[[Any], T], whose: str = "") -> T:
        """What ``read`` makes of the answer, now or when it last changed; ``whose`` tells equal paths apart."""
        tag, known = self._kept.get((whose, path), ("", None))
        answer = get_if_changed(requester, path, tag)
        if answer is None:
            same: T = known
            return same
        found = read(answer[2])
        self._kept[whose, path] = answer[0], found
        return found

    def pages(
        self,
        requester: Requester,
        path: str,
        read: Callable[[Any], T],
        *,
        item: str = "",
        whose: str = "",
    ) -> list[T]:
        """Every entry of a listing, read; ``item`` is under which key of an answer its entries are."""

        def read_all(data: Any) -> list[T]:  # noqa: ANN401 - what JSON holds
            return [read(one) for one in (data[item] if item else data)]

        found: list[T] = []
        for number in range(1, PAGES_MAX + 1):
            page = self.get(requester, f"{path}?per_page={PER_PAGE}&page={number}", read_all, whose)
            found += page
            if len(page) != PER_PAGE:  # the last one, or of a forge that knows no pages
                break
        return found
