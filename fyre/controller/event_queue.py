"""Queue the controller's events: ends of runs are processed when no other event waits."""

from __future__ import annotations

import queue
from itertools import count
from typing import Generic, TypeVar

from fyre.controller.events import RunEndEvent

E = TypeVar("E")


class EventQueue(Generic[E]):
    """Events in the order in which they came, with the ends of runs behind all others.

    A push that waits behind 500 ends would start late; an end that waits behind a push delays
    nothing that somebody looks at, since its status is posted by the reporter. Ends wait only while
    the loop can't keep up with pushes, and the next start asks what they ask. Thread-safe.
    """

    def __init__(self) -> None:
        # The number keeps the order, and no two events are ever compared.
        self._waiting = queue.PriorityQueue[tuple[bool, int, E]]()
        self._numbers = count()

    def __len__(self) -> int:
        return self._waiting.qsize()

    def put(self, event: E) -> None:
        """Add an event, and return at once."""
        self._waiting.put((isinstance(event, RunEndEvent), next(self._numbers), event))

    def get(self, timeout: float) -> E:
        """Remove and return the next event. Raises ``queue.Empty`` after ``timeout`` seconds."""
        return self._waiting.get(timeout=timeout)[2]
