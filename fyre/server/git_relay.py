"""Serve git fetches to pods: each has a key of its own, and never sees a GitHub credential.

It is read only, by smart HTTP (protocols v0 and v2), for any SHA of a repository at any depth. A
client that waits for a slot, or sends its request slowly, holds no process; one that stops reading
loses its process.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cachetools import TTLCache
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from fyre.errors import TransientError, UserError
from fyre.git import access_token, http_backend
from fyre.git.access_token import TokenClaims
from fyre.git.lfs import LfsObjectStore
from fyre.git.wanted_commits import find_wanted_commits
from fyre.server import lfs_endpoint

log = logging.getLogger(__name__)

BODY_MAX = 16 * 1024 * 1024
"""Bytes of a request. It holds wants and haves, so megabytes mean tens of thousands of commits to
compare."""

_SOUGHT_MAX, _SOUGHT_SECONDS = 10_000, 60.0
"""Commits that were asked for lately, and how long the forge is not asked for them again."""

_SERVED_REQUESTS = {("GET", "info/refs", "git-upload-pack"), ("POST", "git-upload-pack", "")}
_GIT_SETTINGS = {
    # A run's SHA may be on no branch any more; the key is the permission.
    "uploadpack.allowAnySHA1InWant": "true",
    "uploadpack.allowFilter": "true",
    "transfer.hideRefs": "refs/fyre/",  # our pins carry the keys of other people's runs
    "http.receivepack": "false",
}


@dataclass
class GitRelay:
    """The ASGI application.

    ``find_git_dir`` finds a repository on this disk by its id; None where there is none.
    ``max_concurrent`` clients are served at once. ``idle_timeout`` is in seconds: for so long a
    client may neither send nor read.
    """

    secrets: Callable[[], Sequence[bytes]]
    find_git_dir: Callable[[int], Path | None]
    max_concurrent: int = 32
    idle_timeout: float = 120.0
    lfs: LfsObjectStore | None = None
    clock: Callable[[], float] = time.time
    # Fetches a commit that a repository lacks, if the forge has it.
    fetch_commit: Callable[[int, str], None] | None = None
    # False for a run whose command has ended: no other pod may start it.
    may_start: Callable[[str], bool] = lambda _: True
    _sought: TTLCache[tuple[int, str], bool] = field(init=False)
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._sought = TTLCache(_SOUGHT_MAX, _SOUGHT_SECONDS)
        self._slots = asyncio.Semaphore(self.max_concurrent)

    def routes(self) -> list[Route]:
        """Return the route ``/git/{repository id}.git/…``."""
        return [Route("/git/{repository}.git/{service:path}", self)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request: 401 without a valid key, 404 for a repository outside the key."""
        request = Request(scope, receive)
        try:
            response = await self._serve_git(request, send)
            if response is not None:
                await response(scope, receive, self._with_send_timeout(send))
        except TimeoutError:  # the server drops the connection
            log.warning("%s: the client stalled for %.0f s", request.url.path, self.idle_timeout)

    async def _serve_git(self, request: Request, send: Send) -> Response | None:
        """Serve a request, or return the response to send instead."""
        claims = self._authorize(request)
        if isinstance(claims, Response):
            return claims
        service = request.path_params["service"]
        repository_id = _parse_repository_id(request.path_params["repository"])
        service_query = request.query_params.get("service", "")
        is_offered = self._is_offered(request.method, service, service_query)
        if repository_id not in claims.repository_ids or not is_offered:
            return _text_response(404, "no such repository for this key")
        git_dir = await run_in_threadpool(self.find_git_dir, repository_id)
        body = None if git_dir is None else await self._receive_body(request)
        if git_dir is None or body is None:
            # A mirror was present when the run was launched: this is another disk, which is still
            # fetching it.
            return (
                _text_response(503, "the mirror is not here yet")
                if git_dir is None
                else _text_response(413, f"the request is larger than {BODY_MAX} bytes")
            )
        if self.lfs is not None and service.startswith(lfs_endpoint.LFS_OBJECTS_PREFIX):
            return await lfs_endpoint.handle_lfs_request(
                self.lfs, request, body, repository_id, git_dir
            )
        if not await self._fetch_missing(request, repository_id, body):
            return _text_response(503, "the commit is not here yet")
        await self._run_backend(request, send, body, git_dir)
        return None

    async def _run_backend(self, request: Request, send: Send, body: bytes, git_dir: Path) -> None:
        """Serve a request with git, once there is a slot."""
        service = request.path_params["service"]
        request = Request(request.scope, _replay_body(body, request.receive))
        environment = http_backend.cgi_environment(
            request, git_dir, service, **_git_config_env(git_dir)
        )
        async with self._slots:
            await http_backend.CgiRequest(request, self._with_send_timeout(send)).run(environment)

    async def _fetch_missing(self, request: Request, repository_id: int, body: bytes) -> bool:
        """Fetch the wanted commits that the mirror lacks; return False if that failed.

        The mirror of a submodule may be older than what is asked for, and so may any mirror of a
        receiver that has just begun. What the forge lacks too is for git to refuse.
        """
        if self.fetch_commit is None or request.method != "POST":
            return True
        encoding = request.headers.get("content-encoding", "")
        for sha in find_wanted_commits(body, encoding):
            if (repository_id, sha) in self._sought:
                continue
            try:
                await run_in_threadpool(self.fetch_commit, repository_id, sha)
            except (TransientError, UserError) as error:
                log.warning("commit %s of %s can't be fetched: %s", sha[:12], repository_id, error)
                return False
            self._sought[repository_id, sha] = True
        return True

    def _authorize(self, request: Request) -> TokenClaims | Response:
        """Return what a request's key is good for, or the refusal."""
        claims = access_token.verify_access_token(
            self.secrets(), _basic_auth_password(request), self.clock()
        )
        if claims is None:
            headers = {"WWW-Authenticate": 'Basic realm="fyre relay"'}
            return _text_response(401, "a relay key is needed", headers)
        if not self.may_start(claims.run_key):
            return _text_response(403, "the command of this run has ended")
        return claims

    def _is_offered(self, method: str, service: str, service_query: str) -> bool:
        return (method, service, service_query) in _SERVED_REQUESTS or (
            self.lfs is not None and lfs_endpoint.is_lfs_request(method, service)
        )

    async def _receive_body(self, request: Request) -> bytes | None:
        """Return the whole body, before the request takes a slot.

        None if it is too large or its client is gone.
        """
        body, more = bytearray(), True
        while more and len(body) <= BODY_MAX:
            async with asyncio.timeout(self.idle_timeout):
                message = await request.receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            more = message.get("more_body", False)
        return None if more else bytes(body)

    def _with_send_timeout(self, send: Send) -> Send:
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(self.idle_timeout):
                await send(message)

        return send_in_time


def _basic_auth_password(request: Request) -> str:
    """Return the password of Basic authentication, with any user name; empty if there is none."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value.strip(), validate=True).decode().partition(":")[2]
    except ValueError:  # not base64, or not text
        return ""


def _parse_repository_id(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else -1


def _replay_body(body: bytes, receive: Receive) -> Receive:
    """Return a channel that repeats a body that was read, then whatever comes after it."""
    replayed: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    def next_message() -> Awaitable[Message]:
        return _return_message(replayed.pop()) if replayed else receive()

    return next_message


async def _return_message(message: Message) -> Message:
    return message


def _git_config_env(git_dir: Path) -> dict[str, str]:
    """Return git's settings as environment variables, which go before the repository's own."""
    settings = {**_GIT_SETTINGS, "safe.directory": str(git_dir)}
    pairs = {"GIT_CONFIG_COUNT": str(len(settings))}
    for number, (key, value) in enumerate(settings.items()):
        pairs |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return pairs


def _text_response(status_code: int, text: str, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status_code=status_code, headers=headers)
