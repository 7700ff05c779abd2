"""Items that wait until they are due, one for each key: the part that all retry queues share. Pure.

client-go's ``workqueue`` is built in the same way: its rate limiting queue adds to its delaying
queue.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Hashable, Iterator
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


class DelayQueue(Generic[T]):
    """A heap by due time, in seconds on the caller's clock. Not thread-safe."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Hashable, T]] = []
        self._keys: set[Hashable] = set()
        self._numbers = count()  # of two that are due at once, the earlier goes first

    def __len__(self) -> int:
        return len(self._heap)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    @property
    def next_due(self) -> float:
        """The time at which the first item is due; infinity if none waits."""
        return self._heap[0][0] if self._heap else math.inf

    def push(self, key: Hashable, item: T, due: float) -> bool:
        """Add an item; return False, and leave it out, if one with that key waits already."""
        if key in self._keys:
            return False
        self._keys.add(key)
        heapq.heappush(self._heap, (due, next(self._numbers), key, item))
        return True

    def pop(self) -> T:
        """Remove and return the first item, due or not. Raises ``IndexError`` if none waits."""
        _, _, key, item = heapq.heappop(self._heap)
        self._keys.discard(key)
        return item

    def pop_due(self, now: float) -> Iterator[T]:
        """Remove and yield the items that are due."""
        while self.next_due <= now:
            yield self.pop()
