"""Read what was pushed from the reflogs: git writes an entry together with each update of a ref.

So the reflogs serve as the outbox: a server that was killed right after git moved a ref finds the
entry at its next start. The deletion of a ref deletes its reflog too, so it is detected as a ref
that is known and no longer exists.
"""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fyre.local_forge.database import EVENTS_KEPT, ForgeDatabase
from fyre.local_forge.storage.repository_store import BareRepository
from fyre.regular_files import open_regular
from fyre.runs.run import ZERO_SHA

log = logging.getLogger(__name__)

_REFLOG_LINE = re.compile(
    rb"([0-9a-f]{40}) ([0-9a-f]{40}) (.*?) ?<[^>]*> (\d+) [+-]\d{4}(?:\t.*)?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class ReflogUpdate:
    """One update of one ref.

    ``timestamp`` is in seconds since the epoch; ``reflog_offset`` tells equal updates apart.
    """

    ref: str
    before: str
    after: str
    actor: str
    timestamp: float
    reflog_offset: int


@dataclass(frozen=True, slots=True)
class _RefCursor:
    """Position up to which a ref's reflog is read; its fields are columns of ``positions``."""

    ref: str
    stamp: str = ""
    offset: int = 0
    line: bytes = b""
    sha: str = ""


def collect_ref_updates(repo: BareRepository, database: ForgeDatabase, deleter: str) -> int:
    """Turn new reflog entries into push events and return how many.

    ``deleter`` is recorded as the actor of deletions, which leave no entry.
    """
    with database.transaction() as db:
        rows = db.execute(
            "select ref, stamp, offset, line, sha from positions where repo = ?", (repo.id,)
        )
        cursors = {row["ref"]: _RefCursor(**row) for row in rows}
        stamps = dict(_list_reflogs(repo))
        updates: list[ReflogUpdate] = []
        for ref, stamp in stamps.items():
            cursor = cursors.get(ref, _RefCursor(ref))
            if cursor.stamp != stamp:
                updates += _read_reflog(db, repo, cursor, stamp, deleter)
        for ref in cursors.keys() - stamps.keys():
            updates += _detect_deleted(db, repo, cursors[ref], deleter)
        default_ref = f"refs/heads/{repo.default_branch}"
        # The sort is stable: the updates of one ref stay in order.
        updates.sort(key=lambda update: (update.timestamp, update.ref != default_ref))
        for update in updates:
            _insert_event(db, repo, update)
        if updates:
            _prune_events(db, repo)
        return len(updates)


def _list_reflogs(repo: BareRepository) -> Iterator[tuple[str, str]]:
    """Yield each branch and tag with a stamp of its reflog: inode, size and modification time."""
    directories = ["refs/heads", "refs/tags"]
    while directories:
        directory = directories.pop()
        try:
            entries = list(os.scandir(repo.git_dir / "logs" / directory))
        except (FileNotFoundError, NotADirectoryError):
            continue
        for entry in entries:
            name = f"{directory}/{entry.name}"
            if not _is_json_safe(name):
                _warn_of_unreadable_name(repo.name, name)
                continue
            if entry.is_dir(follow_symlinks=False):
                directories.append(name)
                continue
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield name, f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def _is_json_safe(name: str) -> bool:
    """Return True if JSON can hold the name.

    Git accepts any bytes as a branch name, and one such branch must not stop the others.
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


@cache
def _warn_of_unreadable_name(repo_name: str, ref: str) -> None:
    """Say once that nothing runs on a branch, since its webhooks are JSON."""
    shown = str(os.fsencode(ref.split("/", 2)[2]))[2:-1]
    log.warning("%s: nothing runs on %s: the branch's name is not UTF-8", repo_name, shown)


def _read_reflog(
    db: sqlite3.Connection, repo: BareRepository, cursor: _RefCursor, stamp: str, deleter: str
) -> list[ReflogUpdate]:
    """Return the updates of one ref since it was last read, and save the new cursor."""
    path, offset, recreated = repo.git_dir / "logs" / cursor.ref, cursor.offset, False
    updates: list[ReflogUpdate] = []
    try:
        content = _read_from_offset(path, offset - len(cursor.line))
        if content.startswith(cursor.line):
            content = content[len(cursor.line) :]
        else:  # the ref was deleted and created again meanwhile
            content = _read_from_offset(path, 0)
            offset, recreated = 0, True
    except OSError:  # deleted after it was listed: the next call detects that
        return []
    end = content.rfind(b"\n") + 1
    timestamp, sha, last_line = 0.0, cursor.sha, cursor.line
    for line in content[:end].splitlines(keepends=True):
        match = _REFLOG_LINE.fullmatch(line.rstrip(b"\n"))
        if match is not None and match[1] != match[2]:
            # A clock that was set back does not reorder the updates of a ref.
            timestamp = max(timestamp, float(match[4]))
            before, after = match[1].decode(), match[2].decode()
            actor = match[3].decode(errors="replace") or deleter
            updates.append(ReflogUpdate(cursor.ref, before, after, actor, timestamp, offset))
            sha = after
        offset, last_line = offset + len(line), line
    _save_cursor(db, repo, _RefCursor(cursor.ref, stamp, offset, last_line, sha))
    if recreated and updates:
        return [*_deletion_update(cursor, deleter, updates[0].timestamp), *updates]
    return updates


def _read_from_offset(path: Path, offset: int) -> bytes:
    with os.fdopen(open_regular(path), "rb") as file:
        file.seek(offset)
        return file.read()


def _detect_deleted(
    db: sqlite3.Connection, repo: BareRepository, cursor: _RefCursor, deleter: str
) -> list[ReflogUpdate]:
    if cursor.sha not in ("", ZERO_SHA):
        _save_cursor(db, repo, _RefCursor(cursor.ref, sha=ZERO_SHA))
    now = int(time.time())  # whole seconds, as in reflogs, because updates are sorted by it
    return _deletion_update(cursor, deleter, now)


def _deletion_update(cursor: _RefCursor, deleter: str, timestamp: float) -> list[ReflogUpdate]:
    if cursor.sha in ("", ZERO_SHA):
        return []
    return [ReflogUpdate(cursor.ref, cursor.sha, ZERO_SHA, deleter, timestamp, cursor.offset)]


def _save_cursor(db: sqlite3.Connection, repo: BareRepository, cursor: _RefCursor) -> None:
    db.execute(
        "insert into positions (repo, ref, stamp, offset, line, sha) values (?, ?, ?, ?, ?, ?)"
        " on conflict do update set stamp = excluded.stamp, offset = excluded.offset,"
        " line = excluded.line, sha = excluded.sha",
        (repo.id, cursor.ref, cursor.stamp, cursor.offset, cursor.line, cursor.sha),
    )


def _insert_event(db: sqlite3.Connection, repo: BareRepository, update: ReflogUpdate) -> None:
    identity = (
        f"{repo.id} {update.ref} {update.before} {update.after}"
        f" {update.reflog_offset} {int(update.timestamp)}"
    )
    guid = str(uuid.uuid5(uuid.NAMESPACE_URL, identity))
    db.execute(
        "insert into events (repo, guid, event, ref, before, after, actor, at)"
        " values (?, ?, 'push', ?, ?, ?, ?, ?)",
        (repo.id, guid, update.ref, update.before, update.after, update.actor, update.timestamp),
    )


def _prune_events(db: sqlite3.Connection, repo: BareRepository) -> None:
    """Delete the oldest delivered events beyond ``EVENTS_KEPT``."""
    db.execute(
        "delete from events where repo = ?1 and delivered and seq <="
        " (select seq from events where repo = ?1 order by seq desc limit 1 offset ?2)",
        (repo.id, EVENTS_KEPT),
    )
