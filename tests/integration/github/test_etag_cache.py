"""Asking conditionally, against a small server that counts as GitHub does: a 304 is free."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fyre.errors import TransientError
from fyre.github import etag_cache
from fyre.github.client import GitHubClient


@dataclass
class Listing:
    """A server of one listing, in pages.

    Its tags are of a page's content alone: not of whether another follows.
    """

    names: list[str] = field(default_factory=list)
    token: str = "one"
    bodies: bool = True
    counted: int = 0
    free: int = 0
    url: str = ""

    def page(self, query: str) -> list[dict[str, Any]]:
        asked = {name: int(values[0]) for name, values in parse_qs(query).items()}
        first = (asked["page"] - 1) * asked["per_page"]
        shown = self.names[first : first + asked["per_page"]]
        return [{"id": len(name), "full_name": name, "default_branch": "main"} for name in shown]

    def asked(self, forge: GitHubClient) -> tuple[list[str], int]:
        """What the forge lists, and how many requests that were counted."""
        before = self.counted
        return [one.name for one in forge.list_repositories()], self.counted - before


@pytest.fixture
def listing() -> Iterator[Listing]:
    state = Listing()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = (
                json.dumps(state.page(urlsplit(self.path).query)).encode() if state.bodies else b""
            )
            tag = f'W/"{hashlib.sha256(self.headers["Authorization"].encode() + body).hexdigest()}"'
            same = self.headers["If-None-Match"] == tag
            state.free += same
            state.counted += not same
            self.send_response(304 if same else 200)
            self.send_header("ETag", tag)
            if not same:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if same else body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield state
        server.shutdown()
        thread.join()


def names(count: int) -> list[str]:
    return [f"ada/{n:04}" for n in range(count)]


def test_a_listing_that_is_the_same_costs_nothing(listing: Listing) -> None:
    listing.names = names(150)
    forge = GitHubClient(listing.url, lambda: listing.token)
    assert listing.asked(forge) == (names(150), 2)
    for _ in range(3):
        assert listing.asked(forge) == (names(150), 0)
    listing.names = names(149)
    assert listing.asked(forge) == (names(149), 1)


def test_a_page_that_was_full_and_is_the_same_hides_no_new_page(listing: Listing) -> None:
    listing.names = names(100)
    forge = GitHubClient(listing.url, lambda: listing.token)
    assert listing.asked(forge) == (names(100), 2)
    listing.names = names(101)
    assert listing.asked(forge) == (names(101), 1)
    listing.names = []
    assert listing.asked(forge) == ([], 1)


def test_another_token_is_told_everything_anew(listing: Listing) -> None:
    listing.names = names(3)
    forge = GitHubClient(listing.url, lambda: listing.token)
    listing.asked(forge)
    listing.token = "renewed"
    assert listing.asked(forge) == (names(3), 1)
    assert listing.asked(forge) == (names(3), 0)


def test_what_is_kept_is_bounded(listing: Listing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etag_cache, "CACHED_MAX", 2)
    listing.names = names(350)
    forge = GitHubClient(listing.url, lambda: listing.token)
    for _ in range(2):
        assert listing.asked(forge)[0] == names(350)
    assert len(forge._etag_cache._cache) == 2


def test_an_answer_without_a_body_is_no_answer(listing: Listing) -> None:
    listing.bodies = False
    with pytest.raises(TransientError, match="unexpected answer"):
        GitHubClient(listing.url, lambda: listing.token).list_repositories()
