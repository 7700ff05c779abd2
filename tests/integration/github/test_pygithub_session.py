"""The connection by which PyGithub speaks to a forge."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fyre.github.pygithub_session import connect_github


@dataclass
class Asked:
    """What a server was asked, and over which connections."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    clients: set[tuple[str, int]] = field(default_factory=set)


@pytest.fixture
def asked() -> Iterator[Asked]:
    """A server that answers ``{}`` to everything."""
    seen = Asked()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            seen.paths.append(self.path)
            seen.clients.add(self.client_address)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        seen.url = f"http://127.0.0.1:{server.server_port}"
        yield seen
        server.shutdown()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def ask(url: str, count: int = 1) -> None:
    connection = connect_github(url, lambda: "secret")
    try:
        for number in range(count):
            connection.requester.requestJsonAndCheck("GET", f"/{number}")
    finally:
        connection.close()


def test_requests_share_one_connection(asked: Asked) -> None:
    ask(asked.url, 3)
    assert asked.paths == ["/0", "/1", "/2"]
    assert len(asked.clients) == 1


def test_the_proxy_of_the_environment_is_used(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", asked.url)
    ask("http://forge.example.org:8080")
    assert asked.paths == ["http://forge.example.org:8080/0"]


def test_a_host_of_no_proxy_is_asked_without_one(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    ask(asked.url)
    assert asked.paths == ["/0"]
