"""The forge's SQLite database: how far the reflogs have been read, events and deliveries.

One file in WAL mode: a crash at any instant leaves the last transaction complete. Everything in it
can be rebuilt from the reflogs, at the price of delivering events twice (with the same GUIDs).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

VERSION = 1
"""Version of the schema.

SQLite's ``user_version`` is 0 for the first schema. A later schema that this version of Fyre can't
use raises it above ``VERSION``; one that it can use adds tables, or columns that have a default.
"""

_UNUSABLE = frozenset({"SQLITE_ERROR", "SQLITE_NOTADB", "SQLITE_CORRUPT"})
"""SQLite's errors for a file that is no database, or has other tables.

Any other error is a problem of the machine.
"""

DELIVERY_COLUMNS = (
    "id, repo, seq, guid, event, action, at, duration, redelivery, status, status_code,"
    " payload, response"
)
"""Listed by name, because a later version may have more of them."""

_COLUMNS = (
    "select next from sequence",
    "select repo, ref, stamp, offset, line, sha, tip from positions",
    (
        "select seq, repo, guid, event, ref, before, after, actor, at, forced, detail, delivered"
        " from events"
    ),
    f"select {DELIVERY_COLUMNS} from deliveries",  # noqa: S608 - our own text
)

_SCHEMA = """
create table if not exists sequence (next integer not null);
create table if not exists positions (  -- one row for each ref of each repository
  repo integer, ref text,
  stamp text not null default '',   -- inode, size and time of its reflog when it was last read
  offset integer not null default 0,  -- bytes of the reflog that have been read
  line blob not null default x'',   -- the last line read: a new reflog has another line there
  sha text not null default '',     -- the ref's value, as read
  tip text not null default '',     -- the ref's value after the last delivery
  primary key (repo, ref)) without rowid;
create table if not exists events (
  seq integer primary key autoincrement,
  repo integer not null, guid text not null, event text not null, ref text not null,
  before text not null, after text not null, actor text not null, at real not null,
  forced integer not null default 0,
  detail text not null default '',  -- the comment or check run of the event, as JSON
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


def is_machine_trouble(error: sqlite3.Error) -> bool:
    """Return True for an error that says what the machine lacks, as a full disk."""
    name = getattr(error, "sqlite_errorname", "SQLITE_ERROR")
    return isinstance(error, sqlite3.OperationalError) and name not in _UNUSABLE


class ForgeDatabase:
    """The forge's database. Thread-safe: one connection behind one lock."""

    def __init__(self, path: Path) -> None:
        """Open the database; set one aside that this version can't use, and create another."""
        self._lock = threading.RLock()
        self._ids = iter(range(0))
        try:
            self._connection = _open_database(path)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorname", "SQLITE_ERROR") not in _UNUSABLE:
                raise
            _set_aside(path, str(error))
            self._connection = _open_database(path)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block of statements as one transaction, rolled back on any error."""
        with self._lock:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
                self._connection.execute("commit")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has rolled it back already
                    self._connection.execute("rollback")
                raise

    def fetch_rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        """Return the rows of a query."""
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    def next_id(self) -> int:
        """Return an integer larger than all before it, across restarts.

        It is below 2⁵³, so that JavaScript can read it too.
        """
        with self._lock:
            new_id = next(self._ids, None)
            if new_id is None:
                self._ids = iter(self._reserve_ids())
                new_id = next(self._ids)
            return new_id

    def _reserve_ids(self) -> range:
        with self.transaction() as db:
            row = db.execute("select max(next) as next from sequence").fetchone()
            # After a loss of the database, ids start above all earlier ones: nobody creates a
            # thousand ids each second.
            first = row["next"] or int(time.time()) * ID_BLOCK_SIZE
            db.execute("delete from sequence")
            db.execute("insert into sequence values (?)", (first + ID_BLOCK_SIZE,))
        return range(first, first + ID_BLOCK_SIZE)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _open_database(path: Path) -> sqlite3.Connection:
    """Open the database and create its tables. Raises ``sqlite3.DatabaseError``."""
    path.touch(mode=0o600)  # SQLite gives its other files the mode of this one
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).chmod(0o600)
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
        raise sqlite3.DatabaseError(f"its version is {version}, this Fyre reads up to {VERSION}")


def _set_aside(path: Path, reason: str) -> None:
    """Rename a database that can't be used; everything in it can be rebuilt from the reflogs."""
    aside = path.with_name(f"{path.name}.{int(time.time())}")
    for suffix in ("", "-wal", "-shm"):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(aside.with_name(aside.name + suffix))
    message = "%s can't be used (%s): it is kept as %s, and events may be delivered twice"
    log.warning(message, path, reason, aside.name)
