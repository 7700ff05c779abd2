"""The forge's refusals and failures, each sorted into: not found, never, or try again; and no write
is sent twice.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from fyre.errors import TransientError, UserError
from fyre.github.client import GitHubClient
from fyre.github.errors import (
    DeniedError,
    NotFoundError,
    NotVisibleError,
    RateLimitError,
    StatusLimitError,
    UnauthenticatedError,
)
from fyre.runs.commit_status import CommitStatus
from fyre.runs.run import Repository

SHA = "a" * 40
TOKEN = "ghs_s3cret"


@dataclass
class Broken:
    """A server that answers every request in one way, and counts them."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    seen: list[tuple[str, str]] = field(default_factory=list)
    url: str = ""

    def forge(self) -> GitHubClient:
        return GitHubClient(self.url, lambda: TOKEN)

    def repository(self) -> Repository:
        return Repository(self.url, 1, "ada/lab")


@pytest.fixture
def broken() -> Iterator[Broken]:
    state = Broken()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            state.seen.append((self.command, self.path))
            self.send_response(state.status)
            for name, value in {"Content-Type": "application/json", **state.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        do_GET = do_POST = answer  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


LIMITED = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "9999999999"}


@pytest.mark.parametrize(
    ("status", "headers", "message", "error"),
    [
        (401, {}, "Bad credentials", UnauthenticatedError),
        (403, {}, "Resource not accessible by integration", DeniedError),
        (403, {"Retry-After": "60"}, "secondary", RateLimitError),
        (403, LIMITED, "API rate limit exceeded", RateLimitError),
        (403, {}, "You have exceeded a secondary rate limit", RateLimitError),
        (404, {}, "Not Found", NotVisibleError),
        (422, {}, "No commit found for SHA: a", NotFoundError),
        (422, {}, "Validation Failed", UserError),
        (
            422,
            {},
            "This SHA and context has reached the maximum number of statuses.",
            StatusLimitError,
        ),
        (429, {}, "Too many", RateLimitError),
        (429, {"Retry-After": "3600"}, "Too many", RateLimitError),
        (500, {}, "Server Error", TransientError),
        (502, {}, "Bad Gateway", TransientError),
    ],
)
def test_a_refused_write_is_sorted_and_sent_once(
    broken: Broken, status: int, headers: dict[str, str], message: str, error: type[Exception]
) -> None:
    broken.status, broken.headers, broken.body = (
        status,
        headers,
        json.dumps({"message": message}).encode(),
    )
    with pytest.raises(error) as caught:
        broken.forge().create_status(
            broken.repository(), SHA, CommitStatus("fyre/run", "success", "exit 0")
        )
    assert type(caught.value) is error
    assert [method for method, _ in broken.seen].count("POST") == 1
    assert TOKEN not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("status", [400, 403, 404, 409, 422])
def test_9_b10_a_refusal_that_is_not_the_forge_s_is_no_verdict(broken: Broken, status: int) -> None:
    """A proxy, or a page for maintenance: it knows of no person, no commit and no repository."""
    broken.status, broken.body = status, b"<html>default backend</html>"
    broken.headers = {"Content-Type": "text/html"}
    with pytest.raises(TransientError, match=f"HTTP {status} without a message of the forge's"):
        broken.forge().get_permission(broken.repository(), "ada")
    with pytest.raises(TransientError):
        broken.forge().create_status(
            broken.repository(), SHA, CommitStatus("fyre/run", "success", "exit 0")
        )


@pytest.mark.parametrize("status", [408, 421, 425])
def test_9_b10_a_refusal_that_says_try_again_is_tried_again(broken: Broken, status: int) -> None:
    broken.status, broken.body = status, b'{"message": "Request Timeout"}'
    with pytest.raises(TransientError):
        broken.forge().get_permission(broken.repository(), "ada")


def test_a_read_is_tried_again_by_itself(broken: Broken) -> None:
    broken.status = 502
    with pytest.raises(TransientError):
        broken.forge().list_statuses(broken.repository(), SHA)
    assert len(broken.seen) == 3


def test_a_read_that_meets_a_limit_does_not_sleep_until_it_has_passed(broken: Broken) -> None:
    broken.status, broken.headers = 429, {"Retry-After": "3600"}
    with pytest.raises(RateLimitError) as caught:
        broken.forge().list_statuses(broken.repository(), SHA)
    assert (caught.value.headers.retry_after, len(broken.seen)) == (3600, 1)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b'"x"', b"null", b'{"login": 7}'])
def test_garbage_is_worth_another_try(broken: Broken, body: bytes) -> None:
    broken.body = body
    with pytest.raises(TransientError):
        broken.forge().get_commit(broken.repository(), SHA)


def test_a_forge_that_is_not_there() -> None:
    with pytest.raises(TransientError, match="can't be reached"):
        GitHubClient("http://127.0.0.1:9", lambda: TOKEN).create_status(
            Repository("", 1, "a/b"), SHA, CommitStatus("c", "success", "d")
        )
