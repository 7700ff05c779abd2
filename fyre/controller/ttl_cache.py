"""Cache answers of GitHub for a while, so that it is not asked twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import cachetools

T = TypeVar("T")


class TTLCache:
    """At most ``maxsize`` answers, each for ``ttl`` seconds. Not thread-safe.

    An error is not cached. Where there is no room, the least recently used answer goes first.
    """

    def __init__(
        self, ttl: float, maxsize: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache: cachetools.TTLCache[Hashable, Any] = cachetools.TTLCache(maxsize, ttl, clock)

    def __len__(self) -> int:
        return len(self._cache)

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the cached answer, else the one of ``ask``. Raises what ``ask`` raises."""
        try:
            answer: T = self._cache[key]
        except KeyError:
            answer = self._cache[key] = ask()
        return answer
