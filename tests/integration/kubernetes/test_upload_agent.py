"""The agent of a pod and the endpoint that it uploads to: real files, real HTTP."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fyre.artifacts.artifact_store import ArtifactStore
from fyre.artifacts.upload_listing import UploadListing
from fyre.artifacts.upload_staging import UploadNotOpenError, UploadStaging
from fyre.artifacts.upload_token import create_upload_token
from fyre.engines.kubernetes.outputs import agent_container, upload_agent
from fyre.server.upload_endpoint import UploadEndpoint
from tests.support.ci_marks import long_case
from tests.support.relaying import serve
from tests.support.waiting import until

RUN, POD, SECRET = "0123456789abcdef0123456789", "0a1b2c3d", b"of these tests"


@dataclass
class Receiver:
    """A receiver whose answers may fail, and a pod's volumes."""

    place: Path
    url: str = ""
    failures: list[int] = field(default_factory=list)  # statuses instead of the next answers
    is_cutting: bool = False  # True to drop each answer of a piece once, after it was stored
    is_open: bool = True
    open_runs: set[str] = field(default_factory=lambda: {RUN})
    requests: list[str] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        for name in ("top", "outputs", "results"):
            (self.place / name).mkdir()
        self.store = ArtifactStore(self.place / "store")
        self.staging = UploadStaging(self.store, self.place / "uploads")

    def check_open(self, run: str, pod: str) -> None:
        if not self.is_open or run not in self.open_runs or pod != POD:
            raise UploadNotOpenError("the run is over", is_final=True)

    def wrap(self, app: ASGIApp) -> ASGIApp:
        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            self.requests.append(scope["path"].rpartition(f"{POD}/")[2])
            if self.failures:
                status = self.failures.pop(0)
                await send({"type": "http.response.start", "status": status, "headers": []})
                await send({"type": "http.response.body", "body": b"busy"})
                return
            target = str(scope["path"]) + str(scope["query_string"])
            if self.is_cutting and "pieces" in target and target not in self.cut:
                self.cut.add(target)
                await app(scope, receive, _drop)
                raise ConnectionError("cut")
            await app(scope, receive, send)

        return faulty

    def upload(self, *declared: str, seconds: float = 20.0) -> str:
        environment = {
            "FYRE_OUTPUTS": f"{self.place}/outputs",
            "FYRE_METRICS": f"{self.place}/results/metrics.jsonl",
            "FYRE_LINK": f"{self.place}/results/links.txt",
            "FYRE_TOP": f"{self.place}/top",
            **{f"FYRE_DECLARED_{number}": text for number, text in enumerate(declared)},
            "FYRE_UPLOAD_URL": f"{self.url}/uploads/{RUN}",
            "FYRE_UPLOAD_TOKEN": create_upload_token(SECRET, RUN),
            "FYRE_POD": POD,
        }
        return upload_agent.upload_outputs(environment, time.monotonic() + seconds)

    def listing(self) -> UploadListing:
        return self.staging.get_listing(RUN, POD)

    def contents(self) -> dict[str, bytes]:
        return {
            one.path: b"".join(self.store.read_blob(one.sha256)) for one in self.listing().artifacts
        }


async def _drop(_: Message) -> None:
    """Send nothing."""


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    made = Receiver(tmp_path)
    endpoint = UploadEndpoint(
        made.staging, SECRET, made.check_open, made.check_open, lambda *_: None
    )
    with ExitStack() as stack:
        made.url = stack.enter_context(serve(made.wrap(Starlette(routes=endpoint.routes()))))
        yield made


def test_10_all_that_a_command_left_is_sent(receiver: Receiver) -> None:
    top, outputs = receiver.place / "top", receiver.place / "outputs"
    (outputs / "sub").mkdir()
    (outputs / "sub" / "a").write_bytes(b"a")
    (outputs / "empty").touch(mode=0o600)
    (outputs / "large").write_bytes(os.urandom(9_000_000))
    (top / "model.pt").write_bytes(b"model")
    (top / "other").write_bytes(b"not asked for")
    (receiver.place / "results" / "metrics.jsonl").write_text('{"a": 1}\n')
    (receiver.place / "results" / "links.txt").write_text("Page https://example.org/\n")
    assert receiver.upload("model.pt", "gone/", "?never") == upload_agent.ALL_KEPT
    assert receiver.contents() == {
        "sub/a": b"a",
        "empty": b"",
        "large": (outputs / "large").read_bytes(),
        "model.pt": b"model",
    }
    listing = receiver.listing()
    assert listing.missing == ("gone/",)
    assert listing.links == "Page https://example.org/\n"
    assert listing.metrics is not None
    assert b"".join(receiver.store.read_blob(listing.metrics.sha256)) == b'{"a": 1}\n'
    assert [one.mode for one in listing.artifacts if one.path == "empty"] == [0o600]


def test_10_nothing_is_asked_where_there_is_nothing(receiver: Receiver) -> None:
    assert receiver.upload("?maybe") == upload_agent.NOTHING_TO_KEEP
    assert receiver.requests == []


def test_10_a_receiver_that_is_away_is_asked_again(receiver: Receiver) -> None:
    (receiver.place / "outputs" / "a").write_bytes(b"a")
    receiver.failures = [503, 429]
    assert receiver.upload() == upload_agent.ALL_KEPT
    assert receiver.contents() == {"a": b"a"}


def test_10_answers_that_are_lost_change_nothing(receiver: Receiver) -> None:
    content = os.urandom(9_000_000)
    (receiver.place / "outputs" / "large").write_bytes(content)
    receiver.is_cutting = True
    assert receiver.upload() == upload_agent.ALL_KEPT
    assert len(receiver.cut) == 2
    assert receiver.contents() == {"large": content}
    assert receiver.listing().problems == ()


@pytest.mark.parametrize(("failures", "seconds"), [([503] * 99, 0.5), ([401], 20), ([410], 20)])
def test_10_why_outputs_are_lost_is_said(
    receiver: Receiver, failures: list[int], seconds: float
) -> None:
    (receiver.place / "outputs" / "a").write_bytes(b"a")
    receiver.failures = failures
    with pytest.raises(upload_agent.UploadError, match=r"(refuses|in time).*busy"):
        receiver.upload(seconds=seconds)
    assert receiver.staging.listed_pods(RUN) == []


def test_10_a_file_that_changes_is_sent_as_it_became(receiver: Receiver) -> None:
    path = receiver.place / "outputs" / "a"
    path.write_bytes(b"before")
    found = upload_agent.output_files.find_output_files(path.parent, receiver.place / "top", [])
    link = upload_agent.Receiver(
        f"{receiver.url}/uploads/{RUN}/{POD}",
        create_upload_token(SECRET, RUN),
        time.monotonic() + 20,
    )
    with contextlib.closing(link):
        upload = upload_agent.Upload(link, found)
        upload.add_files()
        path.write_bytes(b"after")
        with pytest.raises(upload_agent.ChangedFileError):
            upload.send_missing()
    assert receiver.upload() == upload_agent.ALL_KEPT
    assert receiver.contents() == {"a": b"after"}


def test_10_links_pipes_and_git_are_left_out(receiver: Receiver) -> None:
    outputs = receiver.place / "outputs"
    (outputs / "out").symlink_to("/etc/passwd")
    (outputs / "good").write_bytes(b"x")
    (outputs / "in").symlink_to("good")
    os.mkfifo(outputs / "pipe")
    (outputs / ".git").mkdir()
    (outputs / ".git" / "config").write_bytes(b"x")
    (receiver.place / "results" / "metrics.jsonl").symlink_to("/etc/passwd")
    os.mkfifo(receiver.place / "results" / "links.txt")
    assert receiver.upload() == upload_agent.ALL_KEPT
    assert receiver.contents() == {"good": b"x", "in": b"x"}
    assert len(receiver.listing().problems) == 3
    assert receiver.listing().metrics is None


@pytest.mark.parametrize(
    ("run", "pod", "token", "status"),
    [
        (RUN, POD, "", 401),
        (RUN, POD, "x", 401),
        (RUN[::-1], POD, create_upload_token(SECRET, RUN), 401),
        (RUN[::-1], POD, create_upload_token(SECRET, RUN[::-1]), 410),
        (RUN, "other", create_upload_token(SECRET, RUN), 410),
    ],
)
def test_10_a_token_is_good_for_its_own_run_alone(
    receiver: Receiver, run: str, pod: str, token: str, status: int
) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    for method, path in (
        ("POST", "missing"),
        ("POST", "pack"),
        ("PUT", "pieces/" + "0" * 64),
        ("PUT", "listing"),
    ):
        url = f"{receiver.url}/uploads/{run}/{pod}/{path}"
        answer = requests.request(method, url, data=b"{}", headers=headers, timeout=30)
        assert answer.status_code == status, path
    assert not (receiver.place / "uploads").exists()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "missing", b"["),
        ("POST", "missing", b"x 1\n"),
        ("POST", "missing", b"0" * 64 + b" -1\n"),
        ("POST", "missing", b"".join(b"%064x 1\n" % number for number in range(100_001))),
        ("POST", "pack", bytes(8) * 2001),
        ("POST", "pack", b"\xff" * 20),
        ("POST", "pack", b"\0" * 7),
        ("PUT", "pieces/x?size=1&offset=0", b"x"),
        ("PUT", f"pieces/{'0' * 64}?size=-1&offset=0", b"x"),
        ("PUT", f"pieces/{'0' * 64}?size=1&offset=1", b"x"),
        ("PUT", f"pieces/{'0' * 64}", b"x"),
        ("PUT", "listing", b"7"),
        ("PUT", "listing", b'{}\n{"path": "../x"}'),
        ("POST", "pack", bytes(17 * 1024 * 1024)),
    ],
)
def test_10_what_is_no_upload_is_refused(
    receiver: Receiver, method: str, path: str, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {create_upload_token(SECRET, RUN)}"}
    url = f"{receiver.url}/uploads/{RUN}/{POD}/{path}"
    answer = requests.request(method, url, data=body, headers=headers, timeout=30)
    assert answer.status_code == 422
    assert answer.text.strip()


@long_case
def test_10_the_program_of_the_pod_loads_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """Begin it as a pod does, with an interpreter that finds no other package; end it by TERM."""
    words = agent_container.agent_command()
    for name in ("outputs", "results", "top"):
        (tmp_path / name).mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "FYRE_PROGRAM": agent_container.pack_program(),
        "FYRE_OUTPUTS": f"{tmp_path}/outputs",
        "FYRE_METRICS": f"{tmp_path}/results/m",
        "FYRE_LINK": f"{tmp_path}/results/l",
        "FYRE_TOP": f"{tmp_path}/top",
        "FYRE_UPLOAD_URL": "http://127.0.0.1:9/uploads/x",
        "FYRE_UPLOAD_TOKEN": "x",
        "FYRE_UPLOAD_SECONDS": "5",
        "FYRE_POD": POD,
        "FYRE_PID_FILE": f"{tmp_path}/results/.pid",
        "FYRE_LAST_WORDS": f"{tmp_path}/words",
    }
    agent = subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True)
    command = subprocess.Popen(["sleep", "600"])
    (tmp_path / "results" / ".pid").write_text(f"{command.pid}\n")
    try:
        until(lambda: "python" in Path(f"/proc/{agent.pid}/comm").read_text())
        agent.terminate()  # maybe before it listens; and the command is there: this is no end
        with pytest.raises(subprocess.TimeoutExpired):
            agent.wait(0.7)
        command.kill()
        command.wait()
        assert agent.communicate(timeout=30)[0] == f"{upload_agent.NOTHING_TO_KEEP}\n"
        assert (tmp_path / "words").read_text() == upload_agent.NOTHING_TO_KEEP
    finally:
        for process in (agent, command):
            process.kill()
            process.wait()


def test_10_a_slow_client_takes_the_room_of_its_own_run_alone(receiver: Receiver) -> None:
    """Whoever has the token of a run can hold up that run's upload, and nobody else's."""
    (receiver.place / "outputs" / "a").write_bytes(b"a")
    other = RUN[::-1]
    head = (
        f"POST /uploads/{other}/{POD}/missing HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n"
        f"Authorization: Bearer {create_upload_token(SECRET, other)}\r\n\r\nx"
    )
    receiver.open_runs.add(other)
    place = receiver.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            client = stack.enter_context(socket.create_connection((place[0], int(place[1]))))
            client.sendall(head.encode())
        assert receiver.upload() == upload_agent.ALL_KEPT


def test_10_uploads_side_by_side_do_not_mix(receiver: Receiver) -> None:
    """Two requests of one pod with the same content, as after a connection that broke."""
    content: Any = os.urandom(3_000_000)
    (receiver.place / "outputs" / "a").write_bytes(content)
    ends: list[str] = []
    threads = [threading.Thread(target=lambda: ends.append(receiver.upload())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ends == [upload_agent.ALL_KEPT] * 3
    assert receiver.contents() == {"a": content}
