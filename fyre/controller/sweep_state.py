"""How far a repository is swept: which of the forge's answers need not be planned again."""

from __future__ import annotations

from collections.abc import Collection, Hashable
from dataclasses import dataclass

from cachetools import FIFOCache

from fyre.github.client import RefUpdate, RefUpdates

LATE = 60.0
"""Seconds that an update may come to the forge's list after a newer one."""

PROCESSED_MAX = 10_000
"""Pushes that are remembered: more than come between two sweeps."""


@dataclass(frozen=True, slots=True)
class SweepCursor:
    """Everything before ``since`` (seconds since the epoch) is dealt with, and ``done`` after it."""

    since: float = 0.0
    done: frozenset[RefUpdate] = frozenset()
    tag: str = ""  # of an answer of which nothing is left to do: only that one may be a 304

    def advance(self, seen: RefUpdates, failed: Collection[RefUpdate]) -> SweepCursor:
        """Return the cursor after an answer, of which ``failed`` is to be planned again. Pure.

        What was done lately is remembered: more may come of that time, and of the newest second in
        any case.
        """
        if not seen.updates:
            return SweepCursor(self.since, self.done, seen.etag)
        since = max(self.since, max(one.timestamp for one in seen.updates) - LATE)
        since = min(since, *(one.timestamp for one in failed)) if failed else since
        done = frozenset(one for one in seen.updates if one.timestamp >= since) - frozenset(failed)
        return SweepCursor(since, done, "" if failed else seen.etag)


class ProcessedPushes:
    """The newest pushes that were dealt with to the end: a sweep need not ask about them again."""

    def __init__(self, most: int = PROCESSED_MAX) -> None:
        self._known: FIFOCache[Hashable, None] = FIFOCache(most)

    def __contains__(self, ident: Hashable) -> bool:
        return ident in self._known

    def mark(self, ident: Hashable) -> None:
        """Remember one more; the oldest is forgotten where there are too many."""
        self._known[ident] = None
