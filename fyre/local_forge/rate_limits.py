"""Middleware that enforces GitHub's rate limits, to see how Fyre copes with them.

It is off unless it is added.

Writes: 80 a minute, 500 an hour, 1 s apart, else the 403 of a secondary rate limit. All requests:
5,000 an hour, else the 403 of the primary rate limit; a 304 response is free. The clock is passed
in, so that an hour can pass within seconds.
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
"""Requests allowed in a window, and the length of that window in seconds."""


class RateLimitMiddleware:
    """An ASGI application behind GitHub's rate limits.

    Serve it without the server's own ``Date`` header: this clock may tell another time.
    """

    def __init__(
        self,
        app: ASGIApp,
        clock: Callable[[], float] = time.time,
        *,
        write_limits: RateLimits = GITHUB_LIMITS,
        primary_limit: int = PRIMARY_LIMIT[0],
        send_retry_after: bool = True,  # with a secondary rate limit's 403; GitHub does not always
    ) -> None:
        self._app, self._clock, self._write_limits = app, clock, write_limits
        self._primary_limit, self._send_retry_after = primary_limit, send_retry_after
        self._used_requests, self._resets_at = 0, -math.inf
        self.recent_writes: deque[float] = deque()  # accepted, within the longest window
        self.refusals_by_path: Counter[str] = Counter()
        self.accepted_writes = 0
        self.counted_requests = 0  # requests that were not free, in all windows

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the request, and refuse it if it exceeds a limit."""
        if scope["type"] != "http" or not scope["path"].startswith(common_json.API_PATH + "/"):
            await self._app(scope, receive, send)
            return
        now, is_write = self._clock(), scope["method"] != "GET"
        self._count_request(now)
        wait = self._seconds_until_write(now) if is_write else 0.0
        if self._used_requests > self._primary_limit or wait > 0:
            self.refusals_by_path[scope["path"]] += 1
            await self._send_refusal(send, now, wait)
            return
        if is_write:
            self.recent_writes.append(now)
            self.accepted_writes += 1
        await self._app(scope, receive, self._with_limit_headers(send, now))

    def _count_request(self, now: float) -> None:
        if now >= self._resets_at:
            self._used_requests, self._resets_at = 0, now + PRIMARY_LIMIT[1]
        self._used_requests += 1
        self.counted_requests += 1
        longest_window = self._write_limits.windows[-1][1]
        while self.recent_writes and self.recent_writes[0] <= now - longest_window:
            self.recent_writes.popleft()

    def _seconds_until_write(self, now: float) -> float:
        """Return the seconds until a write would be accepted; 0 if it would be now."""
        waits = [0.0]
        if self.recent_writes:
            waits.append(self.recent_writes[-1] + self._write_limits.min_interval - now)
        for limit, window in self._write_limits.windows:
            if len(self.recent_writes) >= limit:
                waits.append(self.recent_writes[-limit] + window - now)
        return max(waits)

    async def _send_refusal(self, send: Send, now: float, wait: float) -> None:
        secondary = self._used_requests <= self._primary_limit
        message = (
            "You have exceeded a secondary rate limit" if secondary else "API rate limit exceeded"
        )
        headers = [(b"content-type", b"application/json")]
        if secondary and self._send_retry_after:
            headers.append((b"retry-after", str(math.ceil(wait)).encode()))
        body = json.dumps({"message": message}).encode()
        send = self._with_limit_headers(send, now)
        await send({"type": "http.response.start", "status": 403, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _with_limit_headers(self, send: Send, now: float) -> Send:
        """Wrap ``send`` to add the headers that GitHub puts on every response."""

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
        values = {
            "limit": self._primary_limit,
            "used": used,
            "remaining": self._primary_limit - used,
            "reset": int(self._resets_at),
        }
        headers = [
            (f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in values.items()
        ]
        return [*headers, (b"date", formatdate(now, usegmt=True).encode())]
