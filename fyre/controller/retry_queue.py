"""The queue of events to try again: pauses double, and after a day an event is given up."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

from fyre.backoff import Backoff
from fyre.delay_queue import DelayQueue
from fyre.errors import TransientError
from fyre.github import rate_limit
from fyre.github.errors import NEEDS_OPERATOR, RateLimitError
from fyre.github.webhook import PushEvent

log = logging.getLogger(__name__)

RETRY = Backoff(0.5, 60.0)
"""Pauses before something that failed is tried again."""

MENDED = Backoff(0.5, 600.0)
"""The same where somebody has to mend something first."""

LASTS = 24 * 3600.0
"""Seconds after which an event is given up; a start later than that would not look for it either."""

FAILURES = (TransientError, *NEEDS_OPERATOR)
"""Errors that pass, or that somebody can mend."""


@dataclass(frozen=True, slots=True)
class RetryItem:
    """An event to be processed. ``shas`` are what is left of a push; None for all that it has."""

    event: Hashable
    at: float = 0.0  # seconds since the epoch: when that was, or was told of
    shas: tuple[str, ...] | None = None
    pause: float = 0.0  # seconds that were waited before this try; 0 before the first
    since: float = math.nan  # on the clock: when it failed first

    @property
    def ident(self) -> Hashable:
        """The event's identity: for a push the same whether a webhook or a sweep told of it.

        Somebody else's push of the same commits is another one: they may do more.
        """
        one = self.event
        if not isinstance(one, PushEvent):
            return one
        return (one.repository.id, one.ref, one.before, one.after, one.actor)


@dataclass
class RetryQueue:
    """What failed and waits for its next try. Belongs to one thread."""

    clock: Callable[[], float] = time.monotonic
    max_age_operator: float = LASTS  # seconds to wait for somebody to mend something
    last_dropped: Exception | None = None  # why an event was given up, the last time
    _waiting: DelayQueue[RetryItem] = field(default_factory=DelayQueue)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def next_due(self) -> float:
        """When the next one is due, on the clock; infinity where none waits."""
        return self._waiting.next_due

    def pop(self) -> RetryItem:
        """Remove and return the next one, due or not."""
        return self._waiting.pop()

    def push(self, failed: RetryItem, error: Exception) -> None:
        """Have something tried again, unless it waits already, or has failed for too long.

        It is logged once as a warning, and each further time for debugging.
        """
        now = self.clock()
        since = now if math.isnan(failed.since) else failed.since
        passes = isinstance(error, TransientError)
        if now - since >= (LASTS if passes else self.max_age_operator):
            log.warning("given up after %.0f h: %s", (now - since) / 3600, error)
            self.last_dropped = error
            return
        log.log(logging.DEBUG if failed.pause else logging.WARNING, "tried again later: %s", error)
        pause = (RETRY if passes else MENDED).after(failed.pause)
        due = now + max(pause, _rate_limit_delay(error))
        self._waiting.push(failed.ident, replace(failed, pause=pause, since=since), due)


def _rate_limit_delay(error: Exception) -> float:
    """Return the seconds for which asking again would only make things worse."""
    if not isinstance(error, RateLimitError):
        return 0.0
    told = error.headers
    seconds = told.retry_after
    if seconds is None and told.remaining == 0:
        seconds = told.reset_after
    return min(rate_limit.DEFAULT_WAIT if seconds is None else seconds, rate_limit.WAIT_MAX)
