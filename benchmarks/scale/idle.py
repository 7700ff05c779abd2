"""The requests of a sweep over 100 repositories for an hour without a push, as GitHub counts them.

A 304 is free. Forge, git, controller and HTTP are the real ones; time is simulated, a sweep a
minute. Two scenes: with one token; as a GitHub App, whose installation token is renewed within the
hour, and whose own signatures are valid for minutes. As on GitHub, an ETag holds for one token
alone, so a renewal is followed by whole responses: they are counted apart. At the end one of the
repositories is pushed to, and that is found.

``python benchmarks/scale/idle.py [REPOSITORIES] [SWEEPS]`` prints JSON; exits 1 if anything else
was counted, or the push was not found.
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
from fyre.controller.events import SweepEvent
from fyre.controller.executor import Executor
from fyre.controller.loop import Controller
from fyre.engines.local import LocalEngine
from fyre.engines.run_index import RunIndex
from fyre.git.commit_reader import LocalCommitReader
from fyre.github.app_auth import GitHubApp, GitHubAppClient
from fyre.github.client import GitHubClient
from fyre.github.rate_limit import RateLimits
from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.rate_limits import RateLimitMiddleware
from fyre.reporter.status_reporter import StatusReporter
from fyre.runs.run_query import ALL_RUNS
from fyre.server import http_server
from tests.support import apps

OWNER = "acme"
EVERY = 60.0  # simulated seconds between two sweeps
RUNS = 5  # repositories that have a commit with a run; the others have one without


@dataclass
class Clock:
    """Simulated time that the benchmark moves."""

    now: float = field(default_factory=time.time)

    def __call__(self) -> float:
        """Return the simulated seconds since the epoch."""
        return self.now


@dataclass
class RequestCounts:
    """Requests as GitHub counts them.

    ``renewed`` are those that a new token made, and whose response was as before.
    """

    free: int = 0
    asked: int = 0
    renewed: int = 0
    minted: int = 0
    posted: int = 0  # statuses


class CountingMiddleware:
    """In front of everything: counts requests by token, free ones apart."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.now = RequestCounts()
        # a request and its response → the tokens that have had it
        self._known: dict[tuple[str, str], set[str]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the response."""
        if scope["type"] != "http" or not scope["path"].startswith("/api/"):
            await self._app(scope, receive, send)
            return
        status, body = 0, b""

        async def send_and_count(message: Message) -> None:
            nonlocal status, body
            status, body = message.get("status", status), body + message.get("body", b"")
            await send(message)

        await self._app(scope, receive, send_and_count)
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


class AppMiddleware:
    """In front of the forge: the endpoints for Apps that the local forge does not have."""

    def __init__(self, app: ASGIApp, forge: LocalForge) -> None:
        self._app, self._forge = app, forge
        self.github = apps.GitHub(installed={OWNER: 11}, repositories={OWNER: []})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond to requests about Apps, and pass all others to the forge."""
        parts = scope.get("path", "").removeprefix("/api/").split("/")
        if parts[0] not in ("app", "installation"):
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        authorization = headers.get(b"authorization", b"").decode()
        code, data = self.github.answer(scope["method"], "/" + "/".join(parts), authorization, None)
        if parts == ["installation", "repositories"] and code == 200:
            data["repositories"] = [
                apps.repository(one.name) | {"id": one.id} for one in self._forge.repositories
            ]
            page = int(
                dict(pair.split("=") for pair in scope["query_string"].decode().split("&"))["page"]
            )
            data["repositories"] = data["repositories"][(page - 1) * 100 : page * 100]
        body = json.dumps(data).encode()
        tag = f'"{hashlib.sha256(authorization.encode() + body).hexdigest()}"'.encode()
        same = headers.get(b"if-none-match") == tag
        response_headers = [(b"content-type", b"application/json"), (b"etag", tag)]
        await send(
            {
                "type": "http.response.start",
                "status": 304 if same else code,
                "headers": response_headers,
            }
        )
        await send({"type": "http.response.body", "body": b"" if same else body})


@dataclass
class ServedForge:
    """The forge, the middleware in front of it, and the time."""

    forge: LocalForge
    url: str
    counting: CountingMiddleware
    limited: RateLimitMiddleware
    apps: AppMiddleware
    clock: Clock


@contextmanager
def serve_forge(folder: Path) -> Iterator[ServedForge]:
    """Serve all of it in a thread."""
    listening, clock = http_server.bind_socket("127.0.0.1", 0, ""), Clock()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    forge = LocalForge(folder / "state", base_url=url)
    front = AppMiddleware(routes.create_forge_app(forge), forge)
    limited = RateLimitMiddleware(
        front, clock, write_limits=RateLimits(windows=((10**6, 3600.0),), min_interval=0.0)
    )
    counting = CountingMiddleware(limited)
    server = uvicorn.Server(
        uvicorn.Config(counting, lifespan="off", log_level="warning", date_header=False)
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield ServedForge(forge, url, counting, limited, front, clock)
    finally:
        server.should_exit = True
        thread.join()
        forge.stop()


@contextmanager
def run_controller(folder: Path, served: ServedForge, forge: GitHubClient) -> Iterator[Controller]:
    """Create the real controller with the local engine; the benchmark calls its sweeps."""
    engine = LocalEngine(
        folder / "engine", find_git_dir=lambda r: served.forge.repository_git_dir(r.name), jobs=2
    )
    index, mirrors = (
        RunIndex(engine),
        LocalCommitReader(lambda r: served.forge.repository_git_dir(r.name)),
    )
    ledger = StatusReporter(forge, engine, index, lambda key: f"{served.url}/{key}")
    ledger.start()
    try:
        yield Controller(Executor(forge, mirrors, engine, index, ledger, clock=served.clock))
    finally:
        ledger.stop()
        engine.close()
        mirrors.close()


def push(served: ServedForge, path: Path, number: int, message: str) -> None:
    """Push a commit of its own to one of the repositories."""
    up_fixture.create_commits(path, [message])
    up_fixture.git(
        "push", "-q", "--force", f"{served.url}/{OWNER}/r{number:03}.git", "main", cwd=path
    )


def run_scene(
    folder: Path, repositories: int, sweeps: int, forge_of: Callable[[ServedForge], GitHubClient]
) -> dict[str, Any]:
    """Count the first sweeps, an hour, and a push."""
    with (
        serve_forge(folder) as served,
        run_controller(folder, served, forge_of(served)) as controller,
    ):
        path = up_fixture.create_repository(folder, "work", files=1)
        base = up_fixture.git("rev-parse", "main", cwd=path)
        for number in range(repositories):
            up_fixture.git("reset", "--quiet", "--hard", base, cwd=path)
            push(
                served, path, number, "Change\n\nFyre-Run: true\n" if number < RUNS else "Change\n"
            )
        first = count_requests(served, lambda: first_pass(controller))
        engine = controller.executor.engine
        posted = len(engine.query_runs(ALL_RUNS))
        begun = time.perf_counter()
        before = served.limited.counted_requests
        hour = count_requests(served, lambda: [tick(served, controller) for _ in range(sweeps)])
        if served.limited.counted_requests - before != hour.asked + hour.renewed + hour.minted:
            raise RuntimeError(
                f"the rate limits count {served.limited.counted_requests - before}, "
                f"the middleware {hour}"
            )
        seconds = time.perf_counter() - begun
        push(served, path, repositories - 1, "Change\n\nFyre-Run: true\n")
        after = count_requests(served, lambda: tick(served, controller))
        found = len(engine.query_runs(ALL_RUNS)) - posted
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


def first_pass(controller: Controller) -> None:
    """Sweep, wait until the statuses of all runs are posted, and sweep again.

    The local forge dates a repository's last push by its statuses, too.
    """
    controller.process_until_done(SweepEvent())
    while not all(
        "succeeded" in record.reported for record in controller.executor.engine.query_runs(ALL_RUNS)
    ):
        time.sleep(0.05)
    controller.process_until_done(SweepEvent())


def tick(served: ServedForge, controller: Controller) -> None:
    """Let a minute pass, then sweep."""
    served.clock.now += EVERY
    served.apps.github.skew += EVERY
    controller.process_until_done(SweepEvent())


def count_requests(served: ServedForge, action: Callable[[], object]) -> RequestCounts:
    """Return the requests that a function makes."""
    served.counting.now = RequestCounts()
    action()
    return served.counting.now


def with_token(served: ServedForge) -> GitHubClient:
    """Return a client with one token."""
    return GitHubClient(served.url + "/api", lambda: served.forge.service_token)


def as_app(served: ServedForge) -> GitHubClient:
    """Return the client of a GitHub App that is installed once."""
    return GitHubAppClient(
        GitHubApp(
            served.url + "/api", apps.APP_ID, lambda: apps.pem(apps.private_key()), served.clock
        )
    )


def main(repositories: int, sweeps: int) -> None:
    """Run both scenes, and print."""
    report: dict[str, Any] = {
        "repositories": repositories,
        "sweeps": sweeps,
        "simulated_minutes": sweeps * EVERY / 60,
    }
    for name, forge_of in {"token": with_token, "app": as_app}.items():
        with up_fixture.temporary_folder() as folder:
            report[name] = run_scene(folder, repositories, sweeps, forge_of)
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
