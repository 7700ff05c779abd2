"""GitHub's ceilings in front of the forge, for whoever wants to see how Fyre bears them. Off unless it is put there.

Writes: 80 a minute, 500 an hour, 1 s apart, else a secondary limit's 403. All requests: 5,000 an hour, else a primary
limit's 403; what is answered 304 is free. The clock is the caller's, so that an hour can pass within seconds.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter, deque
from collections.abc import Callable
from email.utils import formatdate

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fyre.github.rate_limit import GITHUB_LIMITS, RateLimits
from fyre.local_forge.api import common_json

PRIMARY_LIMIT = (5000, 3600.0)
"""Requests, and seconds after which they are granted anew."""


class RateLimitMiddleware:
    """An ASGI application with a ceiling; serve it without a ``Date`` of the server's own: here is another time."""

    def __init__(
        self,
        app: ASGIApp,
        clock: Callable[[], float] = time.time,
        *,
        write_limits: RateLimits = GITHUB_LIMITS,
        primary_limit: int = PRIMARY_LIMIT[0],
        send_retry_after: bool = True,  # with a secondary limit's refusal; GitHub does not always
    ) -> None:
        self._app, self._clock, self._write_limits = app, clock, write_limits
        self._primary_limit, self._send_retry_after = primary_limit, send_retry_after
        self._used_requests, self._resets_at = 0, -math.inf
        self.recent_writes: deque[float] = (
            deque()
        )  # those that were let through, within the longest window
        self.refusals_by_path: Counter[str] = Counter()  # by the path
        self.accepted_writes = 0
        self.counted_requests = 0  # requests that were not free, of all hours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, and answer in the application's place where there are too many."""
        if scope["type"] != "http" or not scope["path"].startswith(common_json.API_PATH + "/"):
            await self._app(scope, receive, send)
            return
        now, write = self._clock(), scope["method"] != "GET"
        self._count_request(now)
        wait = self._seconds_until_write(now) if write else 0.0
        if self._used_requests > self._primary_limit or wait > 0:
            self.refusals_by_path[scope["path"]] += 1
            await self._send_refusal(send, now, wait)
            return
        if write:
            self.recent_writes.append(now)
            self.accepted_writes += 1
        await self._app(scope, receive, self._with_limit_headers(send, now))

    def _count_request(self, now: float) -> None:
        if now >= self._resets_at:
            self._used_requests, self._resets_at = 0, now + PRIMARY_LIMIT[1]
        self._used_requests += 1
        self.counted_requests += 1
        longest = self._write_limits.windows[-1][1]
        while self.recent_writes and self.recent_writes[0] <= now - longest:
            self.recent_writes.popleft()

    def _seconds_until_write(self, now: float) -> float:
        """Seconds until a write would be let through; 0 for at once."""
        waits = (
            [self.recent_writes[-1] + self._write_limits.min_interval - now]
            if self.recent_writes
            else []
        )
        for limit, span in self._write_limits.windows:
            if len(self.recent_writes) >= limit:
                waits.append(self.recent_writes[-limit] + span - now)
        return max([0.0, *waits])

    async def _send_refusal(self, send: Send, now: float, wait: float) -> None:
        secondary = self._used_requests <= self._primary_limit
        said = (
            "You have exceeded a secondary rate limit" if secondary else "API rate limit exceeded"
        )
        headers = [(b"content-type", b"application/json")]
        if secondary and self._send_retry_after:
            headers.append((b"retry-after", str(math.ceil(wait)).encode()))
        told = self._with_limit_headers(send, now)
        await told({"type": "http.response.start", "status": 403, "headers": headers})
        await told({"type": "http.response.body", "body": json.dumps({"message": said}).encode()})

    def _with_limit_headers(self, send: Send, now: float) -> Send:
        """The same ``send``, with the headers that GitHub puts on every answer."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                free = message["status"] == 304
                self._used_requests -= free
                self.counted_requests -= free
                message["headers"] = [*message["headers"], *self._limit_headers(now)]
            await send(message)

        return send_with_headers

    def _limit_headers(self, now: float) -> list[tuple[bytes, bytes]]:
        used = min(self._used_requests, self._primary_limit)
        facts = {
            "limit": self._primary_limit,
            "used": used,
            "remaining": self._primary_limit - used,
            "reset": int(self._resets_at),
        }
        found = [
            (f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in facts.items()
        ]
        return [*found, (b"date", formatdate(now, usegmt=True).encode())]
