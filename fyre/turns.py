"""Whose status is written next, and when: ended runs first, then what no engine remembers, then what still goes on.

A state that is not final gives way: it may not take the room that the ends of the runs which go on will need within
the longest window. So under pressure it is never written, and no end waits for it. A repository that fails rests
alone; the others are written meanwhile.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

from fyre.pacing import Pace

Ident = str | tuple[int, str, str]
"""What is to be written: a record's key, or the repository, SHA and context of a status without a record."""

_LOOK = 60.0  # seconds after which what has no room is looked at again: the runs that go on grow old without a word


class Rank(IntEnum):
    """What goes first."""

    ENDED = 0
    WANTED = 1
    LIVE = 2


@dataclass(frozen=True, slots=True)
class Rest:
    """Until when a repository is left alone, on the clock, and for how many seconds that was."""

    until: float
    pause: float


@dataclass
class Turns:
    """What waits to be written. Thread-safe but for ``pace`` and ``next``, which are the writer's."""

    clock: Callable[[], float] = time.monotonic
    wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait
    pace: Pace = field(default_factory=Pace)
    changed: threading.Condition = field(default_factory=threading.Condition)
    stopped: bool = False
    _waiting: dict[Rank, dict[Ident, int]] = field(default_factory=lambda: {rank: {} for rank in Rank})
    _live: dict[Ident, float] = field(default_factory=dict)  # runs that go on, and since when that is known
    _rests: dict[int, Rest] = field(default_factory=dict)  # by the repository's id

    def put(self, rank: Rank, ident: Ident, repository: int) -> None:
        """Have something written; it keeps its place when it waits already."""
        with self.changed:
            if rank is Rank.ENDED:
                self.forget(ident)
            elif rank is Rank.LIVE:
                self._live.setdefault(ident, self.clock())
            self._waiting[rank].setdefault(ident, repository)
            self.changed.notify_all()

    def forget(self, ident: Ident) -> None:
        """A run does not go on any more."""
        with self.changed:
            self._live.pop(ident, None)
            self._waiting[Rank.LIVE].pop(ident, None)

    def stop(self) -> None:
        """Have ``next`` return None from now on."""
        with self.changed:
            self.stopped = True
            self.changed.notify_all()

    def next(self, due: float = math.inf) -> tuple[Ident, int] | None:
        """What is to be written now and its repository, once there is something; None when ``due`` or stopped."""
        with self.changed:
            while not self.stopped:
                now = self.clock()
                rank, at = self._choose(now)
                if rank is not None and at <= now:
                    return self._take(rank, now)
                if due <= now:
                    break
                until = min(at, due)
                self.wait(self.changed, None if until == math.inf else max(until - now, 0.001))
        return None

    def rest(self, repository: int, least: float, most: float) -> None:
        """Leave a repository alone for a while: twice as long as the time before."""
        before = self._rests.get(repository)
        pause = least if before is None else min(before.pause * 2, most)
        self._rests[repository] = Rest(self.clock() + pause, pause)

    def wake(self, repository: int) -> None:
        """A repository answers again."""
        self._rests.pop(repository, None)

    def _choose(self, now: float) -> tuple[Rank | None, float]:
        """Which rank has the next turn, and when; or when to look again."""
        wakes = [rest.until for rest in self._rests.values() if rest.until > now]
        again = min(wakes, default=math.inf)
        for rank in (Rank.ENDED, Rank.WANTED):
            if self._first(rank, now) is not None:
                return rank, self.pace.next_at()
        if self._first(Rank.LIVE, now) is None:
            return None, again
        at = self.pace.next_at(leaving=self._to_come(now))
        return (Rank.LIVE, at) if at <= now else (None, min(at, again, now + _LOOK))

    def _first(self, rank: Rank, now: float) -> Ident | None:
        awake = (i for i, repository in self._waiting[rank].items() if not self._rests_at(repository, now))
        return next(awake, None)

    def _take(self, rank: Rank, now: float) -> tuple[Ident, int]:
        ident = self._first(rank, now)
        assert ident is not None, "it was chosen just now"  # noqa: S101 - for the type checker
        return ident, self._waiting[rank].pop(ident)

    def _rests_at(self, repository: int, now: float) -> bool:
        rest = self._rests.get(repository)
        return rest is not None and rest.until > now

    def _to_come(self, now: float) -> int:
        """Runs whose ends may be due within the longest window: one that is older than that is in no hurry."""
        since = now - self.pace.ceilings.windows[-1][1]
        return sum(at > since for at in self._live.values()) if self.pace.counted else 0
