"""Take what pods upload when their command has ended, at the address of the git relay.

A pod has a token that is good for its own run. Requests are small (a piece, or a pack of whole
contents), so each is in memory before it is stored, and a client that is slow holds nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from fyre.artifacts import upload_token
from fyre.artifacts.upload_staging import (
    RefusedUploadError,
    UploadNotOpenError,
    UploadStaging,
    WrongOffsetError,
)

log = logging.getLogger(__name__)

REQUEST_MAX = 16 * 1024 * 1024
"""Bytes of one request with contents."""

LISTING_MAX = 128 * 1024 * 1024
"""Bytes of a listing, and of a question which contents are missing."""

_CONCURRENT_MAX = 8
"""Requests that are in memory at once."""

_FRAME_HEAD = 8
"""Bytes before each content of a pack: its length, the most significant byte first."""


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
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_MAX))

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
        """Answer which of the contents ``{sha256: size}`` are missing, and from which byte on."""
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
        async with self._slots:
            try:
                self.check_open(run_key, pod)
                body = await _receive_body(request, size_max)
                return await run_in_threadpool(handle, request, body)
            except UploadNotOpenError as error:
                return _text(410 if error.is_final else 503, str(error))
            except RefusedUploadError as error:
                return _text(422, str(error))
            except ClientDisconnect:
                return _text(400, "the request broke off")
            except OSError as error:
                log.warning("outputs of %s can't be stored: %s", run_key, error)
                return _text(503, f"it can't be stored now: {error.strerror or error}")

    def _find_missing(self, request: Request, body: bytes) -> Response:
        sizes = _read_json(body)
        if not isinstance(sizes, dict) or not all(type(size) is int for size in sizes.values()):
            raise RefusedUploadError("it is no object of sizes")
        run_key, pod = request.path_params["run"], request.path_params["pod"]
        return JSONResponse(self.staging.find_missing(run_key, pod, sizes))

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
        missing = self.staging.put_listing(run_key, pod, _read_json(body))
        if missing:
            return JSONResponse({"missing": missing}, status_code=409)
        self.on_listing(run_key, pod)
        return Response(status_code=204)


async def _receive_body(request: Request, size_max: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > size_max:
            raise RefusedUploadError(f"a request has at most {size_max:,} bytes")
    return bytes(body)


def _split_pack(body: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(body):
        start = position + _FRAME_HEAD
        size = int.from_bytes(body[position:start], "big")
        if start + size > len(body):
            raise RefusedUploadError("the pack is cut off")
        yield body[start : start + size]
        position = start + size


def _read_json(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise RefusedUploadError("it is no JSON") from error


def _as_count(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > len(str(2**53)):
        raise RefusedUploadError("size and offset are numbers of bytes")
    return int(text)


def _text(status_code: int, text: str) -> Response:
    return PlainTextResponse(f"{text}\n", status_code=status_code)
