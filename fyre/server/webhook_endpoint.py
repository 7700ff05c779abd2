"""Serve ``/webhook``: limit the body, verify it, parse it, queue the event, answer.

It takes milliseconds; no event is processed here.
"""

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
class WebhookEndpoint:
    """The endpoint for deliveries. ``enqueue_event`` takes the event and must not block."""

    forge_url: str
    secrets: Callable[[], Sequence[bytes]]
    enqueue_event: Callable[[webhook.Event], None]

    def routes(self) -> list[Route]:
        """Return the route ``POST /webhook``."""
        return [Route("/webhook", self.receive_delivery, methods=["POST"])]

    async def receive_delivery(self, request: Request) -> Response:
        """Answer a delivery: 202 if it was understood.

        401 if it is not signed, 413 if it is too large, 400 if it is malformed.
        """
        try:
            body = await _read_body(request)
            if body is None:
                return _text_response(413, f"the body is larger than {webhook.BODY_MAX} bytes")
            webhook.verify_signature(self.secrets(), request.headers, body)
            event = webhook.parse_event(self.forge_url, request.headers, body)
        except ClientDisconnect:
            return _text_response(400, "the body ended early")
        except webhook.SignatureError as error:
            return _text_response(401, str(error))
        except webhook.PayloadError as error:
            log.warning("delivery %s: %s", request.headers.get("x-github-delivery", "")[:64], error)
            return _text_response(400, str(error))
        if isinstance(event, webhook.IgnoredEvent):
            return _text_response(202, event.reason)
        self.enqueue_event(event)
        return _text_response(202, "heard")


async def _read_body(request: Request) -> bytes | None:
    """Return the body, or None as soon as it is known to be too large."""
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or int(declared) > webhook.BODY_MAX:
        return None
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > webhook.BODY_MAX:
            return None
    return bytes(body)


def _text_response(status_code: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=status_code)
