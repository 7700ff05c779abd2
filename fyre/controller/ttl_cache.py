"""Cache answers of GitHub for a while, so that it is not asked twice."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Any, TypeVar

import cachetools

T = TypeVar("T")


class TTLCache:
    """At most ``maxsize`` answers, each for ``ttl`` seconds. Thread-safe.

    An error is not cached. Where there is no room, the least recently used answer goes first. Two
    threads may ask at once for the same: none waits for an answer that another one asked for.
    """

    def __init__(
        self, ttl: float, maxsize: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._cache: cachetools.TTLCache[Hashable, Any] = cachetools.TTLCache(maxsize, ttl, clock)
        self._lock = threading.Lock()

    def __len__(self) -> int:
        with self._lock:
            return len(self._cache)

    def __contains__(self, key: Hashable) -> bool:
        with self._lock:
            return key in self._cache

    def get(self, key: Hashable, ask: Callable[[], T]) -> T:
        """Return the cached answer, else the one of ``ask``. Raises what ``ask`` raises."""
        with self._lock, suppress(KeyError):
            cached: T = self._cache[key]
            return cached
        answer = ask()
        with self._lock:
            self._cache[key] = answer
        return answer
