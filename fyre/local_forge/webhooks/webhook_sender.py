"""One signed POST to the receiver, over a connection that is kept."""

from __future__ import annotations

import hmac
import http.client
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

DELIVERY_TIMEOUT = 10
"""Seconds; GitHub waits as long."""

RESPONSE_BYTES_MAX = 4096
"""Bytes kept of what the receiver answers."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What became of a POST. ``code`` is 0 when there was no answer, and ``text`` says why."""

    status_code: int
    reason: str
    body: str
    duration: float  # seconds


class WebhookSender:
    """Posts to one address. Belongs to one thread."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._connection: http.client.HTTPConnection | None = None

    def send_delivery(self, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        """Send it; a kept connection that the receiver has closed meanwhile is made anew, once."""
        began = time.monotonic()
        kept = self._connection is not None
        try:
            code, text, answer = self._exchange_http(headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if kept and isinstance(error, ConnectionError):
                return self.send_delivery(headers, body)
            return DeliveryResult(
                0, str(error) or type(error).__name__, "", time.monotonic() - began
            )
        return DeliveryResult(code, text, answer, time.monotonic() - began)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

    def _exchange_http(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str, str]:
        if self._connection is None:
            kind = (
                http.client.HTTPSConnection
                if self._url.scheme == "https"
                else http.client.HTTPConnection
            )
            self._connection = kind(
                self._url.hostname or "127.0.0.1", self._url.port, timeout=DELIVERY_TIMEOUT
            )
        path = self._url.path + (f"?{self._url.query}" if self._url.query else "")
        self._connection.request("POST", path or "/", body, dict(headers))
        response = self._connection.getresponse()
        answer = response.read(RESPONSE_BYTES_MAX)
        if not response.isclosed():  # more than is kept: the rest is not worth reading
            self.close()
        return response.status, response.reason, answer.decode(errors="replace")


def delivery_headers(
    secret: bytes, event: str, guid: str, hook_id: int, body: bytes
) -> dict[str, str]:
    """GitHub's headers of a delivery, signed."""
    return {
        "Accept": "*/*",
        "Content-Type": "application/json",
        "User-Agent": "GitHub-Hookshot/fyre",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": event,
        "X-GitHub-Hook-ID": str(hook_id),
        "X-GitHub-Hook-Installation-Target-ID": str(hook_id),
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-Hub-Signature-256": "sha256=" + hmac.new(secret, body, "sha256").hexdigest(),
    }
