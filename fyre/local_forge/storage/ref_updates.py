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

from fyre.local_forge.database import EVENTS_KEPT, Store
from fyre.local_forge.storage.repository_store import Bare
from fyre.runs.run import ZERO_SHA

_LINE = re.compile(
    rb"([0-9a-f]{40}) ([0-9a-f]{40}) (.*?) ?<[^>]*> (\d+) [+-]\d{4}(?:\t.*)?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Update:
    """One update of one ref. ``at`` is in seconds since the epoch; ``index`` tells equal updates apart."""

    ref: str
    before: str
    after: str
    actor: str
    at: float
    index: int


@dataclass(frozen=True, slots=True)
class _Position:
    ref: str
    stamp: str = ""
    offset: int = 0
    line: bytes = b""
    sha: str = ""


def collect(bare: Bare, store: Store, deleter: str) -> int:
    """Turn what the reflogs say since the last time into events; answer how many. ``deleter`` deleted what is gone."""
    with store.transaction() as db:
        rows = db.execute(
            "select ref, stamp, offset, line, sha from positions where repo = ?", (bare.id,)
        )
        known = {row["ref"]: _Position(**row) for row in rows}
        found = dict(_reflogs(bare.git_dir))
        updates: list[Update] = []
        for ref, stamp in found.items():
            old = known.get(ref, _Position(ref))
            if old.stamp != stamp:
                updates += _read(db, bare, old, stamp, deleter)
        for ref in known.keys() - found.keys():
            updates += _vanished(db, bare, known[ref], deleter)
        first = f"refs/heads/{bare.default_branch}"
        updates.sort(
            key=lambda one: (one.at, one.ref != first)
        )  # stable: of one ref they stay in order
        for update in updates:
            _add(db, bare, update)
        if updates:
            _trim(db, bare)
        return len(updates)


def _reflogs(git_dir: Path) -> Iterator[tuple[str, str]]:
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
            if not _sayable(name):
                continue
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)
                continue
            try:
                stat = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield name, f"{stat.st_ino} {stat.st_size} {stat.st_mtime_ns}"


def _sayable(name: str) -> bool:
    """Whether JSON can hold it: git takes any bytes as a branch's name, and one such branch must not stop the rest."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read(
    db: sqlite3.Connection, bare: Bare, old: _Position, stamp: str, deleter: str
) -> list[Update]:
    """The updates of one ref since it was last read, and the new position."""
    start, again = old.offset, False
    updates: list[Update] = []
    try:
        content = _tail(bare.git_dir / "logs" / old.ref, start - len(old.line))
        if content.startswith(old.line):
            content = content[len(old.line) :]
        else:  # deleted and born again meanwhile
            content = _tail(bare.git_dir / "logs" / old.ref, 0)
            start, again = 0, True
    except OSError:  # deleted between the look and the read: the next look sees that
        return []
    end = content.rfind(b"\n") + 1
    at, sha, last = 0.0, old.sha, old.line
    for line in content[:end].splitlines(keepends=True):
        parsed = _LINE.fullmatch(line.rstrip(b"\n"))
        if parsed is not None and parsed[1] != parsed[2]:
            at = max(
                at, float(parsed[4])
            )  # a clock set back does not reorder what a ref went through
            actor = parsed[3].decode(errors="replace") or deleter
            updates.append(
                Update(old.ref, parsed[1].decode(), parsed[2].decode(), actor, at, start)
            )
            sha = parsed[2].decode()
        start, last = start + len(line), line
    _place(db, bare, _Position(old.ref, stamp, start, last, sha))
    return (_gone(old, deleter, updates[0].at) if again and updates else []) + updates


def _tail(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _vanished(db: sqlite3.Connection, bare: Bare, old: _Position, deleter: str) -> list[Update]:
    if old.sha not in ("", ZERO_SHA):
        _place(db, bare, _Position(old.ref, sha=ZERO_SHA))
    return _gone(
        old, deleter, int(time.time())
    )  # whole seconds, as in reflogs: the order is theirs


def _gone(old: _Position, deleter: str, at: float) -> list[Update]:
    if old.sha in ("", ZERO_SHA):
        return []
    return [Update(old.ref, old.sha, ZERO_SHA, deleter, at, old.offset)]


def _place(db: sqlite3.Connection, bare: Bare, new: _Position) -> None:
    db.execute(
        "insert into positions (repo, ref, stamp, offset, line, sha) values (?, ?, ?, ?, ?, ?)"
        " on conflict do update set stamp = excluded.stamp, offset = excluded.offset, line = excluded.line,"
        " sha = excluded.sha",
        (bare.id, new.ref, new.stamp, new.offset, new.line, new.sha),
    )


def _add(db: sqlite3.Connection, bare: Bare, one: Update) -> None:
    identity = f"{bare.id} {one.ref} {one.before} {one.after} {one.index} {int(one.at)}"
    db.execute(
        "insert into events (repo, guid, event, ref, before, after, actor, at) values (?, ?, 'push', ?, ?, ?, ?, ?)",
        (
            bare.id,
            str(uuid.uuid5(uuid.NAMESPACE_URL, identity)),
            one.ref,
            one.before,
            one.after,
            one.actor,
            one.at,
        ),
    )


def _trim(db: sqlite3.Connection, bare: Bare) -> None:
    """Forget the oldest events that everybody has heard of."""
    db.execute(
        "delete from events where repo = ?1 and delivered and seq <="
        " (select seq from events where repo = ?1 order by seq desc limit 1 offset ?2)",
        (bare.id, EVENTS_KEPT),
    )
