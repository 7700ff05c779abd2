"""The git relay: pods fetch their code here with a key of their own, and never see a credential of the forge.

Reads only, by smart HTTP (protocols v0 and v2), any SHA of a repository at any depth. Who waits for a place, or sends
its request slowly, holds no process; who stops reading loses its own.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from fyre.git import access_token, http_backend
from fyre.git.lfs import Lfs
from fyre.server import lfs_endpoint

log = logging.getLogger(__name__)

BODY_MAX = 16 * 1024 * 1024
"""Bytes of a request: wants and haves, so megabytes mean tens of thousands of commits to compare."""

_SERVED = {("GET", "info/refs", "git-upload-pack"), ("POST", "git-upload-pack", "")}
_SETTINGS = {
    "uploadpack.allowAnySHA1InWant": "true",  # a run's SHA may be no branch's any more; the key is the permission
    "uploadpack.allowFilter": "true",
    "transfer.hideRefs": "refs/fyre/",  # our pins carry the keys of other people's runs
    "http.receivepack": "false",
}


@dataclass
class Relay:
    """The ASGI application. ``git_dir`` finds a repository on this disk by its id; None where there is none.

    ``places`` are served at once; ``stall`` is in seconds: so long may a client neither send nor read.
    """

    secrets: Callable[[], Sequence[bytes]]
    git_dir: Callable[[int], Path | None]
    places: int = 32
    stall: float = 120.0
    lfs: Lfs | None = None
    clock: Callable[[], float] = time.time
    _places: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._places = asyncio.Semaphore(self.places)

    def routes(self) -> list[Route]:
        """``/git/{repository id}.git/…``."""
        return [Route("/git/{repository}.git/{service:path}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request of a git client: 401 without a key of ours, 404 for what the key is not for."""
        request = Request(scope, receive)
        try:
            answer = await self._serve(request, send)
            if answer is not None:
                await answer(scope, receive, self._patient(send))
        except TimeoutError:  # the server drops the connection
            log.warning("%s: the client stalled for %.0f s", request.url.path, self.stall)

    async def _serve(self, request: Request, send: Send) -> Response | None:
        """Serve it, or say what to answer instead."""
        grant = access_token.grant(self.secrets(), _password(request), self.clock())
        if grant is None:
            return _said(
                401, "a relay key is needed", {"WWW-Authenticate": 'Basic realm="fyre relay"'}
            )
        service = request.path_params["service"]
        repository = _number(request.path_params["repository"])
        offered = self._offers(request.method, service, request.query_params.get("service", ""))
        if repository not in grant.repository_ids or not offered:
            return _said(404, "no such repository for this key")
        git_dir = await run_in_threadpool(self.git_dir, repository)
        if (
            git_dir is None
        ):  # it was here when the run was launched: another disk, on which it is being fetched
            return _said(503, "the mirror is not here yet")
        body = await self._body(request)
        if body is None:
            return _said(413, f"the request is larger than {BODY_MAX} bytes")
        if self.lfs is not None and service.startswith(lfs_endpoint.PREFIX):
            return await lfs_endpoint.answer(self.lfs, request, body, repository, git_dir)
        request = Request(request.scope, _again(body, request.receive))
        environment = http_backend.environment(request, git_dir, service, **_config(git_dir))
        async with self._places:
            await http_backend.Exchange(request, self._patient(send)).run(environment)
        return None

    def _offers(self, method: str, service: str, query: str) -> bool:
        return (method, service, query) in _SERVED or (
            self.lfs is not None and lfs_endpoint.offers(method, service)
        )

    async def _body(self, request: Request) -> bytes | None:
        """The whole request, before it takes a place; None where it is too large or its client is gone."""
        body, more = bytearray(), True
        while more and len(body) <= BODY_MAX:
            async with asyncio.timeout(self.stall):
                message = await request.receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return None if more else bytes(body)

    def _patient(self, send: Send) -> Send:
        async def sent(message: Message) -> None:
            async with asyncio.timeout(self.stall):
                await send(message)

        return sent


def _password(request: Request) -> str:
    """The password of Basic authentication; the user's name is anything. Empty where there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # not base64, or not text
        return ""


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def _again(body: bytes, receive: Receive) -> Receive:
    """A body that has been read, then whatever comes after it."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    def next_message() -> Awaitable[Message]:
        return _ready(first.pop()) if first else receive()

    return next_message


async def _ready(message: Message) -> Message:
    return message


def _config(git_dir: Path) -> dict[str, str]:
    """The settings as the environment carries them: whatever the repository's own configuration says."""
    settings = {**_SETTINGS, "safe.directory": str(git_dir)}
    pairs = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return pairs


def _said(code: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status_code=code, headers=headers)
