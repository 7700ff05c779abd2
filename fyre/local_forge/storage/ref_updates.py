"""What was pushed, read from the reflogs: git itself writes an entry with each update of a ref, in the same breath.

So the reflogs are the outbox: a server killed right after git moved a ref finds the entry at its next start. A
deletion takes its reflog along, and is noticed as a ref that is known and no longer there.
"""

from __future__ import annotations

import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fyre.local_forge.database import EVENTS_KEPT, ForgeDatabase
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.runs.run import ZERO_SHA

_REFLOG_LINE = re.compile(
    rb"([0-9a-f]{40}) ([0-9a-f]{40}) (.*?) ?<[^>]*> (\d+) [+-]\d{4}(?:\t.*)?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class ReflogUpdate:
    """One update of one ref. ``at`` is in seconds since the epoch; ``index`` tells equal updates apart."""

    ref: str
    before: str
    after: str
    actor: str
    timestamp: float
    reflog_offset: int


@dataclass(frozen=True, slots=True)
class _RefCursor:
    ref: str
    stamp: str = ""
    offset: int = 0
    line: bytes = b""
    sha: str = ""


def collect_ref_updates(repo: BareRepository, database: ForgeDatabase, deleter: str) -> int:
    """Turn what the reflogs say since the last time into events; answer how many. ``deleter`` deleted what is gone."""
    with database.transaction() as db:
        rows = db.execute(
            "select ref, stamp, offset, line, sha from positions where repo = ?", (repo.id,)
        )
        known = {row["ref"]: _RefCursor(**row) for row in rows}
        found = dict(_list_reflogs(repo.git_dir))
        updates: list[ReflogUpdate] = []
        for ref, stamp in found.items():
            old = known.get(ref, _RefCursor(ref))
            if old.stamp != stamp:
                updates += _read_reflog(db, repo, old, stamp, deleter)
        for ref in known.keys() - found.keys():
            updates += _detect_deleted(db, repo, known[ref], deleter)
        first = f"refs/heads/{repo.default_branch}"
        updates.sort(
            key=lambda one: (one.timestamp, one.ref != first)
        )  # stable: of one ref they stay in order
        for update in updates:
            _insert_event(db, repo, update)
        if updates:
            _prune_events(db, repo)
        return len(updates)


def _list_reflogs(git_dir: Path) -> Iterator[tuple[str, str]]:
    """Each branch and tag with its reflog's stamp."""
    waiting = ["refs/heads", "refs/tags"]
    while waiting:
        directory = waiting.pop()
        try:
            entries = list(os.scandir(git_dir / "logs" / directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            name = f"{directory}/{entry.name}"
            if not _is_json_safe(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
                continue
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield name, f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def _is_json_safe(name: str) -> bool:
    """Whether JSON can hold it: git takes any bytes as a branch's name, and one such branch must not stop the rest."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_reflog(
    db: sqlite3.Connection, repo: BareRepository, cursor: _RefCursor, stamp: str, deleter: str
) -> list[ReflogUpdate]:
    """The updates of one ref since it was last read, and the new position."""
    start, again = cursor.offset, False
    updates: list[ReflogUpdate] = []
    try:
        content = _read_from_offset(repo.git_dir / "logs" / cursor.ref, start - len(cursor.line))
        if content.startswith(cursor.line):
            content = content[len(cursor.line) :]
        else:  # deleted and born again meanwhile
            content = _read_from_offset(repo.git_dir / "logs" / cursor.ref, 0)
            start, again = 0, True
    except OSError:  # deleted between the look and the read: the next look sees that
        return []
    end = content.rfind(b"\n") + 1
    at, sha, last = 0.0, cursor.sha, cursor.line
    for line in content[:end].splitlines(keepends=True):
        parsed = _REFLOG_LINE.fullmatch(line.rstrip(b"\n"))
        if parsed is not None and parsed[1] != parsed[2]:
            at = max(
                at, float(parsed[4])
            )  # a clock set back does not reorder what a ref went through
            actor = parsed[3].decode(errors="replace") or deleter
            updates.append(
                ReflogUpdate(cursor.ref, parsed[1].decode(), parsed[2].decode(), actor, at, start)
            )
            sha = parsed[2].decode()
        start, last = start + len(line), line
    _save_cursor(db, repo, _RefCursor(cursor.ref, stamp, start, last, sha))
    return (
        _deletion_update(cursor, deleter, updates[0].timestamp) if again and updates else []
    ) + updates


def _read_from_offset(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _detect_deleted(
    db: sqlite3.Connection, repo: BareRepository, cursor: _RefCursor, deleter: str
) -> list[ReflogUpdate]:
    if cursor.sha not in ("", ZERO_SHA):
        _save_cursor(db, repo, _RefCursor(cursor.ref, sha=ZERO_SHA))
    return _deletion_update(
        cursor, deleter, int(time.time())
    )  # whole seconds, as in reflogs: the order is theirs


def _deletion_update(cursor: _RefCursor, deleter: str, timestamp: float) -> list[ReflogUpdate]:
    if cursor.sha in ("", ZERO_SHA):
        return []
    return [ReflogUpdate(cursor.ref, cursor.sha, ZERO_SHA, deleter, timestamp, cursor.offset)]


def _save_cursor(db: sqlite3.Connection, repo: BareRepository, cursor: _RefCursor) -> None:
    db.execute(
        "insert into positions (repo, ref, stamp, offset, line, sha) values (?, ?, ?, ?, ?, ?)"
        " on conflict do update set stamp = excluded.stamp, offset = excluded.offset, line = excluded.line,"
        " sha = excluded.sha",
        (repo.id, cursor.ref, cursor.stamp, cursor.offset, cursor.line, cursor.sha),
    )


def _insert_event(db: sqlite3.Connection, repo: BareRepository, update: ReflogUpdate) -> None:
    identity = f"{repo.id} {update.ref} {update.before} {update.after} {update.reflog_offset} {int(update.timestamp)}"
    db.execute(
        "insert into events (repo, guid, event, ref, before, after, actor, at) values (?, ?, 'push', ?, ?, ?, ?, ?)",
        (
            repo.id,
            str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
            update.ref,
            update.before,
            update.after,
            update.actor,
            update.timestamp,
        ),
    )


def _prune_events(db: sqlite3.Connection, repo: BareRepository) -> None:
    """Forget the oldest events that everybody has heard of."""
    db.execute(
        "delete from events where repo = ?1 and delivered and seq <="
        " (select seq from events where repo = ?1 order by seq desc limit 1 offset ?2)",
        (repo.id, EVENTS_KEPT),
    )
