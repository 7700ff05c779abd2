"""Git LFS on the local forge: the protocol, git-lfs itself, and a run that sees the content."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from fyre.engines.local import checkout, run_dir
from fyre.engines.local.code_parts import CodeParts
from fyre.engines.segmented_log import SegmentedLogWriter
from fyre.git import lfs
from tests.contract.engine import make_run
from tests.support.local_forge import NAME, Served

Git = Callable[..., str]
CONTENT = b"not text\0" * 300_000
OID = hashlib.sha256(CONTENT).hexdigest()
WANTED = {"oid": OID, "size": len(CONTENT)}


def batch(forge: Served, operation: str, *objects: dict[str, object]) -> requests.Response:
    body = {"operation": operation, "transfers": ["basic"], "objects": objects}
    return requests.post(f"{forge.git()}/info/lfs/objects/batch", json=body, timeout=20)


def test_9_33_the_forge_takes_and_gives_lfs_objects(forge: Served) -> None:
    answer = batch(forge, "upload", WANTED)
    assert answer.headers["content-type"] == "application/vnd.git-lfs+json"
    (entry,) = answer.json()["objects"]
    address = entry["actions"]["upload"]["href"]
    for wrong in (CONTENT[:-1], CONTENT + b"!", CONTENT[:-1] + b"!"):
        refused = requests.put(address, data=wrong, timeout=20)
        assert (refused.status_code, list(refused.json())) == (422, ["message"])
    (entry,) = batch(forge, "download", WANTED).json()["objects"]
    assert entry["error"]["code"] == 404

    assert requests.put(address, data=iter([CONTENT]), timeout=20).status_code == 200
    git_dir = forge.forge.repository_git_dir(NAME)
    stored = lfs.object_path(git_dir, lfs.LfsObject(OID, len(CONTENT)))
    assert stored.read_bytes() == CONTENT
    assert stored.stat().st_mode & 0o777 == 0o600
    assert not list((git_dir / "lfs/tmp").iterdir())
    assert "actions" not in batch(forge, "upload", WANTED).json()["objects"][0]
    (entry,) = batch(forge, "download", WANTED).json()["objects"]
    assert requests.get(entry["actions"]["download"]["href"], timeout=20).content == CONTENT
    stored.write_bytes(b"cut off")  # as a crash of the machine may leave it
    (entry,) = batch(forge, "upload", WANTED).json()["objects"]
    assert requests.put(entry["actions"]["upload"]["href"], data=CONTENT).status_code == 200
    assert stored.read_bytes() == CONTENT
    assert not list((git_dir / "lfs/tmp").iterdir())


def test_9_33_what_the_forge_does_not_take_of_lfs_it_says(forge: Served) -> None:
    (entry,) = batch(forge, "upload", {"oid": OID, "size": 1 << 60}).json()["objects"]
    assert entry["error"] == {
        "code": 422,
        "message": "an object of Git LFS has at most 5 GB here",
    }
    base = f"{forge.git()}/info/lfs"
    bad_name = f"{forge.base}/a/..b.git/info/lfs/objects/batch"
    for address, body, code in (
        (f"{base}/objects/batch", b"[" * 100_000, 422),
        (f"{base}/objects/batch", b'{"operation": "upload"}', 422),
        (f"{base}/objects/batch", b" " * (1 << 21), 413),
        (f"{base}/locks/verify", b"{}", 501),
        (f"{base}/nothing", b"", 404),
        (bad_name, b'{"operation":"upload","objects":[]}', 404),
    ):
        answer = requests.post(address, data=body, timeout=20)
        assert (answer.status_code, list(answer.json())) == (code, ["message"])
    for name in (f"{OID}?size=9", f"{OID}", "../config?size=1", f"{OID.upper()}?size=1"):
        assert requests.get(f"{base}/objects/{name}", timeout=20).status_code in (404, 422)


def test_9_33_a_batch_that_is_cut_off_is_no_trouble_of_the_forge(
    forge: Served, caplog: pytest.LogCaptureFixture
) -> None:
    host, port = forge.base.removeprefix("http://").split(":")
    address = f"/{NAME}.git/info/lfs/objects/batch"
    head = f"POST {address} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\n{{"
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert batch(forge, "upload").status_code == 200  # and so the other one has ended
    assert not [record for record in caplog.records if record.exc_info]


def test_9_33_a_folder_in_the_place_of_an_lfs_object_is_one_line_in_the_log(
    forge: Served, caplog: pytest.LogCaptureFixture
) -> None:
    (entry,) = batch(forge, "upload", WANTED).json()["objects"]
    git_dir = forge.forge.repository_git_dir(NAME)
    lfs.object_path(git_dir, lfs.LfsObject(OID, len(CONTENT))).mkdir(parents=True)
    answer = requests.put(entry["actions"]["upload"]["href"], data=CONTENT, timeout=20)
    assert (answer.status_code, answer.json()) == (500, {"message": "Server Error"})
    (line,) = caplog.messages
    assert (OID in line, caplog.records[0].exc_info) == (True, None)


def test_9_33_a_batch_makes_no_repository(forge: Served) -> None:
    git_dir = forge.forge.repository_git_dir(NAME)
    for objects in ([], [WANTED], [{"oid": OID, "size": 1 << 60}]):
        assert batch(forge, "upload", *objects).status_code == 200
        assert not git_dir.exists()
    assert batch(forge, "download", WANTED).status_code == 404
    (entry,) = batch(forge, "upload", WANTED).json()["objects"]
    assert requests.put(entry["actions"]["upload"]["href"], data=CONTENT).status_code == 200
    assert batch(forge, "download", WANTED).json()["objects"][0]["actions"]


def test_9_33_what_stands_in_the_way_of_one_object_is_no_trouble_of_the_others(
    forge: Served,
) -> None:
    (entry,) = batch(forge, "upload", WANTED).json()["objects"]
    assert requests.put(entry["actions"]["upload"]["href"], data=CONTENT).status_code == 200
    folder = forge.forge.repository_git_dir(NAME) / "lfs/objects"
    (folder / "cc").write_bytes(b"in the place of a folder")
    (folder / "dd").symlink_to("dd")
    (folder / "ee/ee" / ("e" * 64)).mkdir(parents=True)
    lost = [{"oid": digit * 64, "size": 4096} for digit in "cde"]
    found, *others = batch(forge, "download", WANTED, *lost).json()["objects"]
    assert found["actions"]
    assert [entry["error"]["code"] for entry in others] == [404, 500, 404]
    address = f"{forge.git()}/info/lfs/objects/{'e' * 64}?size=4096"
    assert requests.get(address).status_code == 404


@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_9_33_what_git_lfs_pushes_a_run_sees(
    forge: Served, repo: Path, tmp_path: Path, git: Git
) -> None:
    git("lfs", "install", "--local", cwd=repo)
    git("lfs", "track", "*.bin", cwd=repo)
    (repo / "a.bin").write_bytes(CONTENT)
    git("add", ".", cwd=repo)
    git("commit", "-q", "-m", "Large", cwd=repo)
    git("push", "-q", forge.git(), "HEAD:main", cwd=repo)
    git("clone", "-q", forge.git(), str(tmp_path / "clone"), cwd=tmp_path)
    assert git("lfs", "fsck", "--pointers", cwd=repo)
    run = make_run(git("rev-parse", "HEAD", cwd=repo), "true")
    work = tmp_path / "work"
    job = run_dir.build_supervisor_job(run, forge.forge.repository_git_dir(NAME), work)
    log = SegmentedLogWriter(os.fspath(tmp_path / "log"), 1024)
    checkout.create_checkout(job, str(work), log, None)
    log.close()
    assert CodeParts(job, None).add_to(str(work)) == []
    assert (work / "a.bin").read_bytes() == CONTENT
    assert git("status", "--porcelain", cwd=work) == ""
