"""Send one signed POST to the receiver, over a connection that is reused."""

from __future__ import annotations

import hmac
import http.client
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from fyre import http_deadline

DELIVERY_TIMEOUT = 10
"""Seconds for the whole response; GitHub's timeout is the same."""

RESPONSE_BYTES_MAX = 4096
"""Bytes kept of the receiver's response."""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """Result of a POST. ``status_code`` is 0 if there was no response, and ``reason`` says why."""

    status_code: int
    reason: str
    body: str
    duration: float  # seconds


class WebhookSender:
    """Sends requests to one address. Belongs to one thread."""

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._connection: http.client.HTTPConnection | None = None

    def send_delivery(self, headers: Mapping[str, str], body: bytes) -> DeliveryResult:
        """Send a request.

        Reconnects once if the receiver has closed the reused connection meanwhile.
        """
        started = time.monotonic()
        reused = self._connection is not None
        try:
            status_code, reason, text = self._exchange_http(headers, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if reused and isinstance(error, ConnectionError):
                return self.send_delivery(headers, body)
            status_code, reason, text = 0, str(error) or type(error).__name__, ""
        return DeliveryResult(status_code, reason, text, time.monotonic() - started)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.close()
            self._connection = None

    def _exchange_http(self, headers: Mapping[str, str], body: bytes) -> tuple[int, str, str]:
        if self._connection is None:
            host, port = self._url.hostname or "127.0.0.1", self._url.port
            https = self._url.scheme == "https"
            connection = http.client.HTTPSConnection if https else http.client.HTTPConnection
            self._connection = connection(host, port, timeout=DELIVERY_TIMEOUT)
        with http_deadline.bound_requests(DELIVERY_TIMEOUT) as deadline:
            try:
                response, content = self._send_watched(self._connection, deadline, headers, body)
            except (OSError, http.client.HTTPException) as error:
                if deadline.is_over:
                    raise _too_slow() from error
                raise
        if deadline.is_over:  # a response without a length ends like any other
            raise _too_slow()
        if not response.isclosed():  # the rest is not kept, so don't read it
            self.close()
        return response.status, response.reason, content.decode(errors="replace")

    def _send_watched(
        self,
        connection: http.client.HTTPConnection,
        deadline: http_deadline.Deadline,
        headers: Mapping[str, str],
        body: bytes,
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """Return the response, and of its body what is kept; the deadline cuts the connection."""
        path = self._url.path + (f"?{self._url.query}" if self._url.query else "")
        deadline.watch(connection)
        connection.request("POST", path or "/", body, dict(headers))
        deadline.watch(connection)
        response = connection.getresponse()
        return response, response.read(RESPONSE_BYTES_MAX)


def _too_slow() -> TimeoutError:
    return TimeoutError(f"no whole response within {DELIVERY_TIMEOUT} s")


def delivery_headers(
    secret: bytes, event: str, guid: str, hook_id: int, body: bytes
) -> dict[str, str]:
    """Return GitHub's headers of a delivery, with its signature."""
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
