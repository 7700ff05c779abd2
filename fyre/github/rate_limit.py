"""Decide when the next write may be sent, from GitHub's rate limits and its responses. Pure.

GitHub's documentation: 80 writes a minute and 500 an hour, 1 s apart; ``Retry-After`` first, else
until ``X-RateLimit-Reset`` if nothing is left, else a minute, and longer each time. Only a forge
that counts requests has limits, and such a one says so in each response: the embedded forge and an
Enterprise Server without limits do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

DEFAULT_WAIT = 60.0
"""Seconds to wait if a refusal does not say for how long; twice as long for each that follows."""

WAIT_MAX = 3600.0
"""Seconds after which to ask again, whatever a response said: the longest window of GitHub's."""

LOW_SHARE = 0.1
"""Share of the primary limit below which only what has ended is worth a request."""

_CLOCK_MARGIN = 0.05  # seconds at each edge, since two clocks may disagree


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Limits on writes.

    ``min_interval`` is the seconds between two of them; ``windows`` are pairs of how many within
    how many seconds, the longest last.
    """

    min_interval: float = 1.0
    windows: tuple[tuple[int, float], ...] = ((80, 60.0), (500, 3600.0))


GITHUB_LIMITS = RateLimits()
"""The limits that GitHub documents; statuses are assumed to count as content."""


@dataclass(frozen=True, slots=True)
class RateLimitHeaders:
    """The limits that one response names; None for those that it does not.

    Times are in seconds from now on.
    """

    refused: bool = False  # true if by a limit, not for a missing right
    retry_after: float | None = None
    limit: int | None = None
    remaining: int | None = None
    reset_after: float | None = None

    @property
    def wait(self) -> float:
        """Return the seconds for which, after a refusal, a request would make things worse."""
        wait = self.retry_after
        if wait is None and self.remaining == 0:
            wait = self.reset_after
        return min(DEFAULT_WAIT if wait is None else wait, WAIT_MAX)

    @property
    def is_low(self) -> bool:
        """True if little is left of the primary limit."""
        return (
            self.remaining is not None
            and self.limit is not None
            and self.remaining < self.limit * LOW_SHARE
        )


def parse_rate_limit_headers(
    status: int, headers: Mapping[str, object], message: str, now: float
) -> RateLimitHeaders:
    """Return the limits that a response names.

    ``now`` (seconds since the epoch) is used if it has no ``Date``.
    """
    lower_headers = {name.lower(): str(value) for name, value in headers.items()}
    response_time = _parse_date(lower_headers.get("date", ""))
    response_time = now if response_time is None else response_time
    remaining, reset = (
        _parse_number(lower_headers, "x-ratelimit-remaining"),
        _parse_number(lower_headers, "x-ratelimit-reset"),
    )
    limited = "retry-after" in lower_headers or remaining == 0 or "rate limit" in message.lower()
    return RateLimitHeaders(
        refused=status == 429 or (status == 403 and limited),
        retry_after=_parse_retry_after(lower_headers, response_time),
        limit=_parse_number(lower_headers, "x-ratelimit-limit"),
        remaining=remaining,
        reset_after=None
        if reset is None
        else max(0.0, reset - response_time) + 1,  # its fraction of a second is not known
    )


@dataclass(frozen=True, slots=True)
class WriteBudget:
    """The last writes, and what the forge said of them.

    The methods ``after_…`` return the next budget.
    """

    limits: RateLimits = GITHUB_LIMITS
    is_limited: bool = False  # true if the forge counts requests at all
    # Times at which writes were answered, over the longest window, oldest first.
    sent_times: tuple[float, ...] = ()
    closed_until: float = -math.inf
    low_until: float = -math.inf
    slow_until: float = -math.inf
    slow_interval: float = 0.0  # seconds between two writes until then
    refusals: int = 0  # in a row

    def after_write(self, now: float) -> WriteBudget:
        """Return the budget after a write whose response came just now.

        The forge counted it before, so what is paced by this is never early.
        """
        since = now - self.limits.windows[-1][1] - 1
        return replace(
            self,
            sent_times=(*(sent_time for sent_time in self.sent_times if sent_time > since), now),
        )

    def after_response(self, now: float, headers: RateLimitHeaders) -> WriteBudget:
        """Return the budget after any response."""
        is_limited = self.is_limited or headers.refused or headers.limit is not None
        reset_at = (
            now + min(headers.reset_after, WAIT_MAX) if headers.reset_after is not None else now
        )
        low_until = reset_at if headers.is_low else self.low_until
        if not headers.refused:
            closed_until = (
                max(self.closed_until, reset_at) if headers.remaining == 0 else self.closed_until
            )
            return replace(
                self,
                is_limited=is_limited,
                closed_until=closed_until,
                low_until=low_until,
                refusals=0,
            )
        closed_until = now + self._refusal_wait(headers) + _CLOCK_MARGIN
        slowed = replace(
            self,
            is_limited=True,
            closed_until=closed_until,
            low_until=low_until,
            refusals=self.refusals + 1,
        )
        return slowed if headers.remaining == 0 else slowed.slowed_down(now)

    def slowed_down(self, now: float) -> WriteBudget:
        """Return the budget for when somebody else writes too, or we did before a restart.

        It goes on at the rate that can be kept up, or slower.
        """
        limit, span = self.limits.windows[-1]
        steady_interval = max(span / limit, self.limits.min_interval)
        interval = (
            min(self.slow_interval * 1.5, DEFAULT_WAIT)
            if now < self.slow_until
            else steady_interval
        )
        return replace(self, slow_until=self.closed_until + span, slow_interval=interval)

    def next_write_at(self, reserve: int | None = None) -> float:
        """Return when the next write may go, on the clock of ``after_write``; infinity for never.

        ``reserve`` is for a write that can be done without: so many others must find room in the
        longest window. Never means as things are: another response may change it.
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
        """Return the seconds to wait after a refusal."""
        wait = headers.retry_after
        if wait is None and headers.remaining == 0:
            wait = headers.reset_after
        backoff = DEFAULT_WAIT * 2 ** min(self.refusals, 10)
        if wait is None or self.refusals:  # the last one was too short
            wait = max(wait or 0.0, backoff)
        return min(wait, WAIT_MAX)

    def _next_by_interval(self) -> float:
        """Return when the last write is long enough ago."""
        if not self.sent_times:
            return -math.inf
        is_slow = self.sent_times[-1] < self.slow_until
        return (
            self.sent_times[-1]
            + _CLOCK_MARGIN
            + (self.slow_interval if is_slow else self.limits.min_interval)
        )

    def _next_by_window(self, limit: int, span: float) -> float:
        """Return when fewer than ``limit`` writes will lie within the last ``span`` seconds."""
        if limit <= 0:
            return math.inf
        return (
            self.sent_times[-limit] + span + _CLOCK_MARGIN
            if len(self.sent_times) >= limit
            else -math.inf
        )


def _parse_retry_after(headers: Mapping[str, str], response_time: float) -> float | None:
    """Return the seconds of ``Retry-After``; None if it is neither a number nor a date.

    RFC 9110 allows both.
    """
    seconds, date = (
        _parse_number(headers, "retry-after"),
        _parse_date(headers.get("retry-after", "")),
    )
    if seconds is not None:
        return float(seconds)
    return None if date is None else max(0.0, date - response_time)


def _parse_number(headers: Mapping[str, str], name: str) -> int | None:
    """Return a header as a number; None if it is not one."""
    text = headers.get(name, "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else None


def _parse_date(text: str) -> float | None:
    """Return a date in seconds since the epoch; None if it is not one."""
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, IndexError):
        return None
