"""Take what pods upload when their command has ended, at the address of the git relay.

A pod has a token that is good for its own run. Requests are small (a piece, or a pack of whole
contents), so each is in memory before it is stored. The room is shared out by runs: whoever is slow
or greedy is so at the cost of its own run.
"""

from __future__ import annotations

import asyncio
import errno
import io
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fyre.artifacts import upload_listing, upload_token
from fyre.artifacts.upload_staging import (
    RefusedUploadError,
    UploadNotOpenError,
    UploadStaging,
    WrongOffsetError,
)
from fyre.stored_form import UnreadableError

log = logging.getLogger(__name__)

REQUEST_MAX = 16 * 1024 * 1024
"""Bytes of one request with contents."""

LISTING_MAX = 64 * 1024 * 1024
"""Bytes of a listing, and of a question which contents are missing."""

_REQUESTS_OF_RUN, _BYTES_OF_RUN = 6, 96 * 1024 * 1024
"""Requests of one run at once, and their bytes in memory: nobody takes another run's room."""

_BYTES_MAX = 512 * 1024 * 1024
"""Bytes of all requests in memory."""

_HANDLED_AT_ONCE = 8

_FRAME_HEAD = 8
"""Bytes before each content of a pack: its length, the most significant byte first."""

_FRAMES_MAX, _NAMES_MAX = 2000, 100_000
"""Contents of one pack, and of one question which are missing."""


class _Room:
    """The requests in memory, by their runs. For one event loop."""

    def __init__(self) -> None:
        self._requests: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def enter(self, run_key: str) -> bool:
        """Note a request; return False if its run has as many as it may have."""
        if self._requests[run_key] >= _REQUESTS_OF_RUN:
            return False
        self._requests[run_key] += 1
        return True

    def take(self, run_key: str, size: int) -> None:
        """Note bytes of a request. Raises ``OSError`` if there is no room for them now."""
        if self._bytes[run_key] + size > _BYTES_OF_RUN or self._bytes.total() + size > _BYTES_MAX:
            raise OSError(errno.EBUSY, "too much is being uploaded at once")
        self._bytes[run_key] += size

    def leave(self, run_key: str, size: int) -> None:
        """Note the end of a request that had so many bytes."""
        self._requests[run_key] -= 1
        self._bytes[run_key] -= size
        if not self._requests[run_key]:
            del self._requests[run_key], self._bytes[run_key]


@dataclass
class UploadEndpoint:
    """The routes below ``/uploads/{run}/{pod}``.

    ``check_open(run_key, pod)`` and ``check_ended``, for the listing, raise ``UploadNotOpenError``;
    ``on_listing`` is called with the same once a pod's listing is kept.
    """

    staging: UploadStaging
    secret: bytes
    check_open: Callable[[str, str], None]
    check_ended: Callable[[str, str], None]
    on_listing: Callable[[str, str], None]
    _room: _Room = field(default_factory=_Room)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_HANDLED_AT_ONCE))

    def routes(self) -> list[Route]:
        """Return the routes: the question what is missing, a pack, a piece, the listing."""
        top = "/uploads/{run}/{pod}"
        return [
            Route(f"{top}/missing", self.find_missing, methods=["POST"]),
            Route(f"{top}/pack", self.take_pack, methods=["POST"]),
            Route(f"{top}/pieces/{{sha256}}", self.take_piece, methods=["PUT"]),
            Route(f"{top}/listing", self.take_listing, methods=["PUT"]),
        ]

    async def find_missing(self, request: Request) -> Response:
        """Answer which contents are missing, and from which byte on: each line is hash and size."""
        return await self._handle(request, LISTING_MAX, self._find_missing)

    async def take_pack(self, request: Request) -> Response:
        """Store the contents of a pack: each has its length before it."""
        return await self._handle(request, REQUEST_MAX, self._take_pack)

    async def take_piece(self, request: Request) -> Response:
        """Store a piece of a content; 409 with the offset where it does not fit."""
        return await self._handle(request, REQUEST_MAX, self._take_piece)

    async def take_listing(self, request: Request) -> Response:
        """Keep the listing; 409 with what is missing where something is."""
        return await self._handle(request, LISTING_MAX, self._take_listing)

    async def _handle(
        self, request: Request, size_max: int, handle: Callable[[Request, bytes], Response]
    ) -> Response:
        run_key, pod = request.path_params["run"], request.path_params["pod"]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not upload_token.is_upload_token(self.secret, run_key, token):
            return _text(401, "the token of this run is needed")
        body = bytearray()
        if not self._room.enter(run_key):
            return _text(429, "too many requests of this run at once")
        try:
            self.check_open(run_key, pod)
            await self._receive_body(request, run_key, body, size_max)
            async with self._slots:
                self.check_open(run_key, pod)  # it may be over by now
                return await run_in_threadpool(handle, request, bytes(body))
        except (UploadNotOpenError, RefusedUploadError, ClientDisconnect, OSError) as error:
            return _refusal(run_key, error)
        finally:
            self._room.leave(run_key, len(body))

    async def _receive_body(
        self, request: Request, run_key: str, body: bytearray, size_max: int
    ) -> None:
        """Add the body to what is in memory; a client that is slow holds nothing of others."""
        async for chunk in request.stream():
            if len(body) + len(chunk) > size_max:
                raise RefusedUploadError(f"a request has at most {size_max:,} bytes")
            self._room.take(run_key, len(chunk))
            body += chunk

    def _find_missing(self, request: Request, body: bytes) -> Response:
        run_key, pod = request.path_params["run"], request.path_params["pod"]
        return JSONResponse(self.staging.find_missing(run_key, pod, _read_sizes(body)))

    def _take_pack(self, request: Request, body: bytes) -> Response:
        run_key, pod = request.path_params["run"], request.path_params["pod"]
        self.staging.add_contents(run_key, pod, _split_pack(body))
        return Response(status_code=204)

    def _take_piece(self, request: Request, body: bytes) -> Response:
        run_key, pod = request.path_params["run"], request.path_params["pod"]
        try:
            self.staging.add_piece(
                run_key,
                pod,
                request.path_params["sha256"],
                size=_as_count(request.query_params.get("size", "")),
                offset=_as_count(request.query_params.get("offset", "")),
                piece=body,
            )
        except WrongOffsetError as error:
            return JSONResponse({"offset": error.offset}, status_code=409)
        return Response(status_code=204)

    def _take_listing(self, request: Request, body: bytes) -> Response:
        run_key, pod = request.path_params["run"], request.path_params["pod"]
        self.check_ended(run_key, pod)
        try:
            listing = upload_listing.from_lines(body)
        except UnreadableError as error:
            raise RefusedUploadError(str(error)) from error
        missing = self.staging.put_listing(run_key, pod, listing)
        if missing:
            return JSONResponse({"missing": missing}, status_code=409)
        self.on_listing(run_key, pod)
        return Response(status_code=204)


def _refusal(run_key: str, error: Exception) -> Response:
    """Return the answer to a request that can't be taken: 503 where it may be later."""
    if isinstance(error, UploadNotOpenError):
        return _text(410 if error.is_final else 503, str(error))
    if isinstance(error, RefusedUploadError):
        return _text(422, str(error))
    if isinstance(error, OSError):
        log.warning("outputs of %s can't be stored: %s", run_key, error)
        return _text(503, f"it can't be stored now: {error.strerror or error}")
    return _text(400, "the request broke off")


def _split_pack(body: bytes) -> Iterator[bytes]:
    position = count = 0
    while position < len(body):
        count += 1
        if count > _FRAMES_MAX:
            raise RefusedUploadError(f"a pack has at most {_FRAMES_MAX:,} contents")
        start = position + _FRAME_HEAD
        size = int.from_bytes(body[position:start], "big")
        if start + size > len(body):
            raise RefusedUploadError("the pack is cut off")
        yield body[start : start + size]
        position = start + size


def _read_sizes(body: bytes) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for line in io.BytesIO(body):
        name, _, size = line.decode(errors="replace").rstrip("\n").partition(" ")
        sizes[name] = _as_count(size)
        if len(sizes) > _NAMES_MAX:
            raise RefusedUploadError(f"a question has at most {_NAMES_MAX:,} contents")
    return sizes


def _as_count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(2**53)):
        raise RefusedUploadError("size and offset are numbers of bytes")
    return int(text)


def _text(status_code: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status_code)
