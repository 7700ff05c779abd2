"""Answers of the forge that hold for a while, so that it is not asked twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import cachetools

T = TypeVar("T")


class TTLCache:
    """At most ``maxsize`` answers, each for ``ttl`` seconds; an error is no answer. Not thread-safe.

    Where there is no room, the answer that was not used for longest goes first.
    """

    def __init__(
        self, ttl: float, maxsize: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache: cachetools.TTLCache[Hashable, Any] = cachetools.TTLCache(maxsize, ttl, clock)

    def __len__(self) -> int:
        return len(self._cache)

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the answer that is kept, else what ``ask`` returns. Raises what ``ask`` raises."""
        try:
            kept: T = self._cache[key]
        except KeyError:
            kept = self._cache[key] = ask()
        return kept
