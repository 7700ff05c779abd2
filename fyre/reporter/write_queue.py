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
from fyre.github.rate_limit import Pace

Ident = str | tuple[int, str, str]
"""What is to be written: a record's key, or the repository, SHA and context of a status without a record."""

_LOOK = 60.0  # seconds after which what has no room is looked at again: the runs that go on grow old without a word


_BEGIN = Pace()


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


Rests = dict[int, Rest]
"""By the repository's id."""


class Lane:
    """What waits to be written for one account, at its own pace."""

    def __init__(self, pace: Pace) -> None:
        self.pace, self.served = pace, 0  # served: the number of its last turn
        self.waiting: dict[Rank, dict[Ident, int]] = {rank: {} for rank in Rank}
        self.live: dict[Ident, float] = {}  # runs that go on, and since when that is known

    def choose(self, now: float, rests: Rests) -> tuple[Rank | None, float]:
        """Which rank has the next turn, and when; or when to look again."""
        again = min((rest.until for rest in rests.values() if rest.until > now), default=math.inf)
        for rank in (Rank.ENDED, Rank.WANTED):
            if self.first(rank, now, rests) is not None:
                return rank, self.pace.next_at()
        if self.first(Rank.LIVE, now, rests) is None:
            return None, again
        at = self.pace.next_at(leaving=self._to_come(now))
        return (Rank.LIVE, at) if at <= now else (None, min(at, again, now + _LOOK))

    def first(self, rank: Rank, now: float, rests: Rests) -> Ident | None:
        """The one of a rank that waits longest, where its repository does not rest."""
        return next(
            (
                i
                for i, repository in self.waiting[rank].items()
                if not _rests(rests, repository, now)
            ),
            None,
        )

    def forget(self, ident: Ident) -> None:
        """A run does not go on any more."""
        self.live.pop(ident, None)
        self.waiting[Rank.LIVE].pop(ident, None)

    def _to_come(self, now: float) -> int:
        """Runs whose ends may be due within the longest window: one that is older than that is in no hurry."""
        since = now - self.pace.ceilings.windows[-1][1]
        return sum(at > since for at in self.live.values()) if self.pace.counted else 0


class Turns:
    """What waits to be written. Thread-safe but for ``pace`` and ``next``, which are the writer's."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Condition, float | None], object] = threading.Condition.wait,
        pace: Pace = _BEGIN,
    ) -> None:
        """``pace`` is what each account begins with."""
        self.clock, self.wait, self.stopped = clock, wait, False
        self.changed = threading.Condition()
        self._begin, self._turn = pace, Lane(pace)
        self._lanes = {"": self._turn}  # by account; "" where there is but one
        self._accounts: dict[int, str] = {}  # by the repository's id
        self._rests: Rests = {}
        self._count = 0

    @property
    def pace(self) -> Pace:
        """Of the account whose turn it is, or was last."""
        return self._turn.pace

    @pace.setter
    def pace(self, pace: Pace) -> None:
        self._turn.pace = pace

    def put(self, rank: Rank, ident: Ident, repository: int, account: str | None = None) -> None:
        """Have something written; it keeps its place when it waits already. ``account``: None as before."""
        with self.changed:
            if account is not None:
                self._accounts[repository] = account
            whose = self._accounts.get(repository, "")
            if whose not in self._lanes:
                self._lanes[whose] = Lane(self._begin)
            lane = self._lanes[whose]
            if rank is Rank.ENDED:
                lane.forget(ident)
            elif rank is Rank.LIVE:
                lane.live.setdefault(ident, self.clock())
            lane.waiting[rank].setdefault(ident, repository)
            self.changed.notify_all()

    def forget(self, ident: Ident) -> None:
        """A run does not go on any more."""
        with self.changed:
            for lane in self._lanes.values():
                lane.forget(ident)

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
                lane, rank, at = self._choose(now)
                if rank is not None and at <= now:
                    return self._take(lane, rank, now)
                if due <= now:
                    break
                until = min(at, due)
                self.wait(self.changed, None if until == math.inf else max(until - now, 0.001))
        return None

    def rest(self, repository: int, backoff: Backoff) -> None:
        """Leave a repository alone for a while: longer than the time before."""
        before = self._rests.get(repository)
        pause = backoff.after(0.0 if before is None else before.pause)
        self._rests[repository] = Rest(self.clock() + pause, pause)

    def wake(self, repository: int) -> None:
        """A repository answers again."""
        self._rests.pop(repository, None)

    def _choose(self, now: float) -> tuple[Lane, Rank | None, float]:
        """Whose turn comes first: of those that may write now the end of a run, else whoever had none for longest."""
        found = [(lane, *lane.choose(now, self._rests)) for lane in self._lanes.values()]
        return min(
            found,
            key=lambda one: (
                max(one[2], now),
                len(Rank) if one[1] is None else one[1],
                one[0].served,
            ),
        )

    def _take(self, lane: Lane, rank: Rank, now: float) -> tuple[Ident, int]:
        ident = lane.first(rank, now, self._rests)
        assert ident is not None, "it was chosen just now"  # noqa: S101 - for the type checker
        self._count += 1
        self._turn, lane.served = lane, self._count
        return ident, lane.waiting[rank].pop(ident)


def _rests(rests: Rests, repository: int, now: float) -> bool:
    rest = rests.get(repository)
    return rest is not None and rest.until > now
