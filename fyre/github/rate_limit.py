"""When the next write may go: a forge's ceilings, and what its answers say of them. Pure.

GitHub's documentation: 80 writes a minute and 500 an hour, 1 s apart; ``Retry-After`` first, else until
``X-RateLimit-Reset`` where nothing is left, else a minute, and longer each time. Only a forge that counts requests has
ceilings, and such a one says so in each answer: the embedded forge and an Enterprise Server without limits do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

BARE = 60.0
"""Seconds to wait where a refusal does not say for how long; twice as long for each that follows."""

LONGEST = 3600.0
"""Seconds after which to ask again, whatever an answer said: the longest window of GitHub's."""

LOW = 0.1
"""Share of the primary limit below which only what has ended is worth a request."""

_MARGIN = 0.05  # seconds beside each edge, where two clocks may disagree


@dataclass(frozen=True, slots=True)
class Ceilings:
    """Limits on writes: seconds between two, and pairs of how many within how many seconds, the longest last."""

    apart: float = 1.0
    windows: tuple[tuple[int, float], ...] = ((80, 60.0), (500, 3600.0))


GITHUB = Ceilings()
"""Those that GitHub documents; statuses are assumed to count as content."""


@dataclass(frozen=True, slots=True)
class Told:
    """What one answer says of limits; None where it is silent. Times are in seconds from now on."""

    refused: bool = False  # by a limit, not for a missing right
    retry_after: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset: float | None = None

    @property
    def low(self) -> bool:
        """Whether little is left of the primary limit."""
        return (
            self.remaining is not None
            and self.limit is not None
            and self.remaining < self.limit * LOW
        )


def read(status: int, headers: Mapping[str, object], message: str, now: float) -> Told:
    """What an answer says; ``now`` (seconds since the epoch) stands in for a ``Date`` that it does not bear."""
    given = {name.lower(): str(value) for name, value in headers.items()}
    at = _moment(given.get("date", ""))
    at = now if at is None else at
    remaining, reset = _number(given, "x-ratelimit-remaining"), _number(given, "x-ratelimit-reset")
    limited = "retry-after" in given or remaining == 0 or "rate limit" in message.lower()
    return Told(
        refused=status == 429 or (status == 403 and limited),
        retry_after=_retry_after(given, at),
        limit=_number(given, "x-ratelimit-limit"),
        remaining=remaining,
        reset=None
        if reset is None
        else max(0.0, reset - at) + 1,  # nobody knows when in that second
    )


@dataclass(frozen=True, slots=True)
class Pace:
    """What was written when, and what the forge said of it; ``after`` and ``heard`` give the next one."""

    ceilings: Ceilings = GITHUB
    counted: bool = False  # whether the forge counts at all
    sent: tuple[float, ...] = ()  # when writes were answered, over the longest window, oldest first
    closed_until: float = -math.inf
    low_until: float = -math.inf
    careful_until: float = -math.inf
    careful_apart: float = 0.0  # until then
    refusals: int = 0  # one after another

    def wrote(self, now: float) -> Pace:
        """After a write whose answer came just now: it was counted before, so what is paced by this is never early."""
        since = now - self.ceilings.windows[-1][1] - 1
        return replace(self, sent=(*(at for at in self.sent if at > since), now))

    def heard(self, now: float, told: Told) -> Pace:
        """After any answer."""
        counted = self.counted or told.refused or told.limit is not None
        reset = now + min(told.reset, LONGEST) if told.reset is not None else now
        low = reset if told.low else self.low_until
        if not told.refused:
            closed = max(self.closed_until, reset) if told.remaining == 0 else self.closed_until
            return replace(self, counted=counted, closed_until=closed, low_until=low, refusals=0)
        closed = now + self._penalty(told) + _MARGIN
        heard = replace(
            self, counted=True, closed_until=closed, low_until=low, refusals=self.refusals + 1
        )
        return heard if told.remaining == 0 else heard.carefully(now)

    def carefully(self, now: float) -> Pace:
        """Somebody else writes too, or we did before a restart: go on at the rate that lasts, or slower."""
        limit, span = self.ceilings.windows[-1]
        steady = max(span / limit, self.ceilings.apart)
        apart = min(self.careful_apart * 1.5, BARE) if now < self.careful_until else steady
        return replace(self, careful_until=self.closed_until + span, careful_apart=apart)

    def next_at(self, leaving: int | None = None) -> float:
        """When the next write may go, on the clock that ``wrote`` was told; infinity for not as things are.

        ``leaving`` is for a write that can be done without: so many others must find room in the longest window.
        """
        if not self.counted:
            return -math.inf
        limit, span = self.ceilings.windows[-1]
        times = [
            self.closed_until,
            self._apart(),
            *(self._room(*window) for window in self.ceilings.windows),
        ]
        if leaving is not None:
            times += [self.low_until, self._room(limit - max(leaving, limit // 4), span)]
        return max(times)

    def _penalty(self, told: Told) -> float:
        said = told.retry_after
        if said is None and told.remaining == 0:
            said = told.reset
        longer = BARE * 2 ** min(self.refusals, 10)
        if said is None or self.refusals:  # it was believed the time before, and that was too short
            said = max(said or 0.0, longer)
        return min(said, LONGEST)

    def _apart(self) -> float:
        if not self.sent:
            return -math.inf
        careful = self.sent[-1] < self.careful_until
        return self.sent[-1] + _MARGIN + (self.careful_apart if careful else self.ceilings.apart)

    def _room(self, limit: int, span: float) -> float:
        """When fewer than ``limit`` writes will lie within the last ``span`` seconds."""
        if limit <= 0:
            return math.inf
        return self.sent[-limit] + span + _MARGIN if len(self.sent) >= limit else -math.inf


def _retry_after(given: Mapping[str, str], at: float) -> float | None:
    """Seconds; RFC 9110 also allows a date. None for what is neither."""
    seconds, moment = _number(given, "retry-after"), _moment(given.get("retry-after", ""))
    if seconds is not None:
        return float(seconds)
    return None if moment is None else max(0.0, moment - at)


def _number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _moment(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError):
        return None
