"""The forge's database and repositories: ids only grow, old events go, garbage is collected."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.local_forge import gc
from fyre.local_forge.database import ForgeDatabase
from fyre.local_forge.forge import LocalForge
from fyre.local_forge.storage import ref_updates
from tests.support.local_forge import NAME


def test_ids_grow_across_restarts(tmp_path: Path) -> None:
    seen: list[int] = []
    for count in (1500, 3):
        opened = ForgeDatabase(tmp_path / "db")
        seen += [opened.next_id() for _ in range(count)]
        opened.close()
    assert seen == sorted(set(seen))
    assert seen[-1] < 2**53


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    opened = ForgeDatabase(tmp_path / "db")
    with pytest.raises(sqlite3.IntegrityError), opened.transaction() as db:
        db.executemany("insert into positions (repo, ref) values (1, ?)", [("x",), ("x",)])
    assert opened.fetch_rows("select * from positions") == []
    opened.close()


def test_told_events_are_forgotten_and_untold_ones_never(
    tmp_path: Path, repo: Path, git: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ref_updates, "EVENTS_KEPT", 3)
    forge = LocalForge(tmp_path / "forge")
    bare = forge.repositories.get_or_create(NAME)
    for number in range(5):
        git("push", "-q", str(bare.git_dir), f"main:b{number}", cwd=repo)
        ref_updates.collect_ref_updates(bare, forge.database, "ada")
    assert len(forge.database.fetch_rows("select * from events")) == 5
    with forge.database.transaction() as db:
        db.execute("update events set delivered = 1")
    git("push", "-q", str(bare.git_dir), "main:last", cwd=repo)
    ref_updates.collect_ref_updates(bare, forge.database, "ada")
    assert len(forge.database.fetch_rows("select * from events")) == 3
    forge.stop()


def test_garbage_is_collected_when_it_is_idle(
    tmp_path: Path, repo: Path, git: Callable[..., str]
) -> None:
    forge = LocalForge(tmp_path / "forge")
    bare = forge.repositories.get_or_create(NAME)
    git("push", "-q", str(bare.git_dir), "main", cwd=repo)
    sha = git("rev-parse", "main", cwd=repo)
    for number in range(5):
        forge.statuses.add_commit_note(
            bare.git_dir, sha, {"id": number, "state": "pending"}, lambda _: None
        )
    assert not gc.needs_gc(bare.git_dir, time.time())
    crowd = bare.git_dir / "objects/17"
    crowd.mkdir(exist_ok=True)
    for number in range(30):
        (crowd / f"{number:038x}").touch()
    assert not gc.needs_gc(bare.git_dir, time.time())  # a status was written just now
    assert gc.needs_gc(bare.git_dir, time.time() + gc.IDLE_SECONDS + 1)
    for path in crowd.glob("0000*"):
        path.unlink()
    gc.run_gc(bare.git_dir, threading.Event())
    assert list((bare.git_dir / "objects/pack").glob("*.pack"))
    assert [one["id"] for one in forge.statuses.read_commit_notes(bare.git_dir, sha)] == list(
        range(5)
    )
    forge.statuses.add_commit_note(bare.git_dir, sha, {"id": 5, "state": "pending"}, lambda _: None)
    assert len(forge.statuses.read_commit_notes(bare.git_dir, sha)) == 6
    reflog = subprocess.run(
        ["git", "reflog", "show", "main"], cwd=bare.git_dir, capture_output=True, check=True
    )
    assert reflog.stdout.count(b"\n") == 1
    forge.stop()
