"""A forge on a disk that is full: it says so, on both sides, and goes on when there is room."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from fyre.local_forge import machine_trouble
from fyre.local_forge.database import is_machine_trouble
from fyre.local_forge.forge import LocalForge
from tests.conftest import git
from tests.support.ci_marks import long_case
from tests.support.local_forge import NAME, Receiver, Served, served
from tests.support.waiting import until

Git = Callable[..., str]
FULL = machine_trouble.DISK_FULL


@dataclass
class SmallDisk:
    """A disk of a few megabytes."""

    path: Path

    def fill(self) -> None:
        with (self.path / "filler").open("wb", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(4096))

    def make_room(self) -> None:
        (self.path / "filler").unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    path = tmp_path / "disk"
    path.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(path)]
    try:
        mounted = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small disk, where mount is allowed at all")
    yield SmallDisk(path)
    subprocess.run(["umount", "--lazy", path], check=True)


def commit(git: Git, repo: Path) -> str:
    git("commit", "-q", "--allow-empty", "-m", "More", cwd=repo)
    return git("rev-parse", "HEAD", cwd=repo)


def push(repo: Path) -> subprocess.CompletedProcess[str]:
    words = ["git", "push", "-q", "origin", "main"]
    return subprocess.run(words, cwd=repo, capture_output=True, text=True, check=False)


@long_case
def test_9_40_a_push_to_a_full_disk_is_told_why_and_is_taken_when_there_is_room(
    disk: SmallDisk, repo: Path, git: Git
) -> None:
    with served(disk.path / "forge") as forge:
        git("remote", "add", "origin", forge.git(), cwd=repo)
        assert push(repo).returncode == 0
        sha = commit(git, repo)
        statuses = f"/repos/{NAME}/commits/main/statuses"
        disk.fill()
        refused = push(repo)
        assert refused.returncode != 0
        assert f"remote: {FULL}" in refused.stderr
        assert "507" in refused.stderr
        answer = forge.get(statuses)
        assert (answer.status_code, answer.json()["message"]) == (507, FULL)
        assert git("ls-remote", forge.git(), "main", cwd=repo)  # who only reads is not refused
        disk.make_room()
        assert push(repo).returncode == 0
        assert forge.get(statuses).json() == []
        assert git("ls-remote", forge.git(), "main", cwd=repo).split()[0] == sha


def test_9_40_a_full_disk_is_one_line_in_the_servers_log_and_nothing_is_lost(
    disk: SmallDisk, receiver: Receiver, repo: Path, git: Git, caplog: pytest.LogCaptureFixture
) -> None:
    root = disk.path / "forge"
    with served(root) as forge:  # which delivers nothing yet
        git("remote", "add", "origin", forge.git(), cwd=repo)
        assert push(repo).returncode == 0
    with served(root) as forge:
        disk.fill()
        forge.forge.start(receiver.url)
        await_failures(forge, 4)
        assert receiver.taken == []
        (line,) = (text for text in caplog.messages if FULL in text)
        assert str(root) in line
        assert not [record for record in caplog.records if record.exc_info]
        disk.make_room()
        forge.forge.outbox.schedule_repo(NAME)
        (delivery,) = receiver.wait(1)
        assert delivery.data["after"] == git("rev-parse", "HEAD", cwd=repo)
        until(lambda: [text for text in caplog.messages if text.startswith("this is over: ")])


def test_9_40_an_lfs_object_on_a_full_disk_is_told_why_and_is_taken_when_there_is_room(
    disk: SmallDisk, caplog: pytest.LogCaptureFixture
) -> None:
    content = bytes(2 << 20)
    wanted = [{"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}]
    wanted.append({"oid": "0" * 64, "size": len(content)})  # both together have no room
    with served(disk.path / "forge") as forge:
        batch = f"{forge.git()}/info/lfs/objects/batch"
        request = {"operation": "upload", "objects": wanted}
        first, second = requests.post(batch, json=request, timeout=20).json()["objects"]
        assert second["error"] == {"code": 507, "message": FULL}
        address = first["actions"]["upload"]["href"]
        unfinished = forge.forge.repository_git_dir(NAME) / "lfs/tmp"

        def fill_meanwhile() -> Iterator[bytes]:
            yield content[:-1]
            until(lambda: unfinished.exists() and list(unfinished.iterdir()))
            disk.fill()
            yield content[-1:]

        for body in (fill_meanwhile(), content):
            refused = requests.put(address, data=body, timeout=20)
            assert (refused.status_code, refused.json()) == (507, {"message": FULL})
            assert not list(unfinished.iterdir())
            disk.fill()
        refused = requests.post(batch.replace(NAME, "ada/new"), json=request, timeout=20)
        assert (refused.status_code, refused.json()) == (507, {"message": FULL})
        assert len([text for text in caplog.messages if FULL in text]) == 1
        assert not [record for record in caplog.records if record.exc_info]
        disk.make_room()
        assert requests.put(address, data=content, timeout=20).status_code == 200


def await_failures(forge: Served, count: int) -> None:
    """Wait until the forge has tried to deliver so often: each pause is longer than the last."""
    pauses = set()

    def has_enough() -> bool:
        pauses.add(forge.forge.outbox._pauses.get(NAME))
        return len(pauses - {None}) >= count

    until(has_enough)


def test_9_40_a_transaction_that_finds_no_room_is_the_machines_and_harms_none_after_it(
    disk: SmallDisk,
) -> None:
    forge = LocalForge(disk.path / "forge")
    disk.fill()
    with pytest.raises(sqlite3.OperationalError) as caught, forge.database.transaction() as db:
        db.execute("insert into positions (repo, ref, line) values (1, 'a', zeroblob(100000))")
    assert is_machine_trouble(caught.value)
    disk.make_room()
    with forge.database.transaction() as db:
        db.execute("insert into positions (repo, ref) values (1, 'b')")
    assert [row["ref"] for row in forge.database.fetch_rows("select ref from positions")] == ["b"]
    with pytest.raises(sqlite3.OperationalError) as caught, forge.database.transaction() as db:
        db.execute("select * from a_table_that_is_not_there")
    assert not is_machine_trouble(caught.value)
    forge.stop()


def test_9_40_trouble_of_the_machine_is_over_when_nothing_has_it_any_more(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trouble = machine_trouble.TroubleLog(tmp_path)
    lacking = OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/a/file")
    for _ in range(2):
        assert trouble.report(lacking, "ada/a")
        assert trouble.report(lacking)
        trouble.report_success("ada/b")
    (line,) = caplog.messages
    assert line.startswith("Too many open files; ")
    trouble.report_success("ada/a")
    assert caplog.messages[1:] == ["this is over: Too many open files"]


@pytest.mark.usefixtures("pushed")
def test_9_40_a_broken_repository_is_named_and_is_no_trouble_of_the_machine(
    forge: Served, receiver: Receiver, caplog: pytest.LogCaptureFixture, repo: Path
) -> None:
    receiver.wait(1)
    reflogs = break_reflogs(forge.forge.repository_git_dir(NAME))
    forge.forge.outbox.schedule_repo(NAME)
    until(lambda: [text for text in caplog.messages if text.startswith(f"webhooks of {NAME}: ")])
    git("push", "-q", forge.git("ada/other"), "main", cwd=repo)
    receiver.wait(2)
    assert str(reflogs) in caplog.text
    new = forge.forge.repositories.get_or_create("ada/new")
    break_reflogs(new.git_dir)
    git("ls-remote", forge.git(new.name), cwd=repo)
    assert [text for text in caplog.messages if text.startswith("a look at ada/new: ")]
    assert not [record for record in caplog.records if record.exc_info]
    assert not [text for text in caplog.messages if "over" in text or "passed" in text]


def break_reflogs(git_dir: Path) -> Path:
    reflogs = git_dir / "logs/refs"
    shutil.rmtree(reflogs, ignore_errors=True)
    reflogs.parent.mkdir(exist_ok=True)
    reflogs.symlink_to("refs")  # a loop
    return reflogs
