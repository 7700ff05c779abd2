"""Queue events to try again: pauses double, and after a day an event is given up."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace

from fyre.backoff import Backoff
from fyre.controller.events import ControllerEvent, RunEndEvent
from fyre.controller.launch_delays import CommitKey
from fyre.delay_queue import DelayQueue
from fyre.errors import TransientError
from fyre.github.errors import NEEDS_OPERATOR, RateLimitError
from fyre.github.webhook import PushEvent

log = logging.getLogger(__name__)

RETRY_BACKOFF = Backoff(0.5, 60.0)
"""Pauses before an event that failed is tried again."""

OPERATOR_BACKOFF = Backoff(0.5, 600.0)
"""The same where somebody has to fix something first."""

RETRY_PERIOD = 24 * 3600.0
"""Seconds after which an event is given up; the sweep of a later start would not look for it
either."""

FAILURES = (TransientError, *NEEDS_OPERATOR)
"""Errors that pass, or that somebody can fix."""


@dataclass(frozen=True, slots=True)
class RetryItem:
    """An event to be processed."""

    event: ControllerEvent
    at: float = 0.0  # seconds since the epoch: when it happened, or was reported
    shas: tuple[str, ...] | None = None  # the commits of a push that are left; None for all
    pause: float = 0.0  # seconds that were waited before this try; 0 before the first
    since: float = math.nan  # on the clock: when it failed first

    @property
    def ident(self) -> Hashable:
        """The event's identity: for a push the same whether a webhook or a sweep reported it.

        The same push by somebody else is another one: that person may be allowed more. Of a
        commit's ends one is tried again: each would plan the same.
        """
        match self.event:
            case PushEvent() as push:
                return (push.repository.id, push.ref, push.before, push.after, push.actor)
            case RunEndEvent() as ended:
                return (ended.repository.id, ended.sha)
            case event:
                return event

    @property
    def commits_left(self) -> tuple[CommitKey, ...]:
        """The commits that are still to be planned, as far as they are known."""
        match self.event:
            case PushEvent(repository=repository):
                return tuple((repository.id, sha) for sha in self.shas or ())
            case RunEndEvent() as ended:
                return ((ended.repository.id, ended.sha),)
        return ()


@dataclass
class RetryQueue:
    """The events that failed and wait for their next try. Thread-safe."""

    clock: Callable[[], float] = time.monotonic
    max_age_operator: float = RETRY_PERIOD  # seconds to wait for somebody to fix something
    last_dropped: Exception | None = None  # why an event was given up, the last time
    _waiting: DelayQueue[RetryItem] = field(default_factory=DelayQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __len__(self) -> int:
        with self._lock:
            return len(self._waiting)

    @property
    def next_due(self) -> float:
        """The time at which the next event is due, on the clock; infinity where none waits."""
        with self._lock:
            return self._waiting.next_due

    def pop(self) -> RetryItem:
        """Remove and return the next event, due or not."""
        with self._lock:
            return self._waiting.pop()

    def push(self, failed: RetryItem, error: Exception) -> bool:
        """Add an event to be tried again, unless it waits already.

        Its first failure is logged as a warning, each further one for debugging. Return False if
        it has failed for too long, and is given up.
        """
        now = self.clock()
        since = now if math.isnan(failed.since) else failed.since
        is_transient = isinstance(error, TransientError)
        if now - since >= (RETRY_PERIOD if is_transient else self.max_age_operator):
            log.warning("given up after %.0f h: %s", (now - since) / 3600, error)
            self.last_dropped = error
            return False
        log.log(logging.DEBUG if failed.pause else logging.WARNING, "tried again later: %s", error)
        pause = (RETRY_BACKOFF if is_transient else OPERATOR_BACKOFF).after(failed.pause)
        limited_for = error.headers.wait if isinstance(error, RateLimitError) else 0.0
        due = now + max(pause, limited_for)
        with self._lock:
            self._waiting.push(failed.ident, replace(failed, pause=pause, since=since), due)
        return True
