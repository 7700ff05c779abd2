"""What is tried again: each thing waits once, the pauses double, and what nobody mends in a day is given up."""

from __future__ import annotations

import heapq
import logging
import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from itertools import count

from fyre import pacing
from fyre.errors import TryAgainError
from fyre.failures import MENDABLE, LimitedError
from fyre.receiver.webhook import Push

log = logging.getLogger(__name__)

RETRY = (0.5, 60.0)
"""Seconds until something that failed is tried again: the first time, and at most."""

MENDED = 600.0
"""The longest pause where somebody has to mend something first."""

LASTS = 24 * 3600.0
"""Seconds after which it is given up; a start later than that would not look for it either."""

FAILURES = (TryAgainError, *MENDABLE)
"""What passes, or is mended by somebody."""


@dataclass(frozen=True, slots=True)
class Again:
    """Something to be dealt with. ``shas`` are what is left of a push; None for all that it has."""

    event: Hashable
    at: float = 0.0  # seconds since the epoch: when that was, or was told of
    shas: tuple[str, ...] | None = None
    pause: float = 0.0  # seconds that were waited before this try; 0 before the first
    since: float = math.nan  # on the clock: when it failed first

    @property
    def ident(self) -> Hashable:
        """The same for a push whether a webhook or a sweep told of it; another's is another: they may do more."""
        one = self.event
        return (one.repository.id, one.ref, one.before, one.after, one.actor) if isinstance(one, Push) else one


@dataclass
class Later:
    """The queue of what failed. ``mendable`` is in seconds: how long to wait for somebody to mend something."""

    clock: Callable[[], float] = time.monotonic
    mendable: float = LASTS
    given_up: Exception | None = None  # why, the last time
    _waiting: list[tuple[float, int, Again]] = field(default_factory=list)
    _there: set[Hashable] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=count)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def due(self) -> float:
        """When the next one is due, on the clock; infinity where none waits."""
        return self._waiting[0][0] if self._waiting else math.inf

    def pop(self) -> Again:
        """The next one, due or not."""
        again = heapq.heappop(self._waiting)[2]
        self._there.discard(again.ident)
        return again

    def put(self, failed: Again, error: Exception) -> None:
        """Have something tried again, unless it waits already, or has for long enough. A line says so once."""
        now = self.clock()
        since = now if math.isnan(failed.since) else failed.since
        if now - since >= (LASTS if isinstance(error, TryAgainError) else self.mendable):
            log.warning("given up after %.0f h: %s", (now - since) / 3600, error)
            self.given_up = error
            return
        log.log(logging.DEBUG if failed.pause else logging.WARNING, "tried again later: %s", error)
        if failed.ident in self._there:
            return
        most = RETRY[1] if isinstance(error, TryAgainError) else MENDED
        pause = min(failed.pause * 2, most) if failed.pause else RETRY[0]
        wait = max(pause, _until_the_limit(error))
        self._there.add(failed.ident)
        again = replace(failed, pause=pause, since=since)
        heapq.heappush(self._waiting, (now + wait, next(self._numbers), again))


def _until_the_limit(error: Exception) -> float:
    """Seconds for which asking again would only make things worse."""
    if not isinstance(error, LimitedError):
        return 0.0
    told = error.told
    said = told.retry_after if told.retry_after is not None else told.reset if told.remaining == 0 else None
    return min(pacing.BARE if said is None else said, pacing.LONGEST)
