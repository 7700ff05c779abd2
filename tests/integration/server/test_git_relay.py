"""The relay and its mirrors: real git clients, a real forge behind it."""

from __future__ import annotations

import base64
import gzip
import logging
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from fyre.errors import TransientError
from fyre.git.mirror_store import MirrorStore
from fyre.git.wanted_commits import find_wanted_commits
from fyre.github.errors import DeniedError, NotFoundError
from fyre.runs.run import Repository
from tests.support.ci_marks import long_case
from tests.support.relaying import NOW, Forge, Relayed, relaying, serve
from tests.support.waiting import until

Git = Callable[..., str]

REPOSITORY = Repository("http://forge", 7, "ada/engine")
NOWHERE = "0123456789abcdef" * 2 + "01234567"


@pytest.fixture(scope="module")
def running_relay() -> Iterator[Relayed]:
    with relaying(Path("/nonexistent")) as relayed:
        yield relayed


@pytest.fixture
def relay(running_relay: Relayed, repo: Path, tmp_path: Path, git: Git) -> Relayed:
    """A relay with the repository as number 7."""
    git("clone", "-q", "--mirror", str(repo), str(tmp_path / "bare/7.git"), cwd=tmp_path)
    running_relay.root = tmp_path / "bare"
    return running_relay


def basic(key: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{key}".encode()).decode()}


def refs(relay: Relayed, headers: dict[str, str], number: int = 7) -> requests.Response:
    address = f"{relay.repository(number)}/info/refs?service=git-upload-pack"
    return requests.get(address, headers=headers, timeout=20)


@pytest.mark.parametrize("version", ["0", "2"])
def test_any_sha_at_depth_1_by_either_protocol(
    relay: Relayed, repo: Path, tmp_path: Path, git: Git, version: str
) -> None:
    dropped = git("rev-parse", "HEAD", cwd=repo)
    git("commit", "-q", "--amend", "-m", "Another", cwd=repo)
    git("push", "-q", "-f", str(tmp_path / "bare/7.git"), "main", cwd=repo)
    header = f"http.extraHeader=Authorization: {basic(relay.key())['Authorization']}"
    git("init", "-q", "x", cwd=tmp_path)
    options = ("-c", header, "-c", f"protocol.version={version}")
    git(*options, "fetch", "-q", "--depth=1", relay.repository(), dropped, cwd=tmp_path / "x")
    assert git("rev-list", "FETCH_HEAD", cwd=tmp_path / "x") == dropped


def test_protocol_2_is_spoken_when_asked_for(relay: Relayed) -> None:
    assert b"version 2" in refs(relay, basic(relay.key()) | {"Git-Protocol": "version=2"}).content
    assert b"version 2" not in refs(relay, basic(relay.key())).content


def test_10_a_run_whose_command_has_ended_is_given_no_code(
    repo: Path, tmp_path: Path, git: Git
) -> None:
    """Else a pod that takes the place of an evicted one would start the command again."""
    git("clone", "-q", "--mirror", str(repo), str(tmp_path / "bare/7.git"), cwd=tmp_path)
    ended: set[str] = set()
    with relaying(tmp_path / "bare", may_start=lambda key: key not in ended) as relayed:
        assert refs(relayed, basic(relayed.key())).status_code == 200
        ended.add("run-1")
        answer = refs(relayed, basic(relayed.key()))
    assert (answer.status_code, answer.text) == (403, "the command of this run has ended\n")


def test_the_pins_of_other_runs_are_not_told(relay: Relayed, git: Git) -> None:
    git("update-ref", "refs/fyre/secret-run", "refs/heads/main", cwd=relay.root / "7.git")
    assert b"refs/heads/main" in refs(relay, basic(relay.key())).content
    assert b"secret-run" not in refs(relay, basic(relay.key())).content


def test_without_a_good_key_there_is_nothing(relay: Relayed) -> None:
    bearer = {"Authorization": f"Bearer {relay.key()}"}
    for headers in (
        {},
        bearer,
        basic("wrong"),
        basic(relay.key(expires=NOW - 1)),
        {"Authorization": "Basic \xff"},
    ):
        answer = refs(relay, headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Basic")


def test_a_key_opens_its_own_repositories_only(relay: Relayed) -> None:
    assert refs(relay, basic(relay.key())).status_code == 200
    assert refs(relay, basic(relay.key(8))).status_code == 404
    assert (
        refs(relay, basic(relay.key(7, 8)), 8).status_code == 503
    )  # of a run, and its mirror is still to come
    address = f"{relay.url}/git/{{}}.git/info/refs?service=git-upload-pack"
    for name in ("..%2f7", "07x", "9" * 5000, "-7", "７"):
        assert (
            requests.get(address.format(name), headers=basic(relay.key()), timeout=20).status_code
            == 404
        )


def test_nobody_pushes_and_no_file_is_read_by_name(relay: Relayed, repo: Path) -> None:
    header = f"http.extraHeader=Authorization: {basic(relay.key())['Authorization']}"
    push = ["git", "-c", header, "push", relay.repository(), "main:other"]
    assert subprocess.run(push, cwd=repo, capture_output=True, check=False).returncode != 0
    assert not (relay.root / "7.git/refs/heads/other").exists()
    for path in (
        "HEAD",
        "info/refs",
        "git-receive-pack",
        "info/refs?service=git-receive-pack",
        "objects/info/packs",
    ):
        for method in ("GET", "POST"):
            address = f"{relay.repository()}/{path}"
            assert (
                requests.request(
                    method, address, headers=basic(relay.key()), timeout=20
                ).status_code
                == 404
            )


@pytest.mark.parametrize("chunked", [False, True])
def test_requests_may_be_gzipped_and_chunked(
    relay: Relayed, repo: Path, git: Git, *, chunked: bool
) -> None:
    want = gzip.compress(f"0032want {git('rev-parse', 'HEAD', cwd=repo)}\n00000009done\n".encode())
    kind = {"Content-Type": "application/x-git-upload-pack-request", "Content-Encoding": "gzip"}
    answer = requests.post(
        f"{relay.repository()}/git-upload-pack",
        data=iter([want[:20], want[20:]]) if chunked else want,
        headers=basic(relay.key()) | kind,
        timeout=20,
    )
    assert answer.content.startswith(b"0008NAK\nPACK")


def test_the_key_is_in_no_log(relay: Relayed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = relay.key()
    kind = {"Content-Type": "application/x-git-upload-pack-request"}
    requests.post(
        f"{relay.repository()}/git-upload-pack", data=b"zzzz", headers=basic(key) | kind, timeout=20
    )
    refs(relay, basic(key))
    refs(relay, basic("x" + key))
    assert key not in caplog.text
    assert basic(key)["Authorization"] not in caplog.text


def half_fetch(relay: Relayed, sha: str) -> socket.socket:
    """A client that has asked for a large pack and reads no more than its beginning."""
    want = f"0032want {sha}\n00000009done\n".encode()
    head = {
        "Host": "relay",
        "Content-Length": str(len(want)),
        "Content-Type": "application/x-git-upload-pack-request",
    }
    lines = [f"{name}: {value}" for name, value in (head | basic(relay.key())).items()]
    client = socket.create_connection(("127.0.0.1", int(relay.url.rpartition(":")[2])))
    request = "POST /git/7.git/git-upload-pack HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    client.sendall(request.encode() + want)
    assert client.recv(1000).startswith(b"HTTP/1.1 200")
    return client


@pytest.fixture
def large(repo: Path, tmp_path: Path, git: Git) -> str:
    """A commit whose pack fits in no buffer on the way."""
    (repo / "noise").write_bytes(os.urandom(30_000_000))
    git(
        "config", "core.compression", "0", cwd=repo
    )  # it can't be made smaller, and trying takes seconds
    git("add", "noise", cwd=repo)
    git("commit", "-q", "-m", "Noise", cwd=repo)
    git("clone", "-q", "--mirror", str(repo), str(tmp_path / "bare/7.git"), cwd=tmp_path)
    return git("rev-parse", "HEAD", cwd=repo)


def serving(place: Path) -> list[int]:
    """The processes that serve a repository below that directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(place).encode() in (entry / "environ").read_bytes():
                found += (
                    [int(entry.name)] if b"upload-pack" in (entry / "cmdline").read_bytes() else []
                )
        except OSError:
            continue  # it ended, or is another user's
    return found


def test_a_client_that_goes_away_ends_its_process_and_frees_its_place(
    tmp_path: Path, large: str
) -> None:
    with relaying(tmp_path / "bare", places=1) as relay:
        client = half_fetch(relay, large)
        until(lambda: serving(tmp_path) != [])  # http-backend answers before it starts upload-pack
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(refs, relay, basic(relay.key()))
            assert serving(tmp_path)  # the only place is taken, so the other one waits
            client.close()
            assert waiting.result().status_code == 200
        until(lambda: not serving(tmp_path))


@long_case
def test_a_client_that_stops_reading_or_writing_is_dropped(tmp_path: Path, large: str) -> None:
    with (
        relaying(tmp_path / "bare", places=1, stall=0.2) as relay,
        half_fetch(relay, large) as client,
    ):
        assert refs(relay, basic(relay.key())).status_code == 200
        until(lambda: not serving(tmp_path))
        with socket.create_connection(client.getpeername()) as slow:
            key = basic(relay.key())["Authorization"]
            head = f"Authorization: {key}\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
            slow.sendall(f"POST /git/7.git/git-upload-pack HTTP/1.1\r\n{head}half".encode())
            assert b"200" not in slow.recv(100)


@pytest.fixture(scope="module")
def running_forge() -> Iterator[tuple[Forge, str]]:
    forge = Forge(Path("/nonexistent"))
    with serve(forge.app()) as url:
        yield forge, url


@pytest.fixture
def forge(running_forge: tuple[Forge, str], repo: Path, tmp_path: Path, git: Git) -> Forge:
    """A forge with the repository as ``engine``; the working repository's origin."""
    forge = running_forge[0]
    forge.root, forge.token, forge.asked[:] = tmp_path / "forge", "forge-token", []
    for name in ("engine", "other", "third"):
        git("clone", "-q", "--bare", str(repo), str(forge.root / f"{name}.git"), cwd=tmp_path)
    git("remote", "add", "origin", str(forge.root / "engine.git"), cwd=repo)
    return forge


@pytest.fixture
def make_clones(
    running_forge: tuple[Forge, str], forge: Forge, tmp_path: Path
) -> Callable[..., MirrorStore]:
    def make(**settings: int) -> MirrorStore:
        address = running_forge[1]
        return MirrorStore(
            tmp_path / "mirrors",
            lambda r: f"{address}/{r.name.partition('/')[2]}.git",
            lambda _: "forge-token",
            **settings,
        )

    return make


@pytest.fixture
def clones(make_clones: Callable[..., MirrorStore]) -> MirrorStore:
    return make_clones()


@pytest.fixture
def commit(repo: Path, forge: Forge, git: Git) -> Callable[[str], str]:
    def make(message: str = "More") -> str:
        git("commit", "-q", "--allow-empty", "-m", message, cwd=repo)
        git("push", "-q", "-f", "origin", "main", cwd=repo)
        return git("rev-parse", "HEAD", cwd=repo)

    return make


def test_a_mirror_is_complete_and_fetched_only_for_what_is_missing(
    clones: MirrorStore, forge: Forge, commit: Callable[..., str], repo: Path, git: Git
) -> None:
    first, second = git("rev-parse", "HEAD", cwd=repo), commit()
    git("tag", "v1", cwd=repo)
    git("push", "-q", "origin", "v1", "main:refs/pull/1/head", cwd=repo)
    mirror = clones.ensure_commit(REPOSITORY, second)
    assert (
        clones.ensure_commit(REPOSITORY, first)
        == clones.mirror_dir(REPOSITORY)
        == clones.find_mirror(7)
        == mirror
    )
    assert forge.fetches == 1
    assert git("for-each-ref", "--format=%(refname)", cwd=mirror).split() == [
        "refs/heads/main",
        "refs/tags/v1",
    ]
    third = commit()
    assert (
        git("log", "-1", "--format=%H", third, cwd=clones.ensure_commit(REPOSITORY, third)) == third
    )
    assert forge.fetches == 2


@long_case
def test_a_hundred_who_ask_at_once_cost_one_fetch(
    clones: MirrorStore, forge: Forge, commit: Callable[..., str]
) -> None:
    sha, gate = commit(), threading.Barrier(100)

    def ask(number: int) -> Path:
        gate.wait()
        return clones.ensure_commit(REPOSITORY, sha, f"run-{number}")

    with ThreadPoolExecutor(100) as pool:
        assert len(set(pool.map(ask, range(100)))) == 1
    assert forge.fetches == 1
    assert len(list(clones.list_pins())) == 100


def test_what_is_there_is_had_while_a_long_fetch_goes_on(
    clones: MirrorStore, forge: Forge, commit: Callable[..., str]
) -> None:
    sha = commit()
    clones.ensure_commit(REPOSITORY, sha)
    with clones._fetch_lock(7).lock:  # as a fetch holds it
        assert clones.ensure_commit(REPOSITORY, sha, "run-1") == clones.find_mirror(7)
    assert list(clones.list_pins()) == [(7, "run-1")]


def test_a_sha_that_the_forge_no_longer_has_is_named(clones: MirrorStore, forge: Forge) -> None:
    for sha in (NOWHERE, "main", "--all"):
        with pytest.raises(NotFoundError, match="no longer has it"):
            clones.ensure_commit(REPOSITORY, sha)
    assert forge.fetches == 3


def test_objects_of_pull_requests_are_not_brought_in(
    clones: MirrorStore, commit: Callable[..., str], repo: Path, git: Git
) -> None:
    commit()
    git("commit", "-q", "--allow-empty", "-m", "From a fork", cwd=repo)
    git("push", "-q", "origin", "HEAD:refs/pull/2/head", cwd=repo)
    with pytest.raises(NotFoundError):
        clones.ensure_commit(REPOSITORY, git("rev-parse", "HEAD", cwd=repo))


def test_what_was_pinned_stays_when_the_branch_moves_on(
    clones: MirrorStore, commit: Callable[..., str], repo: Path, git: Git
) -> None:
    sha = commit()
    mirror = clones.ensure_commit(REPOSITORY, sha, "run-1")
    git("commit", "-q", "--amend", "--allow-empty", "-m", "Instead", cwd=repo)
    clones.ensure_commit(REPOSITORY, commit("On top"))
    git("gc", "-q", "--prune=now", cwd=mirror)
    assert git("cat-file", "-t", sha, cwd=mirror) == "commit"
    assert list(clones.list_pins()) == [(7, "run-1")]
    clones.unpin_run(REPOSITORY, "run-1")
    clones.unpin_run(REPOSITORY, "run-1")
    assert list(clones.list_pins()) == []
    with pytest.raises(ValueError, match="run's key"):
        clones.ensure_commit(REPOSITORY, sha, "../heads/main")


@long_case
def test_branches_that_turn_into_directories_and_many_packs_are_no_trouble(
    clones: MirrorStore,
    commit: Callable[..., str],
    repo: Path,
    git: Git,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("fyre.git.mirror_store.PACKS_MAX", 2)
    git("push", "-q", "origin", "main:refs/heads/b", cwd=repo)
    for name, before in (("a", "b"), ("a/b", "a"), ("a", "a/b"), ("a/b/c", "a")):
        git("push", "-q", "origin", f":refs/heads/{before}", cwd=repo)
        git("push", "-q", "origin", f"main:refs/heads/{name}", cwd=repo)
        mirror = clones.ensure_commit(REPOSITORY, commit(name))
    assert git("for-each-ref", "--format=%(refname)", cwd=mirror).split() == [
        "refs/heads/a/b/c",
        "refs/heads/main",
    ]
    assert len(list((mirror / "objects/pack").glob("*.pack"))) <= 3
    assert git("fsck", "--strict", cwd=mirror) == ""


def test_mirrors_used_longest_ago_go_unless_pinned(
    make_clones: Callable[..., MirrorStore], repo: Path, git: Git
) -> None:
    sha, clones = git("rev-parse", "HEAD", cwd=repo), make_clones(bytes_max=1)
    names = {7: "ada/engine", 8: "ada/other", 9: "ada/third"}
    seven, eight, nine = (
        Repository("http://forge", number, name) for number, name in names.items()
    )
    clones.ensure_commit(seven, sha, "run-1")
    clones.ensure_commit(eight, sha)
    clones.ensure_commit(nine, sha)
    assert [clones.find_mirror(number) is not None for number in names] == [True, False, True]
    clones.unpin_run(seven, "run-1")
    clones.ensure_commit(eight, sha)
    assert [clones.find_mirror(number) is not None for number in names] == [False, True, False]
    assert sorted(path.name for path in clones.mirror_dir(eight).parent.iterdir()) == ["8.git"]


def test_trouble_with_the_forge_is_told_apart(
    clones: MirrorStore, forge: Forge, commit: Callable[..., str]
) -> None:
    sha = commit()
    forge.broken = 1
    with pytest.raises(TransientError, match="503"):
        clones.ensure_commit(REPOSITORY, sha)
    forge.token = "changed"
    with pytest.raises(DeniedError):
        clones.ensure_commit(REPOSITORY, sha)
    forge.token = "forge-token"
    with pytest.raises(NotFoundError, match="no such repository"):
        clones.ensure_commit(Repository("http://forge", 8, "ada/absent"), sha)
    assert clones.find_mirror(8) is None
    assert clones.ensure_commit(REPOSITORY, sha) == clones.find_mirror(7)


def test_the_token_is_nowhere_on_disk(clones: MirrorStore, commit: Callable[..., str]) -> None:
    mirror = clones.ensure_commit(REPOSITORY, commit())
    assert not [
        path for path in mirror.rglob("*") if path.is_file() and b"forge-token" in path.read_bytes()
    ]


def test_what_a_killed_process_left_behind_stops_nothing(
    make_clones: Callable[..., MirrorStore], commit: Callable[..., str]
) -> None:
    mirror = make_clones().ensure_commit(REPOSITORY, commit())
    left = (
        "refs/heads/main.lock",
        "packed-refs.lock",
        "objects/pack/tmp_pack_x",
        "../new-9/HEAD",
        "../old-8/HEAD",
    )
    for name in left:
        (mirror / name).parent.mkdir(exist_ok=True)
        (mirror / name).touch()
    sha = commit()
    assert make_clones().ensure_commit(REPOSITORY, sha) == mirror
    assert [name for name in left if (mirror / name).exists()] == []


def test_9_28_a_commit_that_is_newer_than_the_mirror_is_fetched_on_demand(
    repo: Path, tmp_path: Path, git: Git
) -> None:
    """A submodule's, whose push nobody has heard of; and 503 while the forge can't be asked."""
    git("clone", "-q", "--bare", str(repo), str(tmp_path / "forge/engine.git"), cwd=tmp_path)
    forge = Forge(tmp_path / "forge")
    with serve(forge.app()) as address:
        mirrors = MirrorStore(
            tmp_path / "mirrors", lambda _: f"{address}/engine.git", lambda _: forge.token
        )
        mirrors.fetch_mirror(REPOSITORY)
        git("commit", "-q", "--allow-empty", "-m", "Newer", cwd=repo)
        git("push", "-q", str(tmp_path / "forge/engine.git"), "main", cwd=repo)
        newer = git("rev-parse", "HEAD", cwd=repo)
        with relaying(tmp_path / "mirrors", fetch=mirrors.fetch_wanted) as relay:
            header = f"http.extraHeader=Authorization: {basic(relay.key())['Authorization']}"
            git("init", "-q", "x", cwd=tmp_path)

            def fetch(sha: str) -> str:
                command = ["git", "-c", header, "fetch", "-q", "--depth=1", relay.repository(), sha]
                found = subprocess.run(
                    command, cwd=tmp_path / "x", capture_output=True, text=True, check=False
                )
                return found.stderr

            forge.broken = 9
            assert "returned error: 503" in fetch(newer) or "HTTP 503" in fetch(newer)
            forge.broken = 0
            assert fetch(newer) == ""
            asked = forge.fetches
            for _ in range(2):
                assert "not our ref" in fetch(NOWHERE)
            assert forge.fetches == asked + 1  # once a minute is enough


def test_9_28_what_a_fetch_wants_is_read_from_its_body() -> None:
    body = b"0011command=fetch0032want " + NOWHERE.encode() + b"\n0032want " + b"a" * 40 + b"\n"
    assert find_wanted_commits(body, "") == (NOWHERE, "a" * 40)
    assert find_wanted_commits(gzip.compress(body), "gzip") == (NOWHERE, "a" * 40)
    assert find_wanted_commits(b"no gzip", "gzip") == ()
    assert find_wanted_commits(gzip.compress(bytes(1 << 26)), "gzip") == ()
