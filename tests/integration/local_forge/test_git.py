"""Real git clients against the forge."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.ci_marks import long_case
from tests.support.local_forge import NAME, Served
from tests.support.waiting import until

Git = Callable[..., str]


def test_a_push_makes_the_repository_and_a_clone_has_what_was_pushed(
    forge: Served, pushed: str, tmp_path: Path, git: Git
) -> None:
    git("clone", "-q", forge.git(), str(tmp_path / "clone"), cwd=tmp_path)
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone") == pushed
    assert git("fsck", "--strict", cwd=forge.forge.repository_git_dir(NAME)) == ""


@pytest.mark.parametrize("version", ["0", "2"])
def test_exact_shas_are_fetched_shallow_by_either_protocol(  # noqa: PLR0917 - fixtures
    forge: Served, pushed: str, repo: Path, tmp_path: Path, git: Git, version: str
) -> None:
    git("commit", "-q", "--allow-empty", "-m", "Second", cwd=repo)
    git("push", "-q", "origin", "main", cwd=repo)
    git("commit", "-q", "--amend", "--allow-empty", "-m", "Another", cwd=repo)
    dropped = git("rev-parse", "origin/main", cwd=repo)
    git("push", "-q", "-f", "origin", "main", cwd=repo)
    git("init", "-q", str(tmp_path / "x"), cwd=tmp_path)
    for sha in (pushed, dropped):
        git(
            "-c",
            f"protocol.version={version}",
            "fetch",
            "-q",
            "--depth=1",
            forge.git(),
            sha,
            cwd=tmp_path / "x",
        )
        assert git("rev-list", "FETCH_HEAD", cwd=tmp_path / "x") == sha


@long_case
def test_a_large_push_arrives_in_chunks(
    forge: Served, pushed: str, repo: Path, tmp_path: Path, git: Git
) -> None:
    (repo / "noise").write_bytes(os.urandom(3_000_000))
    git("add", "noise", cwd=repo)
    git("commit", "-q", "-m", "Noise", cwd=repo)
    git("-c", "http.postBuffer=65536", "push", "-q", "origin", "main", cwd=repo)
    git("clone", "-q", forge.git(), str(tmp_path / "clone"), cwd=tmp_path)
    assert (tmp_path / "clone/noise").read_bytes() == (repo / "noise").read_bytes()


@pytest.mark.parametrize("chunked", [False, True])
def test_requests_may_be_gzipped_and_chunked(forge: Served, pushed: str, *, chunked: bool) -> None:
    want = gzip.compress(f"0032want {pushed}\n00000009done\n".encode())
    answer = requests.post(
        forge.git() + "/git-upload-pack",
        data=iter([want[:20], want[20:]]) if chunked else want,
        headers={
            "Content-Type": "application/x-git-upload-pack-request",
            "Content-Encoding": "gzip",
        },
        timeout=20,
    )
    assert answer.headers["content-type"] == "application/x-git-upload-pack-result"
    assert answer.content.startswith(b"0008NAK\nPACK")


def test_the_first_branch_is_the_default_one(forge: Served, repo: Path, git: Git) -> None:
    git("push", "-q", forge.git(), "main:trunk", cwd=repo)
    assert forge.get(f"/repos/{NAME}").json()["default_branch"] == "trunk"
    assert git("ls-remote", "--symref", forge.git(), "HEAD", cwd=repo).startswith(
        "ref: refs/heads/trunk"
    )


def test_nobody_pushes_what_reads_as_a_status(forge: Served, pushed: str, repo: Path) -> None:
    for ref in ["refs/notes/fyre/statuses", "refs/notes/fyre", "refs/fyre/x"]:
        done = subprocess.run(
            ["git", "push", "origin", f"main:{ref}"],
            cwd=repo,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert "hidden ref" in done.stderr
        assert not (forge.forge.repository_git_dir(NAME) / ref).exists()


def test_bad_names_make_nothing(forge: Served) -> None:
    for name in [
        "-x/y",
        "x/-y",
        ".x/y",
        "x/..",
        "../y",
        "a/b.git",
        "a/b.lock",
        "a b/c",
        "a/b%00",
        "a/" + "b" * 101,
        "%2e%2e/x",
        "a/%2e%2e",
    ]:
        url = f"{forge.base}/{name}.git/info/refs?service=git-receive-pack"
        session = requests.Session()
        prepared = session.prepare_request(requests.Request("GET", url))
        prepared.url = url  # as it is written, not as a browser would tidy it
        assert session.send(prepared, timeout=20).status_code == 404
        assert list(forge.forge.repositories.root.iterdir()) == []


def test_reading_makes_nothing(forge: Served) -> None:
    assert (
        requests.get(forge.git() + "/info/refs?service=git-upload-pack", timeout=20).status_code
        == 404
    )
    assert list(forge.forge.repositories.root.iterdir()) == []


def test_only_smart_http_is_served(forge: Served, pushed: str) -> None:
    for path in (
        "HEAD",
        "config",
        "info/refs",
        "objects/info/packs",
        "fyre.json",
        "info/refs?service=x",
    ):
        assert requests.get(f"{forge.git()}/{path}", timeout=20).status_code == 404


def test_the_pusher_is_the_actor(forge: Served, pushed: str) -> None:
    reflog = (forge.forge.repository_git_dir(NAME) / "logs/refs/heads/main").read_text()
    assert " ada <ada@localhost> " in reflog


def test_a_foreign_host_is_not_answered(forge: Served, pushed: str) -> None:
    for host, code in (
        ("evil.example", 400),
        ("localhost:1", 200),
        ("[::1]:80", 200),
        ("127.0.0.1.evil.example", 400),
    ):
        assert forge.get(f"/repos/{NAME}", headers={"Host": host}).status_code == code


def test_a_client_that_hangs_up_in_a_push_leaves_nothing(forge: Served, pushed: str) -> None:
    host, port = forge.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            f"POST /{NAME}.git/git-receive-pack HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/x-git-receive-pack-request\r\n"
            "Content-Length: 5000000\r\n\r\n".encode()
        )
        client.sendall(
            b"0094"
            + b"0" * 40
            + b" "
            + pushed.encode()
            + b" refs/heads/half\0 report-status\n"
            + b"x" * 100_000
        )
    assert forge.get(f"/repos/{NAME}/branches").json()[0]["name"] == "main"
    git_dir = forge.forge.repository_git_dir(NAME)
    assert not (git_dir / "refs/heads/half").exists()
    assert not list(git_dir.rglob("*.lock"))


@long_case
def test_a_client_that_hangs_up_in_a_fetch_ends_the_child(
    forge: Served, pushed: str, repo: Path, git: Git
) -> None:
    (repo / "noise").write_bytes(os.urandom(30_000_000))
    git(
        "config", "core.compression", "0", cwd=repo
    )  # it can't be made smaller, and trying takes seconds
    git("add", "noise", cwd=repo)
    git("commit", "-q", "-m", "Noise", cwd=repo)
    git("push", "-q", "origin", "main", cwd=repo)
    want = f"0032want {git('rev-parse', 'main', cwd=repo)}\n00000009done\n".encode()
    host, port = forge.base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            f"POST /{NAME}.git/git-upload-pack HTTP/1.1\r\nHost: {host}\r\n"
            "Content-Type: application/x-git-upload-pack-request\r\n"
            f"Content-Length: {len(want)}\r\n\r\n".encode()
            + want
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
        assert backends()  # it has more to say than the connection holds
    until(lambda: not backends())


def backends() -> list[str]:
    """The command lines of the git http-backends that this process has started."""
    found = []
    for children in Path("/proc/self/task").glob("*/children"):
        for child in children.read_text().split():
            try:
                found.append(Path(f"/proc/{child}/cmdline").read_text())
            except OSError:
                continue
    return [line for line in found if "http-backend" in line]
