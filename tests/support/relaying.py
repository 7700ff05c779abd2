"""Serve a relay, and a forge that it fetches from, each on a real server."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fyre.git import access_token, http_backend
from fyre.git.lfs import LfsObjectStore
from fyre.server.git_relay import GitRelay

SECRET = b"the relay's secret"
NOW = 1_000_000.0


@contextmanager
def serve(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Serve an application until the block ends; yield its address."""
    listener = socket.create_server(("127.0.0.1", port), backlog=256)
    config = uvicorn.Config(
        app, http="httptools", lifespan="off", access_log=False, log_config=None
    )
    config.timeout_graceful_shutdown = 1
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)
        listener.close()


@dataclass
class Forge:
    """Serves every repository under a directory to who knows the token; records the requests."""

    root: Path
    token: str = "forge-token"
    asked: list[str] = field(default_factory=list)
    broken: int = 0  # the next requests that get a 503

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/{repository}.git/{service:path}", self),
                Route("/lfs/{oid}", self._object),
            ]
        )

    @property
    def fetches(self) -> int:
        """Return the number of accepted requests for refs: one for each fetch."""
        return sum(path.endswith("info/refs") for path in self.asked)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        git_dir = self.root / f"{request.path_params['repository']}.git"
        right = "Basic " + base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        answer = None
        if self.broken:
            self.broken -= 1
            answer = PlainTextResponse("try later", 503)
        elif request.headers.get("authorization") != right:
            answer = PlainTextResponse("who?", 401, {"WWW-Authenticate": "Basic"})
        elif not git_dir.exists():
            answer = PlainTextResponse("what?", 404)
        if answer is not None:
            await answer(scope, receive, send)
            return
        self.asked.append(request.url.path)
        if "info/lfs" in request.url.path:
            await (await self._lfs(request))(scope, receive, send)
            return
        environment = http_backend.cgi_environment(request, git_dir, request.path_params["service"])
        await http_backend.CgiRequest(request, send).run(environment)

    async def _lfs(self, request: Request) -> Response:
        """Answer links with a header of their own, as to another host; ``lfs`` has the objects."""
        objects = []
        for one in (await request.json())["objects"]:
            link = {"href": f"{request.base_url}lfs/{one['oid']}", "header": {"X-Link": "good"}}
            found = (self.root / "lfs" / one["oid"]).exists()
            gone = {"error": {"code": 404, "message": "Object does not exist"}}
            objects.append(one | ({"actions": {"download": link}} if found else gone))
        return JSONResponse({"transfer": "basic", "objects": objects})

    async def _object(self, request: Request) -> Response:
        self.asked.append(request.url.path)
        if request.headers.get("x-link") != "good" or "authorization" in request.headers:
            return PlainTextResponse("not like this", 403)
        return FileResponse(self.root / "lfs" / request.path_params["oid"])


@dataclass(frozen=True)
class Cut:
    """The connection breaks after so many bytes of the answer, as where the server is killed."""

    after: int

    def shorten(self, send: Send) -> Send:
        left = self.after

        async def send_some(message: Message) -> None:
            nonlocal left
            body = message.get("body", b"")
            if len(body) > left:
                await send({**message, "body": body[:left], "more_body": True})
                raise ConnectionAbortedError("this is where the server is killed")
            left -= len(body)
            await send(message)

        return send_some


@dataclass
class Relayed:
    """A running relay over the bare repositories ``ID.git`` in a directory."""

    url: str
    root: Path
    # What comes in place of the next answers: an HTTP status, a cut.
    broken: list[int | Cut] = field(default_factory=list)

    def repository(self, number: int = 7) -> str:
        return f"{self.url}/git/{number}.git"

    def key(self, *numbers: int, expires: float = NOW + 60) -> str:
        return access_token.create_access_token(SECRET, numbers or (7,), "run-1", expires)

    def find(self, number: int) -> Path | None:
        path = self.root / f"{number}.git"
        return path if path.exists() else None


@contextmanager
def relaying(
    root: Path,
    *,
    places: int = 32,
    stall: float = 120.0,
    lfs: LfsObjectStore | None = None,
    port: int = 0,
    fetch: Callable[[int, str], None] | None = None,
    may_start: Callable[[str], bool] = lambda _: True,
) -> Iterator[Relayed]:
    """Serve a relay whose clock always shows ``NOW``."""
    relayed = Relayed("", root)
    relay = GitRelay(
        lambda: [SECRET],
        relayed.find,
        places,
        stall,
        lfs,
        clock=lambda: NOW,
        fetch_commit=fetch,
        may_start=may_start,
    )
    app = Starlette(routes=relay.routes())

    async def breaking(scope: Scope, receive: Receive, send: Send) -> None:
        trouble = relayed.broken.pop(0) if relayed.broken else None
        if isinstance(trouble, int):
            await PlainTextResponse("trouble", trouble)(scope, receive, send)
        else:
            await app(scope, receive, trouble.shorten(send) if trouble else send)

    with serve(breaking, port) as relayed.url:
        yield relayed
