"""Whose status is written next, and when: ended runs first, then what no engine remembers, then what still goes on.

A state that is not final gives way: it may not take the room that the ends of the runs which go on will need within
the longest window. So under pressure it is never written, and no end waits for it. A repository that fails rests
alone; the others are written meanwhile. Ceilings are those of an account: each has a lane of its own.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from fyre.backoff import Backoff
from fyre.github.rate_limit import WriteBudget

WriteId = str | tuple[int, str, str]
"""What is to be written: a record's key, or the repository, SHA and context of a status without a record."""

_RECHECK_INTERVAL = 60.0  # seconds after which what has no room is looked at again: the runs that go on grow old without a word


_INITIAL_BUDGET = WriteBudget()


class Priority(IntEnum):
    """What goes first."""

    FINAL = 0
    UNRECORDED = 1
    OPTIONAL = 2


@dataclass(frozen=True, slots=True)
class RepositoryPause:
    """Until when a repository is left alone, on the clock, and for how many seconds that was."""

    until: float
    delay: float


Backoffs = dict[int, RepositoryPause]
"""By the repository's id."""


class AccountQueue:
    """What waits to be written for one account, at its own pace."""

    def __init__(self, budget: WriteBudget) -> None:
        self.budget, self.last_turn = budget, 0  # served: the number of its last turn
        self.waiting: dict[Priority, dict[WriteId, int]] = {rank: {} for rank in Priority}
        self.unfinished: dict[WriteId, float] = {}  # runs that go on, and since when that is known

    def select_priority(self, now: float, backoffs: Backoffs) -> tuple[Priority | None, float]:
        """Which rank has the next turn, and when; or when to look again."""
        again = min(
            (rest.until for rest in backoffs.values() if rest.until > now), default=math.inf
        )
        for rank in (Priority.FINAL, Priority.UNRECORDED):
            if self.first_ready(rank, now, backoffs) is not None:
                return rank, self.budget.next_write_at()
        if self.first_ready(Priority.OPTIONAL, now, backoffs) is None:
            return None, again
        at = self.budget.next_write_at(reserve=self._expected_final_writes(now))
        return (
            (Priority.OPTIONAL, at)
            if at <= now
            else (None, min(at, again, now + _RECHECK_INTERVAL))
        )

    def first_ready(self, priority: Priority, now: float, backoffs: Backoffs) -> WriteId | None:
        """The one of a rank that waits longest, where its repository does not rest."""
        return next(
            (
                i
                for i, repository in self.waiting[priority].items()
                if not _is_backing_off(backoffs, repository, now)
            ),
            None,
        )

    def discard_run(self, write_id: WriteId) -> None:
        """A run does not go on any more."""
        self.unfinished.pop(write_id, None)
        self.waiting[Priority.OPTIONAL].pop(write_id, None)

    def _expected_final_writes(self, now: float) -> int:
        """Runs whose ends may be due within the longest window: one that is older than that is in no hurry."""
        since = now - self.budget.limits.windows[-1][1]
        return sum(at > since for at in self.unfinished.values()) if self.budget.is_limited else 0


class WriteQueue:
    """What waits to be written. Thread-safe but for ``pace`` and ``next``, which are the writer's."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
        budget: WriteBudget = _INITIAL_BUDGET,
    ) -> None:
        """``pace`` is what each account begins with."""
        self.clock, self.wait, self.stopped = clock, wait, False
        self.changed = threading.Condition()
        self._initial_budget, self._current_queue = budget, AccountQueue(budget)
        self._account_queues = {"": self._current_queue}  # by account; "" where there is but one
        self._accounts: dict[int, str] = {}  # by the repository's id
        self._backoffs: Backoffs = {}
        self._turn_count = 0

    @property
    def budget(self) -> WriteBudget:
        """Of the account whose turn it is, or was last."""
        return self._current_queue.budget

    @budget.setter
    def budget(self, pace: WriteBudget) -> None:
        self._current_queue.budget = pace

    def push(
        self, priority: Priority, write_id: WriteId, repository_id: int, account: str | None = None
    ) -> None:
        """Have something written; it keeps its place when it waits already. ``account``: None as before."""
        with self.changed:
            if account is not None:
                self._accounts[repository_id] = account
            whose = self._accounts.get(repository_id, "")
            if whose not in self._account_queues:
                self._account_queues[whose] = AccountQueue(self._initial_budget)
            lane = self._account_queues[whose]
            if priority is Priority.FINAL:
                lane.discard_run(write_id)
            elif priority is Priority.OPTIONAL:
                lane.unfinished.setdefault(write_id, self.clock())
            lane.waiting[priority].setdefault(write_id, repository_id)
            self.changed.notify_all()

    def discard_run(self, write_id: WriteId) -> None:
        """A run does not go on any more."""
        with self.changed:
            for lane in self._account_queues.values():
                lane.discard_run(write_id)

    def stop(self) -> None:
        """Have ``next`` return None from now on."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def pop(self, deadline: float = math.inf) -> tuple[WriteId, int] | None:
        """What is to be written now and its repository, once there is something; None when ``due`` or stopped."""
        with self.changed:
            while not self.stopped:
                now = self.clock()
                lane, rank, at = self._select_queue(now)
                if rank is not None and at <= now:
                    return self._pop_from(lane, rank, now)
                if deadline <= now:
                    break
                until = min(at, deadline)
                self.wait(self.changed, None if until == math.inf else max(until - now, 0.001))
        return None

    def back_off(self, repository_id: int, backoff: Backoff) -> None:
        """Leave a repository alone for a while: longer than the time before."""
        before = self._backoffs.get(repository_id)
        pause = backoff.after(0.0 if before is None else before.delay)
        self._backoffs[repository_id] = RepositoryPause(self.clock() + pause, pause)

    def reset_backoff(self, repository_id: int) -> None:
        """A repository answers again."""
        self._backoffs.pop(repository_id, None)

    def _select_queue(self, now: float) -> tuple[AccountQueue, Priority | None, float]:
        """Whose turn comes first: of those that may write now the end of a run, else whoever had none for longest."""
        found = [
            (lane, *lane.select_priority(now, self._backoffs))
            for lane in self._account_queues.values()
        ]
        return min(
            found,
            key=lambda one: (
                max(one[2], now),
                len(Priority) if one[1] is None else one[1],
                one[0].last_turn,
            ),
        )

    def _pop_from(
        self, account_queue: AccountQueue, priority: Priority, now: float
    ) -> tuple[WriteId, int]:
        ident = account_queue.first_ready(priority, now, self._backoffs)
        assert ident is not None, "it was chosen just now"  # noqa: S101 - for the type checker
        self._turn_count += 1
        self._current_queue, account_queue.last_turn = account_queue, self._turn_count
        return ident, account_queue.waiting[priority].pop(ident)


def _is_backing_off(backoffs: Backoffs, repository_id: int, now: float) -> bool:
    rest = backoffs.get(repository_id)
    return rest is not None and rest.until > now
