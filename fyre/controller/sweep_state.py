"""Remember what is swept, so that nothing is planned twice."""

from __future__ import annotations

import threading
from collections.abc import Collection, Hashable
from dataclasses import dataclass

from cachetools import FIFOCache

from fyre.github.client import RefUpdate, RefUpdates
from fyre.github.webhook import BRANCH_PREFIX, MERGE_QUEUE_PREFIX
from fyre.runs.run import ZERO_SHA

LISTING_DELAY = 60.0
"""Seconds by which an update may appear in GitHub's list after a newer one."""

PROCESSED_MAX = 10_000
"""Pushes that are remembered: more than come between two sweeps."""


@dataclass(frozen=True, slots=True)
class SweepCursor:
    """The point up to which a repository is swept.

    Everything before ``since`` (seconds since the epoch) is done, and ``done`` after it.
    """

    since: float = 0.0
    done: frozenset[RefUpdate] = frozenset()
    etag: str = ""  # of a response of which nothing is left to do: only that may become a 304

    def advance(self, listed: RefUpdates, failed: Collection[RefUpdate]) -> SweepCursor:
        """Return the cursor after a response, of which ``failed`` is to be planned again. Pure.

        Recent updates that are done are remembered, since more of that time may come, and of the
        newest second in any case.
        """
        if not listed.updates:
            return SweepCursor(self.since, self.done, listed.etag)
        newest = max(update.timestamp for update in listed.updates)
        since = max(self.since, newest - LISTING_DELAY)
        since = min(since, *(update.timestamp for update in failed)) if failed else since
        recent = frozenset(update for update in listed.updates if update.timestamp >= since)
        return SweepCursor(since, recent - frozenset(failed), "" if failed else listed.etag)


class ProcessedPushes:
    """The newest pushes that were processed to the end, so that a sweep can skip them.

    Thread-safe.
    """

    def __init__(self, maxsize: int = PROCESSED_MAX) -> None:
        self._idents: FIFOCache[Hashable, None] = FIFOCache(maxsize)
        self._lock = threading.Lock()

    def __contains__(self, ident: Hashable) -> bool:
        with self._lock:
            return ident in self._idents

    def mark(self, ident: Hashable) -> None:
        """Remember one more push, and forget the oldest where there are too many."""
        with self._lock:
            self._idents[ident] = None


def can_launch(update: RefUpdate) -> bool:
    """Return True if a ref update is a push that can launch anything."""
    is_branch = update.ref.startswith(BRANCH_PREFIX)
    return is_branch and not update.ref.startswith(MERGE_QUEUE_PREFIX) and update.after != ZERO_SHA
