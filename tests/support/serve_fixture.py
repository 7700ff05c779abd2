"""Run a ``fyre serve`` that is installed as an App on two accounts of a GitHub with faults."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests

from fyre.apps import config as configs
from fyre.apps.serve import FyreServe
from fyre.backoff import Backoff
from fyre.controller import retry_queue
from fyre.controller.events import SweepEvent
from fyre.github import rate_limit
from fyre.github.rate_limit import RateLimits, WriteBudget
from fyre.reporter import write_failures
from tests.conftest import git
from tests.support import apps
from tests.support.first_push import push_to_forge, read_head
from tests.support.forge_troubles import Front
from tests.support.http_json import get_json
from tests.support.local_forge import served
from tests.support.waiting import until

_numbers = count()
PAUSES = write_failures.OPERATOR_BACKOFF
URL = "https://fyre.example.org"
FAST = RateLimits(0.0, ((1000, 1.0),))


@dataclass
class World:
    """GitHub, and a ``fyre serve`` that is installed on two accounts there."""

    front: Front
    serve: FyreServe
    base: str
    secrets: list[str]
    mirrors: Path
    labs: dict[str, Lab] = field(default_factory=dict)

    def sweep(self, *, anew: bool = False) -> None:
        """Sweep; with ``anew`` as after a start."""
        if anew:
            self.serve.controller._cursors.clear()
        self.serve.controller.enqueue_event(SweepEvent())


@dataclass
class Lab:
    """A repository, and somebody who pushes to it."""

    world: World
    path: Path
    name: str

    def git(self, *words: str) -> str:
        return git(*words, cwd=self.path)

    def run(self, command: str, *trailers: str) -> str:
        sha = self.commit(f"Fyre-Run: {command}", *trailers)
        self.git("push", "-q", "origin", "main")
        return sha

    def rename(self, name: str) -> None:
        """Give the repository another name or owner, on GitHub and in the clone's remote."""
        self.world.front.rename(self.name, name)
        self.name = name
        self.git("remote", "set-url", "origin", f"{self.world.base}/{name}.git")

    def statuses(self, sha: str) -> list[dict[str, Any]]:
        url = f"{self.world.base}/api/repos/{self.name}/commits/{sha}/statuses"
        found: list[dict[str, Any]] = get_json(url, "user:ada")
        return found

    def commit(self, *lines: str) -> str:
        self.git("commit", "-q", "--allow-empty", "-m", "\n".join(["Work", "", *lines]))
        return read_head(self.path)

    def log(self, sha: str) -> str:
        """Return what the run printed, read at the link of its status."""
        page = self.statuses(sha)[0]["target_url"].removeprefix(URL)
        return requests.get(f"{self.world.serve.listen_url}{page}/log").text

    def comment(self, sha: str, body: str) -> None:
        url = f"{self.world.base}/api/repos/{self.name}/commits/{sha}/comments"
        requests.post(
            url, json={"body": body}, headers={"Authorization": "token user:ada"}
        ).raise_for_status()

    def final(self, sha: str) -> str:
        found: list[str] = []

        def read_final() -> list[str]:
            statuses = self.statuses(sha)
            found.extend(one["description"] for one in statuses if one["state"] != "pending")
            return found

        until(read_final)
        return found[0]


Make = Callable[..., Lab]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    root, fronts = tmp_path_factory.mktemp("world"), []

    def front(app: Any, forge: Any) -> Front:
        fronts.append(Front(app, forge))
        return fronts[0]

    with served(root / "forge", front=front) as forge:
        fronts[0].github.installed = {"ada": 11, "acme": 22}
        # tokens expire so soon that each request takes a new one
        fronts[0].github.skew = -3400.0
        serve = FyreServe(configs.load_config(None, {
            "FYRE_LISTEN": "127.0.0.1:0", "FYRE_URL": URL, "FYRE_STATE": str(root / "state"),
            "FYRE_FORGE": forge.base, "FYRE_API": f"{forge.base}/api",
            "FYRE_APP_ID": str(apps.APP_ID),
            "FYRE_APP_PRIVATE_KEY": apps.pem(apps.private_key()), "FYRE_JOBS": "4",
            "FYRE_WEBHOOK_SECRET": forge.forge.webhook_secret,
        }, {}))  # fmt: skip
        thread = threading.Thread(target=serve.serve)
        thread.start()
        forge.forge.start(f"{serve.listen_url}/webhook")
        secrets = [forge.forge.service_token, forge.forge.webhook_secret]
        yield World(fronts[0], serve, forge.base, secrets, root / "state" / "mirrors")
        serve.stop()
        thread.join(30)
        assert not thread.is_alive()


@pytest.fixture
def make(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Create repositories, each with one commit, with short waits before a retry."""
    monkeypatch.setattr(write_failures, "BACKOFF", Backoff(0.05, 0.2))
    monkeypatch.setattr(write_failures, "OPERATOR_BACKOFF", Backoff(0.05, 0.2))
    monkeypatch.setattr(retry_queue, "RETRY_BACKOFF", Backoff(0.05, 0.2))
    monkeypatch.setattr(retry_queue, "OPERATOR_BACKOFF", Backoff(0.05, 0.2))
    monkeypatch.setattr(rate_limit, "DEFAULT_WAIT", 0.1)
    turns = world.serve.controller.executor.reporter.write_queue
    turns._initial_budget = WriteBudget(FAST)
    for lane in turns._account_queues.values():  # one for each account
        lane.budget = WriteBudget(FAST)

    def lab(owner: str = "ada", name: str = "") -> Lab:
        name = name or f"{owner}/lab{next(_numbers)}"
        path = tmp_path / f"clone{next(_numbers)}"
        git("init", "-q", str(path), cwd=tmp_path)
        found = Lab(world, path, name)
        found.git("commit", "-q", "--allow-empty", "-m", "First")
        found.git("config", "http.extraHeader", "Authorization: token user:ada")
        push_to_forge(world.front.forge, name, path, token="user:ada")
        return found

    yield lab
    world.front.troubles.clear()
    world.front.github.suspended.clear()
    world.front.github.installed = {"ada": 11, "acme": 22}
