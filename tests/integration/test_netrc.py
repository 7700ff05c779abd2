"""No request of ours sends a login of ``~/.netrc``, not even after a redirect to another host."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fyre.cli import legacy_registry
from fyre.cli.doctor import checks, server_checks
from fyre.client import log_reader, run_page
from fyre.errors import TransientError, UserError
from fyre.git import lfs
from fyre.github import app_registration

REQUESTS: dict[str, Callable[[str], object]] = {
    "run page": lambda url: run_page.fetch_page(f"{url}/run"),
    "log": lambda url: list(log_reader.read_log(url, live=False)),
    "clock": lambda url: list(checks.check_clock(url)),
    "webhook": lambda url: server_checks._check_endpoint(url, takes_webhooks=True),
    "run pages": lambda url: server_checks._check_endpoint(url, takes_webhooks=False),
    "relay": server_checks._check_relay,
    "app": lambda url: app_registration.exchange_code(url, "code"),
    "lfs": lambda url: lfs._http_open(url, {}),
    "registry": lambda url: legacy_registry.resolve_digest(f"{url.partition('//')[2]}/team/a:1"),
}


@pytest.fixture
def asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, list[str | None]]]:
    """A server that redirects to another one, and the credentials that both were sent."""
    (tmp_path / "netrc").write_text("default login ada password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    sent: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent.append(self.headers.get("Authorization"))
            is_first = self.server is servers[0]
            self.send_response(302 if is_first else 404)
            self.send_header("Location", f"http://127.0.0.1:{servers[1].server_port}/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_HEAD = do_GET  # noqa: N815 - as http.server calls them

        def log_message(self, *_: object) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    threads = [
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        for server in servers
    ]
    for thread in threads:
        thread.start()
    yield f"http://127.0.0.1:{servers[0].server_port}", sent
    for server, thread in zip(servers, threads, strict=True):
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("name", REQUESTS)
def test_no_request_sends_a_login_of_netrc(asked: tuple[str, list[str | None]], name: str) -> None:
    url, sent = asked
    with suppress(UserError, TransientError):
        REQUESTS[name](url)
    assert sent
    assert set(sent) == {None}
