"""The forge's small memory beside the repositories: how far the outbox has been read, and what became of it.

One SQLite file in WAL mode: a crash at any instant leaves the last transaction whole. Everything in it can be made
again from the reflogs, at the price of delivering events twice (with the same GUIDs).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

VERSION = 1
"""Of the schema. ``user_version`` is 0 for the first; a later one that this can't use raises it above ``VERSION``.

A later schema that this can use adds tables, or columns that have a default.
"""

_UNUSABLE = frozenset({"SQLITE_ERROR", "SQLITE_NOTADB", "SQLITE_CORRUPT"})
"""What SQLite says of a file that is no database, or has other tables; anything else is the machine's trouble."""

DELIVERY_COLUMNS = "id, repo, seq, guid, event, action, at, duration, redelivery, status, status_code, payload, response"
"""By name: a later version may have more of them."""

_COLUMNS = (
    "select next from sequence",
    "select repo, ref, stamp, offset, line, sha, tip from positions",
    "select seq, repo, guid, event, ref, before, after, actor, at, forced, detail, delivered from events",
    f"select {DELIVERY_COLUMNS} from deliveries",  # noqa: S608 - our own words
)

_SCHEMA = """
create table if not exists sequence (next integer not null);
create table if not exists positions (  -- what is known of each ref of each repository
  repo integer, ref text,
  stamp text not null default '',   -- inode, size and time of its reflog when it was last read
  offset integer not null default 0,  -- bytes of the reflog that have been read
  line blob not null default x'',   -- the last line that was read: a reflog born again has another one there
  sha text not null default '',     -- where it stands, as read
  tip text not null default '',     -- where it stood after the last delivery: what receivers have heard of
  primary key (repo, ref)) without rowid;
create table if not exists events (
  seq integer primary key autoincrement,
  repo integer not null, guid text not null, event text not null, ref text not null,
  before text not null, after text not null, actor text not null, at real not null,
  forced integer not null default 0,
  detail text not null default '',  -- a comment's event: the comment, as JSON
  delivered integer not null default 0);
create index if not exists events_by_repo on events (repo, seq);
create index if not exists events_undelivered on events (repo, seq) where not delivered;
create table if not exists deliveries (
  id integer primary key,
  repo integer not null, seq integer not null, guid text not null, event text not null, action text,
  at real not null, duration real not null, redelivery integer not null,
  status text not null, status_code integer not null,
  payload blob not null,            -- compressed
  response blob not null);
create index if not exists deliveries_by_repo on deliveries (repo, id);
"""

ID_BLOCK_SIZE = 1000
"""Ids reserved by one write; a crash skips the rest of a block."""

EVENTS_KEPT = 10_000
DELIVERIES_KEPT = 100
"""For each repository."""


class ForgeDatabase:
    """The forge's database. Thread-safe: one connection behind one lock."""

    def __init__(self, path: Path) -> None:
        """One that this version can't use is set aside, and another begun."""
        self._lock = threading.RLock()
        self._ids = iter(range(0))
        try:
            self._connection = _opened(path)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "SQLITE_ERROR") not in _UNUSABLE:
                raise
            _set_aside(path, str(error))
            self._connection = _opened(path)
        path.chmod(0o600)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it, or nothing of it."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
            except BaseException:
                self._connection.execute("rollback")
                raise
            self._connection.execute("commit")

    def fetch_rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def next_id(self) -> int:
        """An integer larger than all before it, across restarts; below 2⁵³, so that JavaScript reads it too."""
        with self._lock:
            found = next(self._ids, None)
            if found is None:
                self._ids = iter(self._reserve_ids())
                found = next(self._ids)
            return found

    def _reserve_ids(self) -> range:
        with self.transaction() as db:
            row = db.execute("select max(next) as next from sequence").fetchone()
            # A lost database starts above what it gave out before: nobody makes a thousand ids each second.
            first = row["next"] or int(time.time()) * ID_BLOCK_SIZE
            db.execute("delete from sequence")
            db.execute("insert into sequence values (?)", (first + ID_BLOCK_SIZE,))
        return range(first, first + ID_BLOCK_SIZE)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _opened(path: Path) -> sqlite3.Connection:
    """The database with its tables. Raises ``sqlite3.DatabaseError``."""
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        db.row_factory = sqlite3.Row
        _check_version(db.execute("pragma user_version").fetchone()[0])
        db.execute("pragma journal_mode = wal")
        db.execute("pragma synchronous = normal")
        db.executescript(_SCHEMA)
        for query in _COLUMNS:
            db.execute(f"{query} limit 0")
    except BaseException:
        db.close()
        raise
    return db


def _check_version(version: int) -> None:
    if version > VERSION:
        raise sqlite3.DatabaseError(f"its version is {version}, this Fyre uses up to {VERSION}")


def _set_aside(path: Path, why: str) -> None:
    """Rename a database that can't be used; all that is in it can be made again, see above."""
    aside = path.with_name(f"{path.name}.{int(time.time())}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    log.warning(
        "%s can't be used (%s): it is kept as %s, and events may be told twice",
        path,
        why,
        aside.name,
    )
