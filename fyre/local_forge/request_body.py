"""Read the body of a request, up to a limit."""

from __future__ import annotations

from starlette.requests import Request

from fyre.errors import TooLargeError


async def read_body(request: Request, max_bytes: int) -> bytes:
    """Return the whole body.

    Raises ``TooLargeError`` as soon as more bytes came, ``ClientDisconnect`` if not all did.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise TooLargeError(f"the body is larger than {max_bytes} bytes")
    return bytes(body)
