"""Priority queue of writes: final states, then writes without a run record, then pending states.

A pending state gives way: it may not take the room that the final states of unfinished runs will
need within the longest window of the rate limit. So under pressure it is never posted, and no final
state waits for it. A repository whose writes fail waits alone, and goes behind the others then.
Rate limits are those of an account: each account has a queue of its own.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from fyre.backoff import Backoff
from fyre.github.rate_limit import RateLimitHeaders, WriteBudget
from fyre.reporter.write_identity import RecordStatusWrite, WriteId

log = logging.getLogger(__name__)

_RECHECK_INTERVAL = 60.0
"""Seconds after which a write without room is looked at again: by then unfinished runs are older,
and have fewer final states reserved."""

_INITIAL_BUDGET = WriteBudget()


_BEHIND_SECONDS = 300.0
"""Seconds after its pause for which a repository that failed lets the others go first: each try may
take as long as a request has. Then it has its turn, however many are waiting."""


class Priority(IntEnum):
    """The order of writes; the lowest goes first."""

    FINAL = 0
    UNRECORDED = 1
    OPTIONAL = 2


@dataclass(frozen=True, slots=True)
class RepositoryPause:
    """Until when a repository, or one write, is left alone, on the clock; for how many seconds."""

    until: float
    delay: float


Backoffs = dict[int | WriteId, RepositoryPause]
"""By the repository's id, or by the one write that waits."""


class AccountQueue:
    """The writes that wait for one account, within its own budget."""

    def __init__(self, budget: WriteBudget) -> None:
        self.budget = budget
        self.last_turn = 0  # the number of its last turn
        self.waiting: dict[Priority, dict[WriteId, int]] = {priority: {} for priority in Priority}
        """The repository's id of each write that waits, in the order in which they came."""

        self.unfinished: dict[RecordStatusWrite, float] = {}
        """Runs that have not ended, and since when that is known, on the clock."""

    def select_priority(self, now: float, backoffs: Backoffs) -> tuple[Priority | None, float]:
        """Return the priority that is next, and when; or None, and when to look again."""
        wakes = (pause.until for pause in backoffs.values() if pause.until > now)
        next_wake = min(wakes, default=math.inf)
        for priority in (Priority.FINAL, Priority.UNRECORDED):
            if self.first_ready(priority, now, backoffs) is not None:
                return priority, self.budget.next_write_at()
        if self.first_ready(Priority.OPTIONAL, now, backoffs) is None:
            return None, next_wake
        write_at = self.budget.next_write_at(reserve=self._expected_final_writes(now))
        if write_at <= now:
            return Priority.OPTIONAL, write_at
        return None, min(write_at, next_wake, now + _RECHECK_INTERVAL)

    def first_ready(self, priority: Priority, now: float, backoffs: Backoffs) -> WriteId | None:
        """Return the write of a priority that waits longest and whose repository is not paused.

        One whose repository failed last goes behind the others for a while.
        """
        behind: WriteId | None = None
        for write_id, repository_id in self.waiting[priority].items():
            waits = (_is_backing_off(backoffs, key, now) for key in (repository_id, write_id))
            if any(waits):
                continue
            if not _is_backing_off(backoffs, repository_id, now - _BEHIND_SECONDS):
                return write_id
            behind = write_id if behind is None else behind
        return behind

    def discard_unfinished(self, write_id: RecordStatusWrite) -> None:
        """Forget that a run is unfinished, and what waits to say so."""
        self.unfinished.pop(write_id, None)
        self.waiting[Priority.OPTIONAL].pop(write_id, None)

    def _expected_final_writes(self, now: float) -> int:
        """Count the runs whose end may be due within the longest window of the rate limit.

        One that is older than that window is in no hurry.
        """
        since = now - self.budget.limits.windows[-1][1]
        started = self.unfinished.values()
        return sum(at > since for at in started) if self.budget.is_limited else 0


class WriteQueue:
    """The writes that wait.

    Thread-safe but for ``budget``, what counts against it, and ``pop``: these belong to the writing
    thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
        budget: WriteBudget = _INITIAL_BUDGET,
    ) -> None:
        """Create a queue in which each account begins with ``budget``."""
        self.clock, self.wait, self.stopped = clock, wait, False
        self.changed = threading.Condition()
        self._initial_budget, self._current_queue = budget, AccountQueue(budget)
        self._account_queues = {"": self._current_queue}  # by account; "" where there is but one
        self._accounts: dict[int, str] = {}  # by the repository's id
        self._backoffs: Backoffs = {}
        self._turn_count = 0

    @property
    def budget(self) -> WriteBudget:
        """The budget of the account whose turn it is, or was last."""
        return self._current_queue.budget

    @budget.setter
    def budget(self, budget: WriteBudget) -> None:
        self._current_queue.budget = budget

    def count_write(self) -> None:
        """Take a write that was made, or tried, off the budget."""
        self.budget = self.budget.after_write(self.clock())

    def count_response(self, headers: RateLimitHeaders) -> None:
        """Tell the budget about a response; log a warning before no request is left."""
        now = self.clock()
        if headers.is_low and self.budget.low_until <= now:
            log.warning(
                "%s of %s requests are left for %.0f s: only final statuses are posted",
                headers.remaining,
                headers.limit,
                headers.reset_after or 0,
            )
        self.budget = self.budget.after_response(now, headers)

    def push(
        self, priority: Priority, write_id: WriteId, repository_id: int, account: str | None = None
    ) -> None:
        """Add a write; one that waits already keeps its place.

        ``account`` is None for the account that the repository had before.
        """
        with self.changed:
            if account is not None:
                self._accounts[repository_id] = account
            queue = self._queue_of(self._accounts.get(repository_id, ""))
            if isinstance(write_id, RecordStatusWrite):  # no other write has a final state to come
                if priority is Priority.FINAL:
                    queue.discard_unfinished(write_id)
                else:
                    queue.unfinished.setdefault(write_id, self.clock())
            queue.waiting[priority].setdefault(write_id, repository_id)
            self.changed.notify_all()

    def discard_unfinished(self, write_id: RecordStatusWrite) -> None:
        """Forget that a run is unfinished, and what waits to say so."""
        with self.changed:
            for queue in self._account_queues.values():
                queue.discard_unfinished(write_id)

    def stop(self) -> None:
        """Have ``pop`` return None from now on."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def pop(self, deadline: float = math.inf) -> tuple[WriteId, int] | None:
        """Wait for a write that may be made now, and return it with its repository's id.

        None at ``deadline``, on the clock, or once stopped.
        """
        with self.changed:
            while not self.stopped:
                now = self.clock()
                queue, priority, due = self._select_queue(now)
                if priority is not None and due <= now:
                    return self._pop_from(queue, priority, now)
                if deadline <= now:
                    break
                wake_at = min(due, deadline)
                self.wait(self.changed, None if wake_at == math.inf else max(wake_at - now, 0.001))
        return None

    def back_off(self, key: int | WriteId, backoff: Backoff) -> None:
        """Leave a repository, or one write, alone for a while: longer than the time before."""
        before = self._backoffs.get(key)
        delay = backoff.after(0.0 if before is None else before.delay)
        self._backoffs[key] = RepositoryPause(self.clock() + delay, delay)

    def reset_backoff(self, key: int | WriteId) -> None:
        """Forget the failures of a repository, as it answers again, or of a write."""
        self._backoffs.pop(key, None)

    def _queue_of(self, account: str) -> AccountQueue:
        if account not in self._account_queues:
            self._account_queues[account] = AccountQueue(self._initial_budget)
        return self._account_queues[account]

    def _select_queue(self, now: float) -> tuple[AccountQueue, Priority | None, float]:
        """Return the account whose turn is next, the priority in it, and when that is due.

        Among those that may write now a final state goes first, else whoever had no turn for
        longest.
        """
        candidates = [
            (queue, *queue.select_priority(now, self._backoffs))
            for queue in self._account_queues.values()
        ]

        def by_turn(candidate: tuple[AccountQueue, Priority | None, float]) -> tuple[float, ...]:
            queue, priority, due = candidate
            return max(due, now), len(Priority) if priority is None else priority, queue.last_turn

        return min(candidates, key=by_turn)

    def _pop_from(
        self, account_queue: AccountQueue, priority: Priority, now: float
    ) -> tuple[WriteId, int]:
        write_id = account_queue.first_ready(priority, now, self._backoffs)
        assert write_id is not None, "it was selected just now"  # noqa: S101 - for the type checker
        self._turn_count += 1
        self._current_queue, account_queue.last_turn = account_queue, self._turn_count
        return write_id, account_queue.waiting[priority].pop(write_id)


def _is_backing_off(backoffs: Backoffs, key: int | WriteId, now: float) -> bool:
    pause = backoffs.get(key)
    return pause is not None and pause.until > now
