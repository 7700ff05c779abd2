"""The HTTP side of the receiver: signatures, sizes, and links that nobody can guess."""

from __future__ import annotations

import hmac
import json
import socket
from itertools import product

import pytest
import requests

from fyre.apps.up import FyreUp
from fyre.github import webhook
from fyre.runs.run_query import ALL_RUNS
from fyre.server import run_links
from tests.support.person import Person

PING = {"X-GitHub-Event": "ping"}


def deliver(
    up: FyreUp, body: bytes, headers: dict[str, str], secret: str | None = None
) -> requests.Response:
    key = (up.local_forge.webhook_secret if secret is None else secret).encode()
    signature = {"X-Hub-Signature-256": "sha256=" + hmac.new(key, body, "sha256").hexdigest()}
    return requests.post(f"{up.url}/webhook", data=body, headers=signature | headers, timeout=30)


def test_a_signed_ping_is_heard(up: FyreUp) -> None:
    answer = deliver(up, b"{}", PING)
    assert (answer.status_code, answer.text) == (202, "event ping starts nothing\n")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Hub-Signature-256": ""},
        {"X-Hub-Signature-256": "sha256=" + "0" * 64},
        {"X-Hub-Signature-256": "sha1=x"},
    ],
)
def test_an_unsigned_delivery_is_refused(up: FyreUp, headers: dict[str, str]) -> None:
    assert deliver(up, b"{}", PING | headers).status_code == 401


def test_a_delivery_signed_with_another_secret_is_refused(up: FyreUp) -> None:
    assert deliver(up, b"{}", PING, secret="guess").status_code == 401


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b'{"ref":1}', json.dumps({"ref": "refs/heads/x"}).encode()[:-3]]
)
def test_a_signed_body_that_makes_no_sense_is_a_bad_request(up: FyreUp, body: bytes) -> None:
    assert deliver(up, body, {"X-GitHub-Event": "push"}).status_code == 400


def test_a_body_that_says_it_is_too_large_is_never_read(up: FyreUp) -> None:
    with socket.create_connection(("127.0.0.1", int(up.url.rpartition(":")[2]))) as connection:
        length = f"Content-Length: {webhook.BODY_MAX + 1}"
        head = f"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n\r\n"
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("begin", "piece"),
    [
        (b"GET /", b"a" * 1000),
        (b"GET / HTTP/1.1\r\nX-A: ", b"a" * 1000),
        (b"GET / HTTP/1.1\r\n", b"X-A: a\r\n" * 100),
        (
            b"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
            b"X-A: a\r\n" * 100,
        ),
    ],
    ids=["address", "header", "headers", "trailers"],
)
def test_nothing_but_a_body_may_be_long(up: FyreUp, begin: bytes, piece: bytes) -> None:
    with socket.create_connection(
        ("127.0.0.1", int(up.url.rpartition(":")[2])), timeout=30
    ) as connection:
        connection.sendall(begin)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(piece * 32_000)


def test_a_body_of_26_megabytes_without_a_length_is_cut_off(up: FyreUp) -> None:
    def chunks() -> object:
        for _ in range(26):
            yield b"x" * 1024 * 1024

    try:
        answer = requests.post(f"{up.url}/webhook", data=chunks(), timeout=30)  # type: ignore[arg-type]
    except requests.ConnectionError:
        return  # it answered and closed while we were still sending
    assert answer.status_code == 413


def test_a_run_has_a_page_that_shows_what_was_asked_for_and_executes_nothing_of_it(
    person: Person,
) -> None:
    sha = person.run("echo '<script>alert(1)</script>'")
    status = person.final(sha)
    page = requests.get(status["target_url"])
    assert "<script>alert" not in page.text
    assert "&lt;script&gt;alert" in page.text
    assert '<a href="/">Runs</a>' in page.text
    assert "script-src 'nonce-" in page.headers["Content-Security-Policy"]
    listed = requests.get(person.up.url)
    assert sha[:7] in listed.text
    assert "<script>alert" not in listed.text
    facts = requests.get(status["target_url"] + ".json").json()
    assert (facts["sha"], facts["state"], facts["exit_code"], facts["attempt"]) == (
        sha,
        "succeeded",
        0,
        1,
    )
    assert facts["log_url"] == status["target_url"]
    assert requests.get(f"{person.up.url}/runs.json").json()[0]["sha"] == sha


def test_a_log_is_followed_live(person: Person) -> None:
    sha = person.run("echo one; sleep 0.5; echo two")
    while not (found := person.statuses(sha)):
        pass
    with requests.get(found[0]["target_url"] + "/log?follow=1", stream=True) as answer:
        pieces = [piece for piece in answer.iter_content(None) if piece]
    assert b"".join(pieces) == b"one\ntwo\n"
    assert len(pieces) > 1


def test_a_guessed_link_is_not_found(person: Person) -> None:
    tokens = ("x", "0" * 26, "0" * 26 + "-" + "0" * 24, "%2e%2e", "a" * 5000)
    for token, suffix in product(tokens, ("", ".json", "/log", "/log?follow=1")):
        assert requests.get(f"{person.up.url}/runs/{token}{suffix}").status_code == 404, token


def test_a_real_key_with_another_mark_is_not_found(person: Person) -> None:
    person.final(person.run("true"))
    (record,) = person.up.engine.query_runs(ALL_RUNS)
    wrong = run_links.run_token(b"another secret", record.run.key)
    assert requests.get(f"{person.up.url}/runs/{wrong}").status_code == 404
