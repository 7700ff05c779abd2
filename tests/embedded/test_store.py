"""The forge's memory: ids that only grow, old events that are forgotten, garbage that is collected."""

from __future__ import annotations

import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fyre.local_forge import gc
from fyre.local_forge.database import Store
from fyre.local_forge.forge import Forge
from fyre.local_forge.storage import ref_updates

from .conftest import NAME


def test_ids_grow_across_restarts(tmp_path: Path) -> None:
    seen: list[int] = []
    for count in (1500, 3):
        opened = Store(tmp_path / "db")
        seen += [opened.next_id() for _ in range(count)]
        opened.close()
    assert seen == sorted(set(seen))
    assert seen[-1] < 2**53


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    opened = Store(tmp_path / "db")
    with pytest.raises(sqlite3.IntegrityError), opened.transaction() as db:
        db.executemany("insert into positions (repo, ref) values (1, ?)", [("x",), ("x",)])
    assert opened.ask("select * from positions") == []
    opened.close()


def test_told_events_are_forgotten_and_untold_ones_never(
    tmp_path: Path, repo: Path, git: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ref_updates, "EVENTS_KEPT", 3)
    forge = Forge(tmp_path / "forge")
    bare = forge.shelf.ensure(NAME)
    for number in range(5):
        git("push", "-q", str(bare.git_dir), f"main:b{number}", cwd=repo)
        ref_updates.collect(bare, forge.store, "ada")
    assert len(forge.store.ask("select * from events")) == 5
    with forge.store.transaction() as db:
        db.execute("update events set delivered = 1")
    git("push", "-q", str(bare.git_dir), "main:last", cwd=repo)
    ref_updates.collect(bare, forge.store, "ada")
    assert len(forge.store.ask("select * from events")) == 3
    forge.stop()


def test_garbage_is_collected_when_it_is_idle(
    tmp_path: Path, repo: Path, git: Callable[..., str]
) -> None:
    forge = Forge(tmp_path / "forge")
    bare = forge.shelf.ensure(NAME)
    git("push", "-q", str(bare.git_dir), "main", cwd=repo)
    sha = git("rev-parse", "main", cwd=repo)
    for number in range(5):
        forge.statuses.append(bare.git_dir, sha, {"id": number, "state": "pending"}, lambda _: None)
    assert not gc.due(bare.git_dir, time.time())
    crowd = bare.git_dir / "objects/17"
    crowd.mkdir(exist_ok=True)
    for number in range(30):
        (crowd / f"{number:038x}").touch()
    assert not gc.due(bare.git_dir, time.time())  # a status was written just now
    assert gc.due(bare.git_dir, time.time() + gc.IDLE + 1)
    for path in crowd.glob("0000*"):
        path.unlink()
    gc.pack(bare.git_dir, threading.Event())
    assert list((bare.git_dir / "objects/pack").glob("*.pack"))
    assert [one["id"] for one in forge.statuses.read(bare.git_dir, sha)] == list(range(5))
    forge.statuses.append(bare.git_dir, sha, {"id": 5, "state": "pending"}, lambda _: None)
    assert len(forge.statuses.read(bare.git_dir, sha)) == 6
    reflog = subprocess.run(
        ["git", "reflog", "show", "main"], cwd=bare.git_dir, capture_output=True, check=True
    )
    assert reflog.stdout.count(b"\n") == 1
    forge.stop()
