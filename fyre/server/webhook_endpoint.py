"""The webhook's door: cap the body, verify it, parse it, hand it on, answer. Milliseconds, and nothing is run here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from fyre.github import webhook

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Door:
    """Where deliveries come in. ``hear`` takes the event and must not block."""

    forge_url: str
    secrets: Callable[[], Sequence[bytes]]
    hear: Callable[[webhook.Event], None]

    def routes(self) -> list[Route]:
        """``POST /webhook``."""
        return [Route("/webhook", self.deliver, methods=["POST"])]

    async def deliver(self, request: Request) -> Response:
        """One delivery: 202 when it was understood, 401 unsigned, 413 too large, 400 malformed."""
        try:
            body = await _read(request)
            if body is None:
                return _said(413, f"the body is larger than {webhook.BODY_MAX} bytes")
            webhook.verify(self.secrets(), request.headers, body)
            event = webhook.parse(self.forge_url, request.headers, body)
        except ClientDisconnect:
            return _said(400, "the body ended early")
        except webhook.ForgedError as error:
            return _said(401, str(error))
        except webhook.MalformedError as error:
            log.warning("delivery %s: %s", request.headers.get("x-github-delivery", "")[:64], error)
            return _said(400, str(error))
        if isinstance(event, webhook.Nothing):
            return _said(202, event.why)
        self.hear(event)
        return _said(202, "heard")


async def _read(request: Request) -> bytes | None:
    """The body, or None as soon as it is known to be too large."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > webhook.BODY_MAX:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > webhook.BODY_MAX:
            return None
    return bytes(body)


def _said(code: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=code)
