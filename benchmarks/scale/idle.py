"""What it costs to sweep 100 repositories for an hour in which nothing is pushed, as GitHub
counts: a 304 is free.

Forge, git, receiver and HTTP are the real ones; time is simulated, a sweep a minute. Two scenes:
with one token; as a GitHub App, whose installation token is renewed within the hour, and whose own
signatures hold for minutes. As on GitHub, an answer's tag holds for one token alone, so a renewal
is followed by whole answers: they are told apart. At the end one of the repositories is pushed to,
and that is found.

``python benchmarks/scale/idle.py [REPOSITORIES] [SWEEPS]`` prints JSON; exits 1 if anything else
was counted, or not found.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.lib import up_fixture
from fyre.controller.executor import Executor
from fyre.controller.loop import Controller, SweepEvent
from fyre.engines.local import LocalEngine
from fyre.engines.run_index import RunIndex
from fyre.git.commit_reader import LocalCommitReader
from fyre.github.app_auth import GitHubApp, GitHubAppClient
from fyre.github.client import GitHubClient
from fyre.github.rate_limit import RateLimits
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge as EmbeddedForge
from fyre.local_forge.rate_limits import RateLimitMiddleware
from fyre.reporter.status_reporter import StatusReporter
from fyre.server import http_server
from tests.support import apps

OWNER = "acme"
EVERY = 60.0  # simulated seconds between two sweeps
RUNS = 5  # repositories that have a commit with a run; the others have one without


@dataclass
class Clock:
    """Time that passes when it is told to."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        """Seconds since the epoch, as things are simulated."""
        return self.now


@dataclass
class Counted:
    """Requests as GitHub counts them; ``renewed`` are those that a new token asked, and were answered as before."""

    free: int = 0
    asked: int = 0
    renewed: int = 0
    minted: int = 0
    posted: int = 0  # statuses


class Books:
    """In front of everything: who asked what with which token, and whether it was free."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.now = Counted()
        self._known: dict[
            tuple[str, str], set[str]
        ] = {}  # a question and its answer → tokens that were given it

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Write down what is answered."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        status, body = 0, b""

        async def heard(message: Message) -> None:
            nonlocal status, body
            status, body = message.get("status", status), body + message.get("body", b"")
            await send(message)

        await self._app(scope, receive, heard)
        token = dict(scope["headers"]).get(b"authorization", b"").decode()
        self._count(
            scope["method"],
            f"{scope['path']}?{scope['query_string'].decode()}",
            token,
            status,
            body,
        )

    def _count(self, method: str, path: str, token: str, status: int, body: bytes) -> None:
        tokens = self._known.setdefault((path, hashlib.sha256(body).hexdigest()), set())
        if status == 304:
            self.now.free += 1
        elif method == "POST":
            minted = path.rstrip("?").endswith("/access_tokens")
            self.now.minted, self.now.posted = (
                self.now.minted + minted,
                self.now.posted + (not minted),
            )
        elif tokens and token not in tokens:
            self.now.renewed += 1
        else:
            self.now.asked += 1
        if status != 304:
            tokens.add(token)


class Apps:
    """In front of the forge: what GitHub has for Apps, and the embedded forge has not."""

    def __init__(self, app: ASGIApp, forge: EmbeddedForge) -> None:
        self._app, self._forge = app, forge
        self.github = apps.GitHub(installed={OWNER: 11}, repositories={OWNER: []})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in the forge's place, or have it answer."""
        parts = scope.get("path", "").removeprefix("/api/").split("/")
        if parts[0] not in ("app", "installation"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        authorization = headers.get(b"authorization", b"").decode()
        code, said = self.github.answer(scope["method"], "/" + "/".join(parts), authorization, None)
        if parts == ["installation", "repositories"] and code == 200:
            said["repositories"] = [
                apps.repository(one.name) | {"id": one.id} for one in self._forge.repositories
            ]
            page = int(
                dict(pair.split("=") for pair in scope["query_string"].decode().split("&"))["page"]
            )
            said["repositories"] = said["repositories"][(page - 1) * 100 : page * 100]
        body = json.dumps(said).encode()
        tag = f'"{hashlib.sha256(authorization.encode() + body).hexdigest()}"'.encode()
        same = headers.get(b"if-none-match") == tag
        told = [(b"content-type", b"application/json"), (b"etag", tag)]
        await send(
            {"type": "http.response.start", "status": 304 if same else code, "headers": told}
        )
        await send({"type": "http.response.body", "body": b"" if same else body})


@dataclass
class Served:
    """The forge, what stands in front of it, and the time."""

    forge: EmbeddedForge
    url: str
    books: Books
    ceiled: RateLimitMiddleware
    apps: Apps
    clock: Clock


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """All of it, in a thread."""
    listening, clock = http_server.bind_socket("127.0.0.1", 0, ""), Clock()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    forge = EmbeddedForge(folder / "state", base_url=url)
    front = Apps(routes.create_forge_app(forge), forge)
    ceiled = RateLimitMiddleware(
        front, clock, write_limits=RateLimits(windows=((10**6, 3600.0),), min_interval=0.0)
    )
    books = Books(ceiled)
    server = uvicorn.Server(
        uvicorn.Config(books, lifespan="off", log_level="warning", date_header=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield Served(forge, url, books, ceiled, front, clock)
    finally:
        server.should_exit = True
        thread.join()
        forge.stop()


@contextmanager
def receiver(folder: Path, on: Served, forge: GitHubClient) -> Iterator[Controller]:
    """The real one with the local engine, whose sweeps are called for."""
    engine = LocalEngine(
        folder / "engine", find_git_dir=lambda r: on.forge.repository_git_dir(r.name), jobs=2
    )
    index, mirrors = (
        RunIndex(engine),
        LocalCommitReader(lambda r: on.forge.repository_git_dir(r.name)),
    )
    ledger = StatusReporter(forge, engine, index, lambda key: f"{on.url}/{key}")
    ledger.start()
    try:
        yield Controller(Executor(forge, mirrors, engine, index, ledger, clock=on.clock))
    finally:
        ledger.stop()
        engine.close()
        mirrors.close()


def push(on: Served, path: Path, number: int, message: str) -> None:
    """A commit of its own in one of the repositories."""
    up_fixture.create_commits(path, [message])
    up_fixture.git("push", "-q", "--force", f"{on.url}/{OWNER}/r{number:03}.git", "main", cwd=path)


def scene(
    folder: Path, repositories: int, sweeps: int, forge_of: Callable[[Served], GitHubClient]
) -> dict[str, Any]:
    """The first pass, an hour, a push."""
    with served(folder) as on, receiver(folder, on, forge_of(on)) as sweeper:
        path = up_fixture.create_repository(folder, "work", files=1)
        base = up_fixture.git("rev-parse", "main", cwd=path)
        for number in range(repositories):
            up_fixture.git("reset", "--quiet", "--hard", base, cwd=path)
            push(on, path, number, "Change\n\nFyre-Run: true\n" if number < RUNS else "Change\n")
        first = counted(on, lambda: first_pass(sweeper))
        engine = sweeper.executor.engine
        posted = len(engine.list_records())
        begun = time.perf_counter()
        before = on.ceiled.counted_requests
        hour = counted(on, lambda: [tick(on, sweeper) for _ in range(sweeps)])
        if on.ceiled.counted_requests - before != hour.asked + hour.renewed + hour.minted:
            raise RuntimeError(
                f"the ceilings count {on.ceiled.counted_requests - before}, and here it is {hour}"
            )
        seconds = time.perf_counter() - begun
        push(on, path, repositories - 1, "Change\n\nFyre-Run: true\n")
        after = counted(on, lambda: tick(on, sweeper))
        found = len(engine.list_records()) - posted
    return {
        "first_pass": first.asked + first.renewed + first.minted + first.posted,
        "hour_counted": hour.asked,
        "hour_counted_for_renewed_tokens": hour.renewed + hour.minted,
        "hour_free": hour.free,
        "hour_counted_if_asked_in_full": hour.free + hour.asked + hour.renewed,
        "a_push_then_costs": after.asked,
        "a_push_then_found": found,
        "runs_of_the_first_pass": posted,
        "real_milliseconds_a_sweep": round(seconds / sweeps * 1000),
    }


def first_pass(sweeper: Controller) -> None:
    """Sweep, have the runs end and their statuses posted, and look again: the embedded forge dates
    a repository's last push by its statuses, too.
    """
    sweeper.process_until_done(SweepEvent())
    while not all(
        "succeeded" in record.reported for record in sweeper.executor.engine.list_records()
    ):
        time.sleep(0.05)
    sweeper.process_until_done(SweepEvent())


def tick(on: Served, sweeper: Controller) -> None:
    """A minute passes, then a sweep."""
    on.clock.now += EVERY
    on.apps.github.skew += EVERY
    sweeper.process_until_done(SweepEvent())


def counted(on: Served, do: Callable[[], object]) -> Counted:
    """What was asked meanwhile."""
    on.books.now = Counted()
    do()
    return on.books.now


def with_token(on: Served) -> GitHubClient:
    """One token for all."""
    return GitHubClient(on.url + "/api", lambda: on.forge.service_token)


def as_app(on: Served) -> GitHubClient:
    """A GitHub App, installed once."""
    return GitHubAppClient(
        GitHubApp(on.url + "/api", apps.APP_ID, lambda: apps.pem(apps.private_key()), on.clock)
    )


def main(repositories: int, sweeps: int) -> None:
    """Both scenes."""
    report: dict[str, Any] = {
        "repositories": repositories,
        "sweeps": sweeps,
        "simulated_minutes": sweeps * EVERY / 60,
    }
    for name, forge_of in {"token": with_token, "app": as_app}.items():
        with up_fixture.temporary_folder() as folder:
            report[name] = scene(folder, repositories, sweeps, forge_of)
    print(json.dumps(report, indent=2))
    sys.exit(
        any(
            report[name]["hour_counted"] or not report[name]["a_push_then_found"]
            for name in ("token", "app")
        )
    )


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 100,
        int(sys.argv[2]) if len(sys.argv) > 2 else 60,
    )
