"""Work on repositories in a fixed number of threads, each of which has one repository's turn."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from fyre.controller.repository_turns import RepositoryTurns, Urgency

T = TypeVar("T")

log = logging.getLogger(__name__)

WORKERS = 16
"""Threads that work on repositories: so many may wait for git servers that do not answer."""

OVERTAKING_WORKERS = 2
"""Threads that work on what waits for no turn."""

STOP_TIMEOUT = 2.0
"""Seconds for which a stop waits for what is being worked on. What takes longer is cut off, as by
a ``kill -9``, and found by the next start."""


class WorkerPool(Generic[T]):
    """Threads that work on items in their repositories' turns.

    ``work`` is called with each item in its turn, ``work_overtaking`` with each that waits for
    none. What either raises is logged, and costs nothing but that item.
    """

    def __init__(self, work: Callable[[T], object], work_overtaking: Callable[[T], object]) -> None:
        self._turns = RepositoryTurns[T]()
        self._work, self._work_overtaking = work, work_overtaking
        self._threads: list[threading.Thread] = []

    def __len__(self) -> int:
        """Return the number of items that wait or are being worked on."""
        return len(self._turns)

    def __contains__(self, key: Hashable) -> bool:
        """Return True if anything of a repository waits or is being worked on."""
        return key in self._turns

    def start(self) -> None:
        """Start the threads."""
        loops = [self._turn_loop] * WORKERS + [self._overtaking_loop] * OVERTAKING_WORKERS
        for number, loop in enumerate(loops):
            thread = threading.Thread(target=loop, name=f"worker-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Take nothing more, and wait for a while for what is being worked on."""
        self._turns.close()
        deadline = time.monotonic() + STOP_TIMEOUT
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if cut_off := sum(thread.is_alive() for thread in self._threads):
            log.warning("stopped while %d answers were waited for: see the next start", cut_off)

    def put(self, key: Hashable, item: T, urgency: Urgency = Urgency.SOON) -> bool:
        """Add an item behind those of its repository; return True if its turn comes at once."""
        return self._turns.put(key, item, urgency)

    def put_overtaking(self, item: T) -> None:
        """Add an item that waits for no turn."""
        self._turns.put_overtaking(item)

    def _turn_loop(self) -> None:
        while (turn := self._turns.take()) is not None:
            key, item = turn
            try:
                _run_guarded(self._work, item)
            finally:
                self._turns.end_turn(key)

    def _overtaking_loop(self) -> None:
        while (item := self._turns.take_overtaking()) is not None:
            _run_guarded(self._work_overtaking, item)


def _run_guarded(work: Callable[[T], object], item: T) -> None:
    """Work on an item; a bug met by one item keeps no thread from the next."""
    try:
        work(item)
    except Exception:
        log.exception("unexpected error in a worker of the controller")
