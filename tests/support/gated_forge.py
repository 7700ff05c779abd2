"""A whole ``fyre serve`` and its forge, with a gate in front of the forge that a test works."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.types import ASGIApp, Receive, Scope, Send

from fyre.apps import config as configs
from fyre.apps.serve import FyreServe
from fyre.runs.run_query import ALL_RUNS
from tests.conftest import git
from tests.support.local_forge import Served, served
from tests.support.waiting import until


@dataclass
class Gate:
    """In front of the forge: requests that a test holds back, leads elsewhere or answers."""

    app: ASGIApp
    held: Callable[[str], bool] = lambda _: False
    waiting: list[str] = field(default_factory=list)  # the paths of those that are held back
    stale: dict[str, str] = field(default_factory=dict)
    """Fetches of these paths are answered with what is at those."""

    unknown: list[str] = field(default_factory=list)
    """SHAs to which the receiver can't write yet: the forge does not know them."""

    refused: int = 0  # writes to them
    fetches: int = 0  # of stale repositories

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, once it is not held back."""
        if scope["type"] != "http":
            return
        url = _url(scope)
        if self.held(url):
            self.waiting.append(url)
            while self.held(url):
                await asyncio.sleep(0.01)
        if self._is_unknown(scope):
            self.refused += 1
            await _send_unknown(send)
        else:
            await self.app(self._as_stale(scope), receive, send)

    def _is_unknown(self, scope: Scope) -> bool:
        is_ours = b"user:" not in dict(scope["headers"]).get(b"authorization", b"")
        return scope["method"] == "POST" and is_ours and any(s in _url(scope) for s in self.unknown)

    def _as_stale(self, scope: Scope) -> Scope:
        for path, other in self.stale.items():
            if scope["path"].startswith(path) and "git-upload-pack" in _url(scope):
                self.fetches += 1
                led = scope["path"].replace(path, other)
                return {**scope, "path": led, "raw_path": led.encode()}
        return scope

    @contextmanager
    def holding(self, held: Callable[[str], bool]) -> Iterator[None]:
        """Hold requests back until the block ends."""
        self.waiting.clear()
        self.held = held
        try:
            yield
        finally:
            self.held = lambda _: False


async def _send_unknown(send: Send) -> None:
    headers = [(b"content-type", b"application/json")]
    body = json.dumps({"message": "No commit found for SHA: yet"}).encode()
    await send({"type": "http.response.start", "status": 422, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _url(scope: Scope) -> str:
    return f"{scope['path']}?{scope['query_string'].decode()}"


@dataclass
class GatedWorld:
    """A forge behind a gate, people who push, and the receivers that were started."""

    forge: Served
    gate: Gate
    folder: Path
    address: str = ""  # of the receiver, once it had one
    serve: FyreServe = field(init=False)
    thread: threading.Thread = field(init=False)

    def start(self) -> None:
        """Start a receiver on the same state, at the address of the one before."""
        settings = {
            "FYRE_LISTEN": self.address or "127.0.0.1:0",
            "FYRE_URL": "https://fyre.example.org",
            "FYRE_STATE": str(self.folder / "state"),
            "FYRE_FORGE": self.forge.base,
            "FYRE_API": self.forge.api,
            "FYRE_TOKEN": self.forge.forge.service_token,
            "FYRE_WEBHOOK_SECRET": self.forge.forge.webhook_secret,
            "FYRE_JOBS": "4",
        }
        self.serve = FyreServe(configs.load_config(None, settings, {}))
        self.thread = threading.Thread(target=self.serve.serve)
        self.thread.start()
        if not self.address:
            self.forge.forge.start(f"{self.serve.listen_url}/webhook")
        self.address = self.serve.listen_url.partition("//")[2]
        until(lambda: self.serve.controller.last_sweep_at)

    def stop(self) -> None:
        self.serve.stop()
        self.thread.join(30)
        assert not self.thread.is_alive()

    def clone(self, name: str) -> Path:
        path = self.folder / name
        git("init", "-q", str(path), cwd=self.folder)
        git("commit", "-q", "--allow-empty", "-m", "First", cwd=path)
        git("remote", "add", "origin", self.forge.git(f"ada/{name}"), cwd=path)
        git("config", "http.extraHeader", "Authorization: token user:ada", cwd=path)
        git("push", "-q", "origin", "main", cwd=path)
        return path

    def run(self, path: Path, command: str) -> str:
        message = f"Work\n\nFyre-Run: {command}"
        git("commit", "-q", "--allow-empty", "-m", message, cwd=path)
        git("push", "-q", "origin", "main", cwd=path)
        return git("rev-parse", "HEAD", cwd=path)

    def outcome(self, path: Path, sha: str) -> str:
        """Return the final description of a run, once it has one."""

        def read() -> list[str]:
            found = self.statuses(path, sha)
            return [one["description"] for one in found if one["state"] != "pending"]

        return until(read)[0]

    def statuses(self, path: Path, sha: str) -> list[dict[str, Any]]:
        url = f"{self.forge.api}/repos/ada/{path.name}/commits/{sha}/statuses"
        found: list[dict[str, Any]] = requests.get(
            url, headers={"Authorization": "token user:ada"}
        ).json()
        return found

    def comments(self, path: Path, sha: str) -> str:
        url = f"{self.forge.api}/repos/ada/{path.name}/commits/{sha}/comments"
        answer = requests.get(url, headers={"Authorization": "token user:ada"}).json()
        return "\n".join(one["body"] for one in answer)

    def launched(self) -> list[str]:
        """Return the SHAs of all runs, oldest first."""
        records = self.serve.engine.query_runs(ALL_RUNS)
        return [record.run.sha for record in reversed(records)]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[GatedWorld]:
    gates: list[Gate] = []

    def front(app: ASGIApp, _: object) -> ASGIApp:
        gates.append(Gate(app))
        return gates[0]

    with served(tmp_path / "forge", front=front) as forge:
        found = GatedWorld(forge, gates[0], tmp_path)
        found.start()
        yield found
        found.gate.held = lambda _: False
        if found.thread.is_alive():
            found.stop()
