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

LOW_SHARE = 0.1
"""Share of the primary limit below which only what has ended is worth a request."""

_CLOCK_MARGIN = 0.05  # seconds beside each edge, where two clocks may disagree


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Limits on writes: seconds between two, and pairs of how many within how many seconds, the longest last."""

    min_interval: float = 1.0
    windows: tuple[tuple[int, float], ...] = ((80, 60.0), (500, 3600.0))


GITHUB_LIMITS = RateLimits()
"""Those that GitHub documents; statuses are assumed to count as content."""


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """What one answer says of limits; None where it is silent. Times are in seconds from now on."""

    refused: bool = False  # by a limit, not for a missing right
    retry_after: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_after: float | None = None

    @property
    def is_low(self) -> bool:
        """Whether little is left of the primary limit."""
        return (
            self.remaining is not None
            and self.limit is not None
            and self.remaining < self.limit * LOW_SHARE
        )


def parse_rate_limit_headers(
    status: int, headers: Mapping[str, object], message: str, now: float
) -> RateLimitHeaders:
    """What an answer says; ``now`` (seconds since the epoch) stands in for a ``Date`` that it does not bear."""
    given = {name.lower(): str(value) for name, value in headers.items()}
    at = _parse_date(given.get("date", ""))
    at = now if at is None else at
    remaining, reset = (
        _parse_number(given, "x-ratelimit-remaining"),
        _parse_number(given, "x-ratelimit-reset"),
    )
    limited = "retry-after" in given or remaining == 0 or "rate limit" in message.lower()
    return RateLimitHeaders(
        refused=status == 429 or (status == 403 and limited),
        retry_after=_parse_retry_after(given, at),
        limit=_parse_number(given, "x-ratelimit-limit"),
        remaining=remaining,
        reset_after=None
        if reset is None
        else max(0.0, reset - at) + 1,  # nobody knows when in that second
    )


@dataclass(frozen=True, slots=True)
class WriteBudget:
    """What was written when, and what the forge said of it; ``after`` and ``heard`` give the next one."""

    limits: RateLimits = GITHUB_LIMITS
    is_limited: bool = False  # whether the forge counts at all
    sent_times: tuple[
        float, ...
    ] = ()  # when writes were answered, over the longest window, oldest first
    closed_until: float = -math.inf
    low_until: float = -math.inf
    slow_until: float = -math.inf
    slow_interval: float = 0.0  # until then
    refusals: int = 0  # one after another

    def after_write(self, now: float) -> WriteBudget:
        """After a write whose answer came just now: it was counted before, so what is paced by this is never early."""
        since = now - self.limits.windows[-1][1] - 1
        return replace(self, sent_times=(*(at for at in self.sent_times if at > since), now))

    def after_response(self, now: float, headers: RateLimitHeaders) -> WriteBudget:
        """After any answer."""
        counted = self.is_limited or headers.refused or headers.limit is not None
        reset = now + min(headers.reset_after, LONGEST) if headers.reset_after is not None else now
        low = reset if headers.is_low else self.low_until
        if not headers.refused:
            closed = max(self.closed_until, reset) if headers.remaining == 0 else self.closed_until
            return replace(self, is_limited=counted, closed_until=closed, low_until=low, refusals=0)
        closed = now + self._refusal_wait(headers) + _CLOCK_MARGIN
        heard = replace(
            self, is_limited=True, closed_until=closed, low_until=low, refusals=self.refusals + 1
        )
        return heard if headers.remaining == 0 else heard.slowed_down(now)

    def slowed_down(self, now: float) -> WriteBudget:
        """Somebody else writes too, or we did before a restart: go on at the rate that lasts, or slower."""
        limit, span = self.limits.windows[-1]
        steady = max(span / limit, self.limits.min_interval)
        apart = min(self.slow_interval * 1.5, BARE) if now < self.slow_until else steady
        return replace(self, slow_until=self.closed_until + span, slow_interval=apart)

    def next_write_at(self, reserve: int | None = None) -> float:
        """When the next write may go, on the clock that ``wrote`` was told; infinity for not as things are.

        ``leaving`` is for a write that can be done without: so many others must find room in the longest window.
        """
        if not self.is_limited:
            return -math.inf
        limit, span = self.limits.windows[-1]
        times = [
            self.closed_until,
            self._next_by_interval(),
            *(self._next_by_window(*window) for window in self.limits.windows),
        ]
        if reserve is not None:
            times += [self.low_until, self._next_by_window(limit - max(reserve, limit // 4), span)]
        return max(times)

    def _refusal_wait(self, headers: RateLimitHeaders) -> float:
        said = headers.retry_after
        if said is None and headers.remaining == 0:
            said = headers.reset_after
        longer = BARE * 2 ** min(self.refusals, 10)
        if said is None or self.refusals:  # it was believed the time before, and that was too short
            said = max(said or 0.0, longer)
        return min(said, LONGEST)

    def _next_by_interval(self) -> float:
        if not self.sent_times:
            return -math.inf
        careful = self.sent_times[-1] < self.slow_until
        return (
            self.sent_times[-1]
            + _CLOCK_MARGIN
            + (self.slow_interval if careful else self.limits.min_interval)
        )

    def _next_by_window(self, limit: int, span: float) -> float:
        """When fewer than ``limit`` writes will lie within the last ``span`` seconds."""
        if limit <= 0:
            return math.inf
        return (
            self.sent_times[-limit] + span + _CLOCK_MARGIN
            if len(self.sent_times) >= limit
            else -math.inf
        )


def _parse_retry_after(given: Mapping[str, str], at: float) -> float | None:
    """Seconds; RFC 9110 also allows a date. None for what is neither."""
    seconds, moment = _parse_number(given, "retry-after"), _parse_date(given.get("retry-after", ""))
    if seconds is not None:
        return float(seconds)
    return None if moment is None else max(0.0, moment - at)


def _parse_number(given: Mapping[str, str], name: str) -> int | None:
    text = given.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _parse_date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError):
        return None
