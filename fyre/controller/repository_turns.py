"""Queue work by repository, in fair turns: one item of a repository at a time.

Who takes an item has the repository's turn until it is done. So what belongs to one repository
happens in the order in which it came, and a repository with much to do, or whose server does not
answer, holds up no other.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

T = TypeVar("T")

BACKGROUND_MAX = 4
"""Turns at most that only background work has at a time, so that no sweep takes all workers."""


TURNS_IN_A_ROW = 4
"""Turns after which background work has one before the others: a busy day may not put it off."""


class Urgency(IntEnum):
    """The urgency of an item."""

    SOON = 0
    """Somebody waits for it."""

    BACKGROUND = 1
    """It was found by a sweep. It keeps its place in its repository, as it was pushed earlier."""

    LAST = 2
    """It goes behind everything else of its repository, and is background work as well."""


@dataclass
class _Lane(Generic[T]):
    """The items that wait for one repository."""

    waiting: deque[tuple[Urgency, T]] = field(default_factory=deque)
    last: deque[T] = field(default_factory=deque)
    soon: int = 0  # items for which somebody waits
    is_busy: bool = False  # somebody has its turn
    is_background: bool = False  # that turn counts as one of background work

    def __len__(self) -> int:
        return len(self.waiting) + len(self.last)


class RepositoryTurns(Generic[T]):
    """Items that wait for the turns of their repositories. Thread-safe.

    A repository is any hashable key. An item that overtakes has no turn and waits for none.
    """

    def __init__(self, background_max: int = BACKGROUND_MAX) -> None:
        self._background_max, self._background_turns = background_max, 0
        self._turns_in_a_row = 0  # since background work had one
        self._lanes: dict[Hashable, _Lane[T]] = {}
        self._ready: OrderedDict[Hashable, None] = OrderedDict()
        """Repositories without a turn for which somebody waits, whoever had no turn for longest
        first."""

        self._ready_background: OrderedDict[Hashable, None] = OrderedDict()
        self._overtaking: deque[T] = deque()
        self._lock = threading.Lock()
        self._idle: list[threading.Condition] = []
        """Wakes each worker that waits for a turn. One is woken for a turn that can be taken, and
        it wakes the next for another: to wake all takes longer than to launch a run. It is the one
        that was idle for the shortest time, whose connection to the forge is still open."""

        self._overtaking_ready = threading.Condition(self._lock)
        self._idle_workers = 0
        self._is_closed = False

    def __len__(self) -> int:
        """Return the number of items that wait or are being worked on."""
        with self._lock:
            lanes = self._lanes.values()
            return len(self._overtaking) + sum(len(lane) + lane.is_busy for lane in lanes)

    def __contains__(self, key: Hashable) -> bool:
        """Return True if anything of a repository waits or is being worked on."""
        with self._lock:
            return key in self._lanes

    def put(self, key: Hashable, item: T, urgency: Urgency = Urgency.SOON) -> bool:
        """Add an item behind those of its repository; return True if its turn comes at once."""
        with self._lock:
            lane = self._lanes.setdefault(key, _Lane())
            comes_at_once = not lane and not lane.is_busy and self._idle_workers > len(self._ready)
            if urgency is Urgency.LAST:
                lane.last.append(item)
            else:
                lane.waiting.append((urgency, item))
                lane.soon += urgency is Urgency.SOON
            self._mark_ready(key, lane)
            self._wake_worker()
            return comes_at_once

    def put_overtaking(self, item: T) -> None:
        """Add an item that waits for no turn."""
        with self._lock:
            self._overtaking.append(item)
            self._overtaking_ready.notify()

    def take(self) -> tuple[Hashable, T] | None:
        """Wait for a turn; return its repository and item, or None once closed."""
        with self._lock:
            self._idle_workers += 1
            while not self._is_closed and self._next_key() is None:
                self._idle.append(threading.Condition(self._lock))
                self._idle[-1].wait()
            self._idle_workers -= 1
            key = self._next_key()
            if self._is_closed or key is None:
                return None
            item = self._begin_turn(key)
            self._wake_worker()
            return key, item

    def take_overtaking(self) -> T | None:
        """Wait for an item that waits for no turn; return None once closed."""
        with self._lock:
            self._overtaking_ready.wait_for(lambda: self._is_closed or bool(self._overtaking))
            return None if self._is_closed else self._overtaking.popleft()

    def end_turn(self, key: Hashable) -> None:
        """Let the next item of a repository be taken, after those of the others."""
        with self._lock:
            lane = self._lanes[key]
            self._background_turns -= lane.is_background
            lane.is_busy = lane.is_background = False
            if lane:
                self._mark_ready(key, lane)
            else:
                del self._lanes[key]
            self._wake_worker()

    def close(self) -> None:
        """Give out nothing more."""
        with self._lock:
            self._is_closed = True
            for worker in self._idle:
                worker.notify()
            self._overtaking_ready.notify_all()

    def _wake_worker(self) -> None:
        """Wake one idle worker if there is a turn that it can take."""
        if self._idle and self._next_key() is not None:
            self._idle.pop().notify()

    def _mark_ready(self, key: Hashable, lane: _Lane[T]) -> None:
        """Let a repository wait for its turn.

        Somebody may wait for what is behind background work, which is then background no more.
        """
        if lane.is_busy:
            if lane.soon and lane.is_background:
                self._background_turns -= 1
                lane.is_background = False
        elif lane.soon:
            self._ready_background.pop(key, None)
            self._ready.setdefault(key)
        else:
            self._ready_background.setdefault(key)

    def _next_key(self) -> Hashable | None:
        may_be_background = self._ready_background and self._background_turns < self._background_max
        if self._ready and not (may_be_background and self._turns_in_a_row >= TURNS_IN_A_ROW):
            return next(iter(self._ready))
        return next(iter(self._ready_background)) if may_be_background else None

    def _begin_turn(self, key: Hashable) -> T:
        lane = self._lanes[key]
        lane.is_busy, lane.is_background = True, key in self._ready_background
        self._background_turns += lane.is_background
        self._turns_in_a_row = 0 if lane.is_background else self._turns_in_a_row + 1
        self._ready.pop(key, None)
        self._ready_background.pop(key, None)
        if not lane.waiting:
            return lane.last.popleft()
        urgency, item = lane.waiting.popleft()
        lane.soon -= urgency is Urgency.SOON
        return item
