"""Who leads, against a server that keeps one Lease over real HTTP, and answers as badly as it is
told to.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.leaderelection import leaderelection

from fyre.engines.kubernetes import leader_election
from fyre.engines.kubernetes.api_client import KubernetesClient
from fyre.engines.kubernetes.leader_election import Election
from tests.support.ci_marks import LONG_CASE
from tests.support.waiting import until

pytestmark = [*LONG_CASE]

THEIRS = {
    "holderIdentity": "another 127.0.0.1:1",
    "leaseDurationSeconds": 15,
    "acquireTime": "2026-01-02T03:04:05.000001Z",
    "renewTime": "2026-01-02T03:04:05.000001Z",
}
LONG = 30  # seconds; far more than anything here takes


class Server(ThreadingHTTPServer):
    """The Lease, and how it is spoken of."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spec: dict[str, Any] | None = None
        self.annotations: dict[str, str] = {}
        self.version = 1
        self.mutex = threading.Lock()
        self.full = False  # whether no Lease may be made
        self.asked = 0  # requests about the Lease, also those that have no answer yet
        self.said: list[str] = []  # method and code of each answer about the Lease
        self.instead: tuple[int, str] | None = None  # what stands before the server answers
        self.answering = threading.Event()  # where it is not set, no answer comes
        self.answering.set()

    def annotate(self, **annotations: str) -> None:
        """As an admin does."""
        with self.mutex:
            self.annotations = {f"fyre.dev/{key}": value for key, value in annotations.items()}
            self.version += 1


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
        self.answer(403 if self.server.full else 201 if self.kept(sent) else 409)

    def do_PUT(self) -> None:
        self.answer(200 if self.kept(self.sent()) else 409)

    def kept(self, sent: dict[str, Any]) -> bool:
        """Whether it is the Lease now: nobody has changed, or made, it since it was read."""
        with self.server.mutex:
            there = "" if self.server.spec is None else str(self.server.version)
            if sent["metadata"].get("resourceVersion", "") != there:
                return False
            self.server.spec, self.server.annotations = (
                sent["spec"],
                sent["metadata"]["annotations"],
            )
            self.server.version += 1
            return True

    def sent(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return found

    def answer(self, code: int) -> None:
        self.server.asked += 1
        self.server.answering.wait(LONG)
        self.server.said.append(f"{self.command} {code}")
        about = {
            "name": "fyre",
            "resourceVersion": str(self.server.version),
            "annotations": self.server.annotations,
        }
        there = {"metadata": about, "spec": self.server.spec}
        self.write(
            *(
                self.server.instead
                or (code, json.dumps(there if code < 400 else {"code": code, "message": "No!"}))
            )
        )

    def write(self, code: int, text: str) -> None:
        self.send_response(code)
        self.send_header(
            "Content-Type", "application/json" if text.startswith("{") else "text/html"
        )
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


class Hasty:
    """The library's clock: it takes no time between two tries below a second."""

    @staticmethod
    def time() -> float:
        return time.time()

    @staticmethod
    def sleep(seconds: float) -> None:
        time.sleep(seconds / 10)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def made(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Candidate]]:
    for name, seconds in {"LEASE_DURATION": 3, "RENEW_DEADLINE": 2, "RETRY_PERIOD": 1}.items():
        monkeypatch.setattr(leader_election, name, seconds)
    monkeypatch.setattr(leaderelection, "time", Hasty)
    told = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [
            {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "u", "user": {}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(told))
    with ExitStack() as over:

        def make(instance: str) -> Candidate:
            identity = f"{instance} 127.0.0.1:2"
            one = Candidate(
                Election(
                    KubernetesClient(str(tmp_path / "config")), "lab", "fyre", identity, instance
                )
            )
            over.callback(one.election.resign)
            return one

        yield make
        server.answering.set()


@pytest.fixture
def candidate(made: Callable[[str], Candidate]) -> Candidate:
    return made("one")


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
    assert all(seconds <= leader_election.LEASE_DURATION for seconds in candidate.kept)
    assert candidate.election.current_holder() == "one 127.0.0.1:2"
    candidate.election.resign()
    assert server.spec is not None
    assert server.spec.get("holderIdentity") is None
    assert not candidate.lost.is_set()


def test_who_gets_no_answer_leads_no_more_in_time(
    server: Server, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without waiting for the answer: it may be hours, where it comes byte by byte or a name is
    looked up.
    """
    monkeypatch.setattr(leader_election, "_REQUEST_TIMEOUT", (LONG, LONG))
    candidate.start()
    assert candidate.leads.wait(LONG)
    server.answering.clear()
    assert candidate.lost.wait(LONG / 2)


def test_another_s_lease_is_theirs_until_it_was_not_renewed_for_long_here(
    server: Server, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is deleted, which does not end its holder, and where this machine's clock is
    set forward.
    """
    server.spec = THEIRS
    candidate.start()
    until(lambda: server.said)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    until(lambda: len(server.said) > 1)
    server.spec = None
    assert candidate.leads.wait(LONG)
    assert server.said[: server.said.index("POST 201")].count("GET 404") > 1


def test_a_clock_that_is_set_back_keeps_nobody_from_leading(
    server: Server, candidate: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.spec = THEIRS
    candidate.start()
    until(lambda: len(server.said) > 1)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert candidate.leads.wait(LONG)


def test_of_two_with_other_keys_the_first_leads_and_the_other_does_not_before_an_admin_says_so(
    server: Server, made: Callable[[str], Candidate]
) -> None:
    both = [made("one"), made("two")]
    server.answering.clear()
    for one in both:
        one.start()
    until(lambda: server.asked >= 2)
    server.answering.set()  # both hear that there is no Lease
    until(lambda: any(one.leads.is_set() for one in both))
    first, other = sorted(both, key=lambda one: not one.leads.is_set())
    until(other.election.block_reason)
    name = server.annotations["fyre.dev/instance"]
    assert first.election.current_holder() == f"{name} 127.0.0.1:2"
    assert f"lab/fyre is of {name}, and our key makes us " in other.election.block_reason()
    assert "annotate lease fyre fyre.dev/instance-`" in other.election.block_reason()
    first.election.resign()  # its runs go on
    tries = len(server.said)
    until(lambda: len(server.said) > tries + 3)
    assert not other.leads.is_set()
    assert server.annotations == {"fyre.dev/instance": name}
    server.annotate()
    assert other.leads.wait(LONG)
    assert other.election.block_reason() == ""
    assert server.annotations["fyre.dev/instance"] != name


def test_whoever_leads_says_whose_runs_and_ends_where_they_are_said_to_be_another_s(
    server: Server, candidate: Candidate
) -> None:
    """Also on a Lease that does not say it: it was made before they did, or an admin took it
    away too early.
    """
    server.spec = {**THEIRS, "holderIdentity": None}
    server.annotate(other="stays")
    candidate.start()
    assert candidate.leads.wait(LONG)
    assert server.annotations == {"fyre.dev/instance": "one", "fyre.dev/other": "stays"}
    server.annotate()
    until(lambda: server.annotations)
    server.annotate(instance="two")
    assert candidate.lost.wait(LONG)
    assert server.annotations == {"fyre.dev/instance": "two"}


def test_another_product_s_lease_is_not_taken(server: Server, candidate: Candidate) -> None:
    """Not even when it has run out."""
    server.spec = {**THEIRS, "holderIdentity": "scheduler_c0ffee"}
    candidate.start()
    until(candidate.election.block_reason)
    assert (
        "lab/fyre is another product's, held by 'scheduler_c0ffee'"
        in candidate.election.block_reason()
    )
    until(lambda: len(server.said) > leader_election.LEASE_DURATION * 10 + 5)
    assert not candidate.leads.is_set()
    assert {one.partition(" ")[0] for one in server.said} == {"GET"}


def test_why_a_lease_can_not_be_made_is_said_once(
    server: Server, candidate: Candidate, caplog: pytest.LogCaptureFixture
) -> None:
    """As where its namespace is not there, or a quota is full."""
    server.full = True
    candidate.start()
    until(lambda: server.said.count("POST 403") > 2)
    server.full = False
    assert candidate.leads.wait(LONG)
    assert [one.getMessage() for one in caplog.records if one.levelno > logging.INFO] == [
        "the lease: the cluster refused it: No!"
    ]
