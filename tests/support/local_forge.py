"""Serve the local forge on a port of its own, and receive its webhooks."""

from __future__ import annotations

import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import uvicorn
from starlette.types import ASGIApp

from fyre.local_forge.api import routes
from fyre.local_forge.forge import LocalForge
from tests.support.first_push import push_to_forge
from tests.support.waiting import until

NAME = "ada/engine"


@dataclass
class Delivery:
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> str:
        return self.headers["x-github-event"]

    @property
    def guid(self) -> str:
        return self.headers["x-github-delivery"]

    @property
    def data(self) -> dict:
        return json.loads(self.body)

    def signed_with(self, secret: str) -> bool:
        expected = "sha256=" + hmac.new(secret.encode(), self.body, "sha256").hexdigest()
        return hmac.compare_digest(expected, self.headers["x-hub-signature-256"])


@dataclass
class Receiver:
    """Receives deliveries; while ``codes`` has entries, it responds with those first."""

    url: str = ""
    codes: list[int] = field(default_factory=list)
    taken: list[Delivery] = field(default_factory=list)
    refused: list[Delivery] = field(default_factory=list)

    def wait(self, count: int, event: str = "push") -> list[Delivery]:
        """Return the deliveries of an event, once there are so many; fail after a minute."""
        until(lambda: len(self.of(event)) >= count)
        return self.of(event)

    def of(self, event: str) -> list[Delivery]:
        return [one for one in list(self.taken) if one.event == event]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            delivery = Delivery({k.lower(): v for k, v in self.headers.items()}, body)
            code = found.codes.pop(0) if found.codes else 202
            (found.taken if code < 300 else found.refused).append(delivery)
            self.send_response(code)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore it: some tests stop a forge in the middle of a delivery."""

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    )
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}/webhook"
    yield found
    server.shutdown()
    server.server_close()
    thread.join()


@dataclass
class Served:
    """A forge that is served at ``base``."""

    forge: LocalForge
    base: str

    @property
    def api(self) -> str:
        return self.base + "/api"

    def git(self, name: str = NAME) -> str:
        return f"{self.base}/{name}.git"

    def get(self, path: str, **more: object) -> requests.Response:
        return requests.get(self.api + path, timeout=20, **more)

    def post(
        self, path: str, data: object, token: str = "user:ada", **more: object
    ) -> requests.Response:
        headers = {"Authorization": f"token {token}"} if token else {}
        return requests.post(self.api + path, json=data, headers=headers, timeout=20, **more)


_ending: list[threading.Thread] = []


@pytest.fixture(autouse=True, scope="session")
def _all_servers_end() -> Iterator[None]:
    """Wait for all servers at the end: each may end while the next test runs."""
    yield
    for thread in _ending:
        thread.join()


@contextmanager
def served(
    root: Path,
    receiver: Receiver | None = None,
    front: Callable[[ASGIApp, LocalForge], ASGIApp] | None = None,
) -> Iterator[Served]:
    """Serve the forge under ``root`` until the block ends; ``front`` sends the ``Date`` header."""
    listener = socket.socket()  # closed by the server
    listener.bind(("127.0.0.1", 0))
    base = f"http://127.0.0.1:{listener.getsockname()[1]}"
    forge = LocalForge(root, base_url=base)
    app = (
        front(routes.create_forge_app(forge), forge)
        if front is not None
        else routes.create_forge_app(forge)
    )
    config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=1,
                            date_header=front is None)  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    until(lambda: server.started)
    if receiver is not None:
        forge.start(receiver.url)
    try:
        yield Served(forge, base)
    finally:
        forge.stop()
        server.should_exit = True
        _ending.append(thread)


@pytest.fixture
def forge(tmp_path: Path, receiver: Receiver) -> Iterator[Served]:
    """Serve a forge that sends its webhooks to the receiver."""
    with served(tmp_path / "forge", receiver) as found:
        yield found


@pytest.fixture
def pushed(forge: Served, repo: Path, git: Callable[..., str]) -> str:
    """Push the repository's first commit by ada, as ``ada/engine``; return its SHA."""
    git("config", "http.extraHeader", "Authorization: token user:ada", cwd=repo)
    return push_to_forge(forge.forge, NAME, repo, token="user:ada")
