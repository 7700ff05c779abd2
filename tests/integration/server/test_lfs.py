"""Git LFS through the relay: an object comes from the forge once, and only with a token."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from fyre.errors import TransientError
from fyre.git import lfs
from fyre.git.lfs import LfsObjectStore
from fyre.git.mirror_store import MirrorStore
from fyre.github.errors import NotFoundError
from fyre.runs.run import Repository
from tests.support.relaying import Forge, Relayed, relaying, serve

DATA = b"weights" * 10_000
OID = hashlib.sha256(DATA).hexdigest()
ABSENT = hashlib.sha256(b"absent").hexdigest()
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"
SCRIPT = Path(__file__).parents[3] / "fyre/engines/kubernetes/checkout.sh"

Git = Callable[..., str]


@pytest.fixture
def sha(repo: Path, git: Git) -> str:
    """A commit with a pointer to the object."""
    (repo / ".gitattributes").write_text("*.bin filter=lfs diff=lfs merge=lfs -text\n")
    (repo / "weights.bin").write_text(POINTER.format(OID, len(DATA)))
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Weights", cwd=repo)
    return git("rev-parse", "HEAD", cwd=repo)


@pytest.fixture
def forge(sha: str, repo: Path, tmp_path: Path, git: Git) -> Forge:
    git("clone", "-q", "--bare", str(repo), str(tmp_path / "forge/engine.git"), cwd=tmp_path)
    (tmp_path / "forge/lfs").mkdir()
    (tmp_path / "forge/lfs" / OID).write_bytes(DATA)
    return Forge(tmp_path / "forge")


@pytest.fixture
def relay(forge: Forge, sha: str, tmp_path: Path) -> Iterator[Relayed]:
    with serve(forge.app()) as address:
        clones = MirrorStore(
            tmp_path / "mirrors", lambda _: f"{address}/engine.git", lambda _: "forge-token"
        )
        clones.ensure_commit(Repository("http://forge", 7, "ada/engine"), sha)
        lfs = LfsObjectStore(clones.find_remote)
        with relaying(tmp_path / "mirrors", lfs=lfs) as relayed:
            yield relayed
        lfs.close()


def batch(relay: Relayed, *oids: str, operation: str = "download") -> requests.Response:
    body = {"operation": operation, "objects": [{"oid": oid, "size": len(DATA)} for oid in oids]}
    address = f"{relay.repository()}/info/lfs/objects/batch"
    return requests.post(address, json=body, auth=("fyre", relay.key()), timeout=20)


def test_an_object_comes_from_the_forge_once_however_many_ask(relay: Relayed, forge: Forge) -> None:
    def get(_: int) -> bytes:
        link = batch(relay, OID).json()["objects"][0]["actions"]["download"]
        return requests.get(link["href"], headers=link["header"], timeout=20).content

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(get, range(20))) == {DATA}
    assert [path for path in forge.asked if "lfs" in path] == [
        "/engine.git/info/lfs/objects/batch",
        f"/lfs/{OID}",
    ]


def test_what_the_forge_does_not_have_is_said_in_its_words(relay: Relayed) -> None:
    found, absent = batch(relay, OID, ABSENT).json()["objects"]
    assert "actions" in found
    assert absent["error"] == {"code": 404, "message": "Object does not exist"}
    address = f"{relay.repository()}/info/lfs/objects/{ABSENT}?size=6"
    assert requests.get(address, auth=("fyre", relay.key()), timeout=20).status_code == 404


def test_only_with_a_key_only_downloads_and_only_objects(relay: Relayed, forge: Forge) -> None:
    address = f"{relay.repository()}/info/lfs/objects/"
    assert requests.get(address + OID, timeout=20).status_code == 401
    assert requests.get(address + OID, auth=("fyre", relay.key(8)), timeout=20).status_code == 404
    assert batch(relay, OID, operation="upload").status_code == 422
    for name in (
        "x?size=1",
        "..%2f..%2fHEAD?size=1",
        OID,
        f"{OID}?size=-1",
        f"{OID}?size=" + "9" * 5000,
    ):
        assert (
            requests.get(address + name, auth=("fyre", relay.key()), timeout=20).status_code == 422
        )
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"operation":"download","objects":[{}]}',
        b"\xff",
        b"[" * 50_000,
    ):
        answer = requests.post(address + "batch", data=body, auth=("fyre", relay.key()), timeout=20)
        assert answer.status_code == 422
    assert (
        requests.put(address + OID, data=b"x", auth=("fyre", relay.key()), timeout=20).status_code
        == 404
    )
    assert not any("lfs" in path for path in forge.asked)


def test_a_wrong_or_broken_answer_of_the_forge_is_not_kept(relay: Relayed, forge: Forge) -> None:
    address, auth = f"{relay.repository()}/info/lfs/objects/{OID}?size=1", ("fyre", relay.key())
    (forge.root / "lfs" / OID).write_bytes(b"something else")
    assert requests.get(address, auth=auth, timeout=20).status_code == 502
    (forge.root / "lfs" / OID).write_bytes(DATA)
    forge.broken = 1
    assert requests.get(address, auth=auth, timeout=20).status_code == 502
    forge.token = "changed"
    assert requests.get(address, auth=auth, timeout=20).status_code == 502
    forge.token = "forge-token"
    assert requests.get(address, auth=auth, timeout=20).content == DATA
    assert [path.name for path in (relay.root / "7.git/lfs").rglob("*") if path.is_file()] == [OID]


@pytest.mark.parametrize("damaged", [DATA[:-1], DATA[:-1] + b"!", b""])
def test_9_33_a_damaged_object_of_the_mirror_is_fetched_again(
    relay: Relayed, forge: Forge, damaged: bytes
) -> None:
    address = f"{relay.repository()}/info/lfs/objects/{OID}?size={len(DATA)}"
    auth = ("fyre", relay.key())
    path = lfs.object_path(relay.root / "7.git", lfs.LfsObject(OID, len(DATA)))
    path.parent.mkdir(parents=True)
    path.write_bytes(damaged)  # as a crash of the machine may leave it
    assert "actions" in batch(relay, OID).json()["objects"][0]
    for _ in range(2):
        assert requests.get(address, auth=auth, timeout=20).content == DATA
    assert path.read_bytes() == DATA
    assert forge.asked.count(f"/lfs/{OID}") == 1
    assert [one.name for one in (relay.root / "7.git/lfs").rglob("*") if one.is_file()] == [OID]


async def _redirect(request: Request) -> Response:
    """Send to another port, which is another host as far as credentials go."""
    seen.append(request.headers.get("authorization", ""))
    return RedirectResponse(request.query_params["to"], 302)


seen: list[str] = []


@pytest.mark.parametrize("netrc", ["", "machine 127.0.0.1 login ada password hunter2\n"])
def test_a_credential_stays_with_its_host_and_no_other_takes_its_place(
    netrc: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text(netrc)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    seen.clear()

    async def end(request: Request) -> Response:
        seen.append(request.headers.get("authorization", ""))
        return PlainTextResponse(
            f"{request.headers['accept-encoding']} {request.headers['x-link']}"
        )

    first, last = Starlette(routes=[Route("/", _redirect)]), Starlette(routes=[Route("/", end)])
    with serve(last) as there, serve(first) as here:
        link = {"Authorization": "Basic forge", "X-Link": "good"}
        with lfs._http_open(f"{here}/?to={there}/", link) as answer:
            assert answer.read() == b"identity good"
        with lfs._http_open(f"{there}/", link) as answer:
            assert answer.read() == b"identity good"
    assert seen == ["Basic forge", "", "Basic forge"]


def test_a_link_that_can_not_be_reached_is_not_shown() -> None:
    with pytest.raises(TransientError) as caught:
        lfs._http_open("http://127.0.0.1:9/object?signature=secret", {})
    assert "secret" not in str(caught.value)
    with pytest.raises(NotFoundError, match="neither http nor https"):
        lfs._http_open("file:///etc/passwd", {})


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
def test_the_checkout_script_brings_the_files(relay: Relayed, sha: str, tmp_path: Path) -> None:
    assert checkout(relay, sha, tmp_path / "pod", FYRE_LFS="1") == 0
    assert (tmp_path / "pod/top/weights.bin").read_bytes() == DATA
    left = b"".join(path.read_bytes() for path in (tmp_path / "pod").rglob("*") if path.is_file())
    assert relay.key().encode() not in left
    assert relay.url.encode() not in left
    assert checkout(relay, sha, tmp_path / "plain") == 0
    assert (tmp_path / "plain/top/weights.bin").read_text() == POINTER.format(OID, len(DATA))


@pytest.mark.skipif(not shutil.which("git-lfs"), reason="needs git-lfs")
def test_the_checkout_script_tells_what_passes_from_what_does_not(
    relay: Relayed, forge: Forge, sha: str, tmp_path: Path
) -> None:
    (forge.root / "lfs" / OID).unlink()
    assert checkout(relay, sha, tmp_path / "absent", FYRE_LFS="1") == 90
    assert "Git LFS: weights.bin: " in (tmp_path / "absent/message").read_text()
    assert "does not exist" in (tmp_path / "absent/message").read_text()
    forge.broken = 1000
    assert checkout(relay, sha, tmp_path / "broken", FYRE_LFS="1", FYRE_WAIT="1") == 91
    assert "the forge's LFS answered 503" in (tmp_path / "broken/message").read_text()


def checkout(relay: Relayed, sha: str, pod: Path, **more: str) -> int:
    (pod / "top").mkdir(parents=True)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(pod),
        "FYRE_TOP": str(pod / "top"),
        "FYRE_SHA": sha,
        **more,
    }
    env |= {
        "FYRE_URL": relay.repository(),
        "FYRE_KEY": relay.key(),
        "FYRE_MESSAGE": str(pod / "message"),
    }
    return subprocess.run(["sh", str(SCRIPT)], env=env, check=False).returncode
