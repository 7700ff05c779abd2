"""One event to one delivery: build the payload, post it, write down what the receiver said."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
import time
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fyre.git.cat_file import Objects
from fyre.local_forge import auth
from fyre.local_forge.api import check_run_json, pull_json
from fyre.local_forge.api.commit_comment_json import COMMENTS, shape
from fyre.local_forge.api.common_json import Json, Urls
from fyre.local_forge.api.pull_json import CONVERSATIONS
from fyre.local_forge.auth import User
from fyre.local_forge.database import DELIVERIES_KEPT, DELIVERY_COLUMNS, Store
from fyre.local_forge.storage.notes import Notes, Record
from fyre.local_forge.storage.repository_store import Bare, Shelf
from fyre.local_forge.storage.stored_notes import (
    CHECK_NOTE,
    COMMENT_NOTE,
    CONVERSATION_NOTE,
    pull_from_json,
)
from fyre.local_forge.webhooks import webhook_payloads, webhook_sender
from fyre.local_forge.webhooks.webhook_payloads import HEADS, Pushed
from fyre.local_forge.webhooks.webhook_sender import Answer, Sender
from fyre.runs.run import ZERO_SHA
from fyre.stored_form import StoredForm, UnreadableError, parse_json

log = logging.getLogger(__name__)

UNDELIVERED, DELIVERED, WRITING = 0, 1, -1
"""An event's ``delivered``; ``WRITING`` is a comment whose note is not on disk yet."""

_KEPT = {
    "commit_comment": (COMMENTS, COMMENT_NOTE),
    "issue_comment": (CONVERSATIONS, CONVERSATION_NOTE),
}
"""Which notes an event's comment is among."""

_ACTIONS = {"push": None, "check_run": "rerequested"}

_INSERT = (
    f"insert into deliveries ({DELIVERY_COLUMNS}) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - ours
)

_SENSELESS = frozenset({400, 413, 422})
"""Answers that another attempt at the same bytes can't change. Anything else that is not 2xx may pass."""


@dataclass(frozen=True)
class Teller:
    """Delivers the events of any repository through one connection."""

    store: Store
    sender: Sender
    urls: Urls
    secret: bytes

    def next_event(self, bare: Bare) -> sqlite3.Row | None:
        """The oldest undelivered event of a repository."""
        rows = self.store.ask(
            "select * from events where repo = ? and delivered = 0 order by seq limit 1", bare.id
        )
        return rows[0] if rows else None

    def tell(self, bare: Bare, event: sqlite3.Row) -> bool:
        """Deliver an event; False when it has to be told again later. One that can't be read is left out."""
        try:
            body = webhook_payloads.encode(self._payload(bare, event))
        except UnreadableError as error:
            log.warning("webhook %s of %s is left out: %s", event["guid"], bare.name, error)
            with self.store.transaction() as db:
                self._settle(db, bare, event)
            return True
        answer = self._post(bare, event["event"], event["guid"], body)
        settled = 200 <= answer.code < 300 or answer.code in _SENSELESS
        if not 200 <= answer.code < 300:
            log.warning(
                "webhook %s of %s: %s %s",
                event["guid"],
                bare.name,
                answer.code or "no answer:",
                answer.text,
            )
        record = self._record(bare, event, body, answer)
        with self.store.transaction() as db:
            db.execute(
                "delete from deliveries"  # of an event told again and again only the last failure is worth keeping
                " where repo = ? and seq = ? and not redelivery and status_code not between 200 and 299",
                (bare.id, event["seq"]),
            )
            record(db)
            if settled:
                self._settle(db, bare, event)
        return settled

    def repeat(self, bare: Bare, delivery: int) -> None:
        """Send a recorded delivery again: the same bytes, the same GUID."""
        rows = self.store.ask(
            "select * from deliveries where repo = ? and id = ?", bare.id, delivery
        )
        for row in rows:
            body = zlib.decompress(row["payload"])
            answer = self._post(bare, row["event"], row["guid"], body)
            record = self._record(bare, row, body, answer, redelivery=True)
            with self.store.transaction() as db:
                record(db)

    def _payload(self, bare: Bare, event: sqlite3.Row) -> Json:
        actor = user(event["actor"])
        if event["event"] == "commit_comment":
            comment = _detail(event, COMMENT_NOTE)
            return webhook_payloads.commit_comment(
                bare, shape(bare, event["after"], comment, self.urls), actor, self.urls
            )
        if event["event"] == "issue_comment":
            told = _detail(event, CONVERSATION_NOTE)
            issue = pull_json.issue(bare, pull_from_json(told.get("about")), self.urls)
            comment = pull_json.comment(bare, told, self.urls)
            return webhook_payloads.commit_comment(bare, comment, actor, self.urls) | {
                "issue": issue
            }
        if event["event"] == "check_run":
            check = check_run_json.shape(
                bare, event["after"], _detail(event, CHECK_NOTE), self.urls
            )
            return webhook_payloads.check_run(bare, check, actor, self.urls)
        tips = self.store.ask(
            "select ref, tip from positions where repo = ? and ref like ? and ref != ? and tip != ''",
            bare.id, HEADS + "%", event["ref"],
        )  # fmt: skip
        known = {row["ref"]: row["tip"] for row in tips}
        payload = webhook_payloads.push(
            bare, Pushed(event["ref"], event["before"], event["after"], actor, known), self.urls
        )
        if payload["forced"]:
            with self.store.transaction() as db:
                db.execute("update events set forced = 1 where seq = ?", (event["seq"],))
        return payload

    def _post(self, bare: Bare, event: str, guid: str, body: bytes) -> Answer:
        return self.sender.post(
            webhook_sender.headers(self.secret, event, guid, bare.id, body), body
        )

    def _record(
        self, bare: Bare, of: sqlite3.Row, body: bytes, answer: Answer, *, redelivery: bool = False
    ) -> Callable[[sqlite3.Connection], None]:
        """What became of a POST, to be written in a transaction (in which no id can be minted)."""
        values = (
            self.store.next_id(), bare.id, of["seq"], of["guid"], of["event"],
            _ACTIONS.get(of["event"], "created"),
            time.time(), answer.duration, redelivery, answer.text, answer.code,
            zlib.compress(body, 1), answer.body.encode(errors="replace"),
        )  # fmt: skip

        def write(db: sqlite3.Connection) -> None:
            db.execute(_INSERT, values)
            db.execute(
                "delete from deliveries where repo = ?1 and id <="
                " (select id from deliveries where repo = ?1 order by id desc limit 1 offset ?2)",
                (bare.id, DELIVERIES_KEPT),
            )

        return write

    def _settle(self, db: sqlite3.Connection, bare: Bare, event: sqlite3.Row) -> None:
        """The receiver has heard of it: that is where the ref stands for what is told next."""
        db.execute("update events set delivered = ? where seq = ?", (DELIVERED, event["seq"]))
        if event["event"] == "push":
            tip = "" if event["after"] == ZERO_SHA else event["after"]
            db.execute(
                "update positions set tip = ? where repo = ? and ref = ?",
                (tip, bare.id, event["ref"]),
            )


def announce_comment(
    store: Store, bare: Bare, sha: str, comment: Record, about: Mapping[str, object] | None = None
) -> int:
    """Write down that a comment is about to be made, before it is; answer the event's number.

    ``about`` are the facts of a pull request, ``sha`` is then its blob's.
    """
    event, detail = (
        "issue_comment" if about else "commit_comment",
        comment | ({"about": about} if about else {}),
    )
    guid = uuid.uuid5(uuid.NAMESPACE_URL, f"{bare.id} comment {comment['id']}")
    with store.transaction() as db:
        cursor = db.execute(
            "insert into events (repo, guid, event, ref, before, after, actor, at, detail, delivered)"
            " values (?, ?, ?, '', '', ?, ?, ?, ?, ?)",
            (
                bare.id,
                str(guid),
                event,
                sha,
                comment["user"],
                time.time(),
                json.dumps(detail),
                WRITING,
            ),
        )
        return int(cursor.lastrowid or 0)


def announce_click(store: Store, bare: Bare, sha: str, check: Record, actor: str) -> None:
    """Have it told that somebody wants a check run once more; each click is an event of its own."""
    guid = uuid.uuid4()
    with store.transaction() as db:
        db.execute(
            "insert into events (repo, guid, event, ref, before, after, actor, at, detail)"
            " values (?, ?, 'check_run', '', '', ?, ?, ?, ?)",
            (bare.id, str(guid), sha, actor, time.time(), json.dumps(check)),
        )


def release_comment(store: Store, event: int) -> None:
    """The comment is made: it may be told."""
    with store.transaction() as db:
        db.execute("update events set delivered = ? where seq = ?", (UNDELIVERED, event))


def settle_comments(store: Store, shelf: Shelf, objects: Objects) -> None:
    """After a crash: comments that were made are told, those that never came to be are forgotten."""
    notes = {event: Notes(ref, objects, form) for event, (ref, form) in _KEPT.items()}
    rows = store.ask("select * from events where delivered = ?", WRITING)
    bares = {bare.id: bare for bare in shelf} if rows else {}
    for row in rows:
        bare, about = bares.get(row["repo"]), notes.get(row["event"])
        kept = (
            about.read(bare.git_dir, row["after"]) if bare is not None and about is not None else []
        )
        if any(one.get("id") == _comment_id(row) for one in kept):
            release_comment(store, row["seq"])
        else:
            with store.transaction() as db:
                db.execute("delete from events where seq = ?", (row["seq"],))


def _detail(event: sqlite3.Row, form: StoredForm) -> Record:
    """What an event says of its comment or check run. Raises ``UnreadableError``."""
    found: Any = parse_json(event["detail"])
    form.decode(found)
    return dict(found)


def _comment_id(event: sqlite3.Row) -> int | None:
    """The id of an event's comment; None where that can't be read, and so never came to be."""
    try:
        found = _detail(event, COMMENT_NOTE).get("id")
    except UnreadableError as error:
        log.warning("webhook %s is left out: %s", event["guid"], error)
        return None
    return found if isinstance(found, int) else None


def user(actor: str) -> User:
    """A reflog's name as a login: pushes by the file system carry a person's full name."""
    return User(
        auth.login(actor) or re.sub(r"[^A-Za-z0-9._-]+", "-", actor).strip("-._")[:100] or "unknown"
    )
