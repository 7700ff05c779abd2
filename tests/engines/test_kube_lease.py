"""Who leads, against a server that keeps one Lease over real HTTP, and answers as badly as it is told to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from fyre.engines.kubernetes import lease
from fyre.engines.kubernetes.api import Api
from fyre.engines.kubernetes.lease import Election
from tests.waiting import until

THEIRS = {"holderIdentity": "another 127.0.0.1:1", "leaseDurationSeconds": 15,
          "acquireTime": "2026-01-02T03:04:05.000001Z", "renewTime": "2026-01-02T03:04:05.000001Z"}  # fmt: skip
LONG = 30  # seconds; far more than anything here takes


class Server(ThreadingHTTPServer):
    """The Lease, and how it is spoken of."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spec: dict[str, Any] | None = None
        self.said: list[str] = []  # method and code of each answer about the Lease
        self.instead: tuple[int, str] | None = None  # what stands before the server answers
        self.answering = threading.Event()  # where it is not set, no answer comes
        self.answering.set()


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200 if self.server.spec is not None else 404)

    def do_POST(self) -> None:
        sent = self.sent()
        if sent.get("kind") == "SelfSubjectAccessReview":
            self.write(201, json.dumps({**sent, "status": {"allowed": True}}))
            return
        self.server.spec = sent["spec"]
        self.answer(201)

    def do_PUT(self) -> None:
        self.server.spec = self.sent()["spec"]
        self.answer(200)

    def sent(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def answer(self, code: int) -> None:
        self.server.answering.wait(LONG)
        self.server.said.append(f"{self.command} {code}")
        there = {"metadata": {"name": "fyre", "resourceVersion": "1"}, "spec": self.server.spec}
        self.write(*(self.server.instead or (code, json.dumps(there if code < 400 else {"code": code}))))

    def write(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/html")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the tests' output is no access log."""


@dataclass
class Candidate:
    election: Election
    leads: threading.Event = field(default_factory=threading.Event)
    lost: threading.Event = field(default_factory=threading.Event)
    kept: list[float] = field(default_factory=list)

    def start(self) -> None:
        self.election.start(self.leads.set, self.lost.set, self.kept.append)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def candidate(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Candidate]:
    for name, seconds in {"DURATION": 3, "DEADLINE": 2, "RETRY": 1}.items():
        monkeypatch.setattr(lease, name, seconds)
    told = {"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}],
            "users": [{"name": "u", "user": {}}]}  # fmt: skip
    (tmp_path / "config").write_text(yaml.safe_dump(told))
    made = Candidate(Election(Api(str(tmp_path / "config")), "lab", "fyre", "one 127.0.0.1:2"))
    yield made
    server.answering.set()
    made.election.resign()


@pytest.mark.parametrize("instead", [(200, "<html>a proxy</html>"), (200, '{"spec": 1}')])
def test_a_lease_is_taken_kept_and_left_whatever_was_answered_before(
    server: Server, candidate: Candidate, instead: tuple[int, str]
) -> None:
    server.instead = instead
    candidate.start()
    until(lambda: server.said)
    server.instead = None
    assert candidate.leads.wait(LONG)
    until(lambda: len(candidate.kept) > 1)
    assert all(seconds <= lease.DURATION for seconds in candidate.kept)
    assert candidate.election.holder() == "one 127.0.0.1:2"
    candidate.election.resign()
    assert server.spec is not None
    assert server.spec.get("holderIdentity") is None
    assert not candidate.lost.is_set()


def test_who_gets_no_answer_leads_no_more_in_time(
    server: Server, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the answer: it may be hours, where it comes byte by byte or a name is looked up."""
    monkeypatch.setattr(lease, "_TIMEOUT", (LONG, LONG))
    candidate.start()
    assert candidate.leads.wait(LONG)
    server.answering.clear()
    assert candidate.lost.wait(LONG / 2)


def test_another_s_lease_is_theirs_until_it_was_not_renewed_for_long_here(
    server: Server, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is deleted, which does not end its holder, and where this machine's clock is set forward."""
    server.spec = THEIRS
    candidate.start()
    until(lambda: server.said)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    until(lambda: len(server.said) > 1)
    server.spec = None
    assert candidate.leads.wait(LONG)
    assert server.said[: server.said.index("POST 201")].count("GET 404") > 1
