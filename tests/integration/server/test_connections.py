"""A9: connections that strangers hold, clients that take nothing, and what a machine lacks."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import requests

from fyre.git.commit_reader import LocalCommitReader
from fyre.runs.run import Commit, Repository
from fyre.runs.run_query import ALL_RUNS
from fyre.server import http_server
from tests.conftest import git
from tests.support.ci_marks import easier_cases, long_case
from tests.support.person import NAME, Person, person
from tests.support.waiting import until

__all__ = ["person"]


def connect(url: str, sent: bytes = b"") -> socket.socket:
    host, port = url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)))
    connection.sendall(sent)
    return connection


def is_closed(connection: socket.socket) -> bool:
    connection.settimeout(10)
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def open_connections(url: str) -> int:
    """The connections that this process's servers hold on that port."""
    port = int(url.rpartition(":")[2])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    own = [line.split() for line in lines]
    return sum(f[1].endswith(f":{port:04X}") and f[3] == "01" for f in own)


@pytest.mark.parametrize("sent", [b"", b"GET /runs.json HT", b"POST /webhook HTTP/1.1\r\nHost:"])
def test_a9_a_head_that_is_never_complete_is_closed(
    person: Person, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_server, "HEAD_TIMEOUT", 0.3)
    with connect(person.up.url, sent) as connection:
        assert is_closed(connection)


@pytest.mark.parametrize(
    "path", ["/webhook", f"/{NAME}.git/git-receive-pack", f"/{NAME}.git/info/lfs/objects/batch"]
)
def test_a9_the_rest_of_a_body_is_not_waited_for_without_end(
    person: Person, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 0.3)
    kind = f"Content-Type: application/x-{path.rpartition('/')[2]}-request\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{kind}Content-Length: 99\r\n\r\n{{"
    with connect(person.up.url, head.encode()) as connection, suppress(ConnectionError):
        connection.settimeout(10)
        while connection.recv(65536):  # git answers before it has all of a push
            pass


def test_a9_a_body_that_trickles_is_not_waited_for_without_end(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "BODY_TIMEOUT", 0.4)
    head = f"POST /{NAME}.git/git-upload-pack HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    kind = "Content-Type: application/x-git-upload-pack-request\r\nContent-Length: 9999\r\n\r\n0"
    sent = 0
    with connect(person.up.url, (head + kind).encode()) as connection, suppress(ConnectionError):
        for sent in range(600):  # a minute  # noqa: B007 - it is looked at below
            connection.send(b"0")
            time.sleep(0.1)
    assert sent < 599


@pytest.mark.parametrize(
    "sent",
    [
        *easier_cases(b"", b"GET /runs.json HT"),
        b"POST /webhook HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\n{",
    ],
)
def test_a9_idle_strangers_leave_room_for_everybody_else(
    person: Person, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr(http_server, "connections_max", lambda: 20)
    strangers = [connect(person.up.url, sent) for _ in range(100)]
    try:
        until(lambda: open_connections(person.up.url) <= 21)
        status = person.final(person.run("echo ran"))
        assert (status["state"], person.log(status)) == ("success", "ran\n")
    finally:
        for stranger in strangers:
            stranger.close()


@long_case
def test_a9_1100_idle_strangers_do_not_use_up_the_descriptors(tmp_path: Path, repo: Path) -> None:
    """A real process with few descriptors, and the pushes that it meets meanwhile."""
    words = ["-m", "fyre", "up", "--root", str(tmp_path / "state"), "--port", "0"]
    limited = f"ulimit -n 160; exec {sys.executable} {' '.join(words)}"
    with subprocess.Popen(["sh", "-c", limited], stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        url = server.stderr.readline().split()[1]
        try:
            strangers = [connect(url) for _ in range(300)]
            git("remote", "add", "origin", f"{url}/ada/lab.git", cwd=repo)
            git("commit", "-q", "--allow-empty", "-m", "Work\n\nFyre-Run: true", cwd=repo)
            sha = git("rev-parse", "HEAD", cwd=repo)
            git("push", "-q", "origin", "main", cwd=repo)
            address = f"{url}/api/repos/ada/lab/commits/{sha}/status"
            until(lambda: requests.get(address).json()["state"] == "success")
            for stranger in strangers:
                stranger.close()
        finally:
            server.terminate()
            server.wait(30)


def test_a9_readers_of_a_log_that_left_are_closed(person: Person) -> None:
    sha = person.run("echo one; sleep 60")
    until(lambda: any(run.started_at for run in person.up.engine.query_runs(ALL_RUNS)))
    path = person.statuses(sha)[0]["target_url"].removeprefix(person.up.url) + "/log?follow=1"
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    readers = [connect(person.up.url, head) for _ in range(50)]
    for reader in readers:
        assert reader.recv(100).startswith(b"HTTP/1.1 200")
    assert open_connections(person.up.url) >= 50
    for reader in readers:
        reader.close()
    until(lambda: open_connections(person.up.url) < 10)
    person.comment(sha, "/fyre cancel")
    person.final(sha)


@long_case
def test_a9_a_reader_that_takes_nothing_is_closed(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "STALLED_READER_TIMEOUT", 0.3)
    sha = person.run("head -c 12000000 /dev/zero")
    path = person.final(sha)["target_url"].removeprefix(person.up.url) + "/log"
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    with connect(person.up.url, head) as reader:
        assert reader.recv(10) == b"HTTP/1.1 2"
        until(lambda: open_connections(person.up.url) == 0)


@long_case
def test_a9_many_followers_of_a_silent_run_are_one_look_at_its_log(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fyre.engines import segment_reader

    sha = person.run("echo one; sleep 60")
    until(lambda: any(run.started_at for run in person.up.engine.query_runs(ALL_RUNS)))
    path = person.statuses(sha)[0]["target_url"].removeprefix(person.up.url) + "/log?follow=1"
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    looks, end_offset = [], segment_reader.end_offset

    def look(path: str) -> int:
        looks.append(path)
        return end_offset(path)

    readers = [connect(person.up.url, head) for _ in range(50)]
    for reader in readers:
        received = b""
        while b"one" not in received:
            received += reader.recv(1000)
    monkeypatch.setattr(segment_reader, "end_offset", look)
    begin = time.monotonic()
    until(lambda: len(looks) >= 5)
    seconds = time.monotonic() - begin
    assert len(looks) <= 5 + 20 * seconds  # one follower alone would look as often
    for reader in readers:
        reader.close()
    person.comment(sha, "/fyre cancel")
    person.final(sha)


@long_case
@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("read", errno.EMFILE),
        ("read", errno.EAGAIN),
        ("launch", errno.ENOMEM),
        ("launch", errno.ENOSPC),
    ],
)
def test_a9_what_the_machine_lacks_is_no_verdict_on_a_commit(
    person: Person, monkeypatch: pytest.MonkeyPatch, number: int, where: str
) -> None:
    lacking = iter([True, True])

    def lack() -> None:
        if next(lacking, False):
            raise OSError(number, os.strerror(number))

    if where == "read":
        reader = type(person.up.commit_reader)
        read = reader.read_commit

        def read_commit(self: LocalCommitReader, repository: Repository, sha: str) -> Commit:
            lack()
            return read(self, repository, sha)

        monkeypatch.setattr(reader, "read_commit", read_commit)
    else:
        launch = type(person.up.engine).launch

        def launch_run(self: object, run: object) -> bool:
            lack()
            return launch(self, run)  # type: ignore[arg-type]

        monkeypatch.setattr(type(person.up.engine), "launch", launch_run)
    sha = person.run("echo ran")
    status = person.final(sha)
    assert (status["state"], person.log(status)) == ("success", "ran\n")
    assert next(lacking, None) is None
    assert {one["state"] for one in person.statuses(sha)} <= {"pending", "success"}
