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

from fyre.github.rate_limit import GITHUB, Ceilings
from fyre.local_forge.api import common_json

PRIMARY = (5000, 3600.0)
"""Requests, and seconds after which they are granted anew."""


class Ceiled:
    """An ASGI application with a ceiling; serve it without a ``Date`` of the server's own: here is another time."""

    def __init__(
        self,
        app: ASGIApp,
        clock: Callable[[], float] = time.time,
        *,
        ceilings: Ceilings = GITHUB,
        primary: int = PRIMARY[0],
        says_when: bool = True,  # with a secondary limit's refusal; GitHub does not always
    ) -> None:
        self._app, self._clock, self._ceilings = app, clock, ceilings
        self._primary, self._says_when = primary, says_when
        self._used, self._reset = 0, -math.inf
        self.writes: deque[float] = (
            deque()
        )  # those that were let through, within the longest window
        self.refused: Counter[str] = Counter()  # by the path
        self.let_through = 0
        self.counted = 0  # requests that were not free, of all hours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count, and answer in the application's place where there are too many."""
        if scope["type"] != "http" or not scope["path"].startswith(common_json.API + "/"):
            await self._app(scope, receive, send)
            return
        now, write = self._clock(), scope["method"] != "GET"
        self._begin(now)
        wait = self._write_wait(now) if write else 0.0
        if self._used > self._primary or wait > 0:
            self.refused[scope["path"]] += 1
            await self._refuse(send, now, wait)
            return
        if write:
            self.writes.append(now)
            self.let_through += 1
        await self._app(scope, receive, self._told(send, now))

    def _begin(self, now: float) -> None:
        if now >= self._reset:
            self._used, self._reset = 0, now + PRIMARY[1]
        self._used += 1
        self.counted += 1
        longest = self._ceilings.windows[-1][1]
        while self.writes and self.writes[0] <= now - longest:
            self.writes.popleft()

    def _write_wait(self, now: float) -> float:
        """Seconds until a write would be let through; 0 for at once."""
        waits = [self.writes[-1] + self._ceilings.apart - now] if self.writes else []
        for limit, span in self._ceilings.windows:
            if len(self.writes) >= limit:
                waits.append(self.writes[-limit] + span - now)
        return max([0.0, *waits])

    async def _refuse(self, send: Send, now: float, wait: float) -> None:
        secondary = self._used <= self._primary
        said = (
            "You have exceeded a secondary rate limit" if secondary else "API rate limit exceeded"
        )
        headers = [(b"content-type", b"application/json")]
        if secondary and self._says_when:
            headers.append((b"retry-after", str(math.ceil(wait)).encode()))
        told = self._told(send, now)
        await told({"type": "http.response.start", "status": 403, "headers": headers})
        await told({"type": "http.response.body", "body": json.dumps({"message": said}).encode()})

    def _told(self, send: Send, now: float) -> Send:
        """The same ``send``, with the headers that GitHub puts on every answer."""

        async def tell(message: Message) -> None:
            if message["type"] == "http.response.start":
                free = message["status"] == 304
                self._used -= free
                self.counted -= free
                message["headers"] = [*message["headers"], *self._headers(now)]
            await send(message)

        return tell

    def _headers(self, now: float) -> list[tuple[bytes, bytes]]:
        used = min(self._used, self._primary)
        facts = {
            "limit": self._primary,
            "used": used,
            "remaining": self._primary - used,
            "reset": int(self._reset),
        }
        found = [
            (f"x-ratelimit-{name}".encode(), str(value).encode()) for name, value in facts.items()
        ]
        return [*found, (b"date", formatdate(now, usegmt=True).encode())]
